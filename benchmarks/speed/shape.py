"""Sizes that all arms share; it imports only the standard library, since peers import it."""

from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parents[2] / "build" / "speed"
TASKS = ("click", "conversion")
EMBEDDING, TOWER = 16, 32
BATCH, RATE = 2048, 1e-3
SLICES, STEPS = 8, 18
"""Turns of an epoch, of which the first warms up, and steps of a turn."""
QUICK_STEPS = 3
TEST_ROWS = 48 * BATCH
VOCABULARIES = {
    "large": (600_000, 300_000, 200_000, 100_000, 40_000, 20_000, 5_000, 2_000, 1_000, 500)
    + (100,) * 8
    + (20,) * 6,
    "small": (8_000, 5_000, 3_000, 2_000, 800, 400, 200, 150) + (50,) * 16,
}
"""Distinct values of each of the 24 columns."""


class Network(NamedTuple):
    """An MMoE of `experts`; with `levels`, a PLE of so many shared experts and one a task."""

    title: str
    experts: int
    widths: tuple[int, ...]
    levels: int = 0


NETWORKS = {
    "mmoe": Network("MMoE, 4 experts [128, 64]", 4, (128, 64)),
    "ple": Network(
        "PLE, two levels of one shared expert and one a task, [128, 64]", 1, (128, 64), 2
    ),
    "wide": Network("MMoE, 8 experts [256, 128]", 8, (256, 128)),
}
"""Targets are set for the first; the others are reported without one."""


def slice_rows(number: int, steps: int) -> range:
    """The train rows of turn `number`."""
    rows = steps * BATCH
    return range(number * rows, (number + 1) * rows)


def multiply_adds() -> int:
    """Multiply-adds of a row through `mmoe`, forward; a training step has three times as many."""
    inputs, (_, experts, (hidden, width), _) = (
        len(VOCABULARIES["large"]) * EMBEDDING,
        NETWORKS["mmoe"],
    )
    a_task = inputs * experts + experts * width + width * TOWER + TOWER
    return experts * (inputs * hidden + hidden * width) + len(TASKS) * a_task

"""What every arm has in common; only the standard library, for the peers' own environments."""

from pathlib import Path

FOLDER = Path(__file__).parents[2] / "build" / "speed"
TASKS = ("click", "conversion")
EMBEDDING, EXPERTS, WIDTHS, TOWER = 16, 4, (128, 64), 32
BATCH, RATE = 2048, 1e-3
SLICES, STEPS = 8, 18
"""An epoch's turns, the first of which warms up, and steps of a turn."""
QUICK_STEPS = 3
TEST_ROWS = 48 * BATCH
VOCABULARIES = {
    "large": (600_000, 300_000, 200_000, 100_000, 40_000, 20_000, 5_000, 2_000, 1_000, 500)
    + (100,) * 8
    + (20,) * 6,
    "small": (8_000, 5_000, 3_000, 2_000, 800, 400, 200, 150) + (50,) * 16,
}
"""Distinct values of each of the 24 columns."""


def slice_rows(number: int, steps: int) -> range:
    """The train rows of a turn."""
    rows = steps * BATCH
    return range(number * rows, (number + 1) * rows)


def multiply_adds() -> int:
    """Of a row forward: experts, gates, mixing, towers; training is three times as much."""
    inputs = len(VOCABULARIES["large"]) * EMBEDDING
    experts = EXPERTS * (inputs * WIDTHS[0] + WIDTHS[0] * WIDTHS[1])
    a_task = inputs * EXPERTS + EXPERTS * WIDTHS[1] + WIDTHS[1] * TOWER + TOWER
    return experts + len(TASKS) * a_task

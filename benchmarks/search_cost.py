"""Does a search cost more than training one fixed network? `python -m benchmarks.search_cost`.

Arms are interleaved in one process on one thread: a search through the default grid, and the
training of one MMoE with as many experts of the same widths, both with the same epochs of the same
train rows and the same validation rows. Figures are medians over the repeats, in CPU seconds of
the process, which other processes disturb less than the clock.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from recmtl.data.prepare import prepare
from recmtl.data.simulate import simulate
from recmtl.grid import CATALOG
from recmtl.job.command import load_config
from recmtl.job.networks import search_settings, search_space
from recmtl.model import Model
from recmtl.schema import load_schema
from recmtl.train.loop import train
from recmtl.train.material import Material
from recmtl.train.search import search

ROOT = Path(__file__).parents[1]
ROWS, REPEATS = 100_000, 3


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU seconds of the process for some work."""
    began = time.process_time()
    work()
    return time.process_time() - began


def page(found: dict) -> str:
    """The figures as a page of Markdown."""
    return f"""# What a search costs

`python -m benchmarks.search_cost`: simulated log of {found["rows"]:,} rows, one thread, arms
interleaved, medians of {REPEATS} repeats, CPU seconds. Both arms are as the simulated log's
configuration has them. The search passes {found["search_epochs"]} times over the train rows,
70 % for the weights and 30 % for the policies, and refines the route on validation rows; MMoE has
the full grid's experts and passes {found["epochs"]} times over all train rows.

| | CPU seconds | share of MMoE's training |
|---|---|---|
| one search | {found["search_s"]:.1f} | {found["ratio"]:.2f} |
| training of one MMoE | {found["mmoe_s"]:.1f} | 1 |

Range of the ratio over the repeats: {found["ratios"][0]:.2f} to {found["ratios"][-1]:.2f}.
"""


def main() -> int:
    """Measure, print the table, and write `docs/benchmarks/search_cost.{json,md}`."""
    torch.set_num_threads(1)
    config = load_config(ROOT / "pipelines" / "configs" / "simulated" / "recmtl.yaml")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.parquet"
        simulate(log, ROWS, seed=1)
        schema = load_schema(ROOT / "datasets" / "simulated" / "schema.yaml")
        material = Material.of(prepare(str(log), schema, Path(folder) / "encoded"))
        tasks, grid = len(material.tasks), config.grid
        space, settings = (
            search_space("searched", config, material),
            search_settings("searched", config),
        )
        cells, sizes = grid.cells or tasks + 2, config.sizes
        fixed = CATALOG["mmoe"].layout(tasks, cells=cells, widths=grid.widths, depth=grid.depth)

        def fit(seed: int) -> None:
            torch.manual_seed(seed)
            model = Model(material.encoding, material.heads, layout=fixed, sizes=sizes)
            train(model, material, config.training, seed=seed)

        pairs = [
            (
                cpu_seconds(lambda seed=seed: search(space, material, settings, seed=seed)),
                cpu_seconds(lambda seed=seed: fit(seed)),
            )
            for seed in range(REPEATS)
        ]
    ratios = sorted(one / other for one, other in pairs)
    found = {
        "rows": ROWS,
        "epochs": config.training.epochs,
        "search_epochs": config.search.epochs,
        "search_s": statistics.median(one for one, _ in pairs),
        "mmoe_s": statistics.median(other for _, other in pairs),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
    }
    out = ROOT / "docs" / "benchmarks"
    (out / "search_cost.json").write_text(json.dumps(found, indent=1) + "\n")
    (out / "search_cost.md").write_text(page(found))
    sys.stdout.write(page(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

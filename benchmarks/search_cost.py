"""Does a search cost more than training one fixed network? `python -m benchmarks.search_cost`.

Arms are interleaved in one process on one thread: searches through the default grid, through a
grid of cross features, and either with a race at the end; and the training of one MMoE with as many
experts of the same widths. All have the same epochs of the same train rows and the same validation
rows. Figures are medians over the repeats, in CPU seconds of the process, which other processes
disturb less than the clock.
"""

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch

from benchmarks.worker import seconds
from recmtl.data.prepare import prepare
from recmtl.data.simulate import simulate
from recmtl.grid import Layout
from recmtl.job.command import load_config
from recmtl.job.networks import search_settings, search_space
from recmtl.model import Model
from recmtl.schema import load_schema
from recmtl.train.config import Config
from recmtl.train.loop import train
from recmtl.train.material import Material
from recmtl.train.search import search

ROOT = Path(__file__).parents[1]
ROWS, REPEATS = 100_000, 3
RACE = 0.67
ARMS = {
    "search": "a search, as configured",
    "search_budget": "a search with half of the full grid's multiply-adds as budget",
    "search_race": "the same with a race, two thirds of the epochs",
    "search_cross": "the same search of cross features, with the race",
    "mmoe": "training of one MMoE",
    "full_cross": "training of one full grid of cross features",
}


def page(found: dict[str, Any]) -> str:
    """The figures as a page of Markdown."""
    lines = []
    for arm, title in ARMS.items():
        low, middle, high = found["ratios"][arm]
        told = f"{middle:.2f} ({low:.2f} to {high:.2f})" if arm != "mmoe" else "1"
        lines.append(f"| {title} | {found['seconds'][arm]:.1f} | {told} |")
    table = "\n".join(lines)
    return f"""# What a search costs

`python -m benchmarks.search_cost`: simulated log of {found["rows"]:,} rows, one thread, arms
interleaved, medians of {REPEATS} repeats with the lowest and highest ratio, CPU seconds. All is as
the simulated log's configuration has it, but for what the arm says. A search passes
{found["search_epochs"]} times over the train rows, 70 % for the weights and 30 % for the policies,
and refines the route on validation rows; MMoE has the full grid's experts and passes
{found["epochs"]} times over all train rows. A race trains two networks of the final size.

| | CPU seconds | share of MMoE's training |
|---|---|---|
{table}
"""


def arms(config: Config, material: Material) -> dict[str, Callable[[int], object]]:
    """What is timed, by name; each takes a seed."""
    half = replace(config, evidence=replace(config.evidence, budget=0.5))
    race = replace(half, search=replace(half.search, race=RACE))
    cross = replace(race, grid=replace(config.grid, experts="cross"))
    searches = {"search": config, "search_budget": half, "search_race": race, "search_cross": cross}

    def found(one: Config) -> Callable[[int], object]:
        space, settings = search_space("searched", one, material), search_settings("searched", one)
        return lambda seed: search(space, material, settings, seed=seed)

    def fit(layout: Layout) -> Callable[[int], object]:
        def run(seed: int) -> None:
            torch.manual_seed(seed)
            model = Model(material.encoding, material.heads, layout=layout, sizes=config.sizes)
            train(model, material, config.training, seed=seed)

        return run

    return {
        **{arm: found(one) for arm, one in searches.items()},
        "mmoe": fit(material.layout("mmoe", config.grid)),
        "full_cross": fit(search_space("searched", cross, material)),
    }


def measured(timed: dict[str, Callable[[int], object]]) -> dict[str, list[float]]:
    """CPU seconds of the process for every arm and repeat."""
    taken: dict[str, list[float]] = {arm: [] for arm in timed}
    for seed in range(REPEATS):
        for arm, work in timed.items():
            taken[arm].append(seconds(partial(work, seed))["cpu_s"])
    return taken


def main() -> int:
    """Measure, print the table, and write `docs/benchmarks/search_cost.{json,md}`."""
    torch.set_num_threads(1)
    config = load_config(ROOT / "pipelines" / "configs" / "simulated" / "recmtl.yaml")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.parquet"
        simulate(log, ROWS, seed=1)
        schema = load_schema(ROOT / "datasets" / "simulated" / "schema.yaml")
        material = Material.of(prepare(str(log), schema, Path(folder) / "encoded"))
        taken = measured(arms(config, material))
    ratios = {
        arm: sorted(one / other for one, other in zip(own, taken["mmoe"], strict=True))
        for arm, own in taken.items()
    }
    found = {
        "rows": ROWS,
        "epochs": config.training.epochs,
        "search_epochs": config.search.epochs,
        "seconds": {arm: statistics.median(own) for arm, own in taken.items()},
        "ratios": {arm: [own[0], statistics.median(own), own[-1]] for arm, own in ratios.items()},
    }
    out = ROOT / "docs" / "benchmarks"
    (out / "search_cost.json").write_text(json.dumps(found, indent=1) + "\n")
    (out / "search_cost.md").write_text(page(found))
    sys.stdout.write(page(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Does a search cost more than training one fixed network? `python -m benchmarks.search_cost`.

Arms are interleaved in one process on one thread: searches through grids of perceptrons and of
cross features, without and with a race at the end, and the trainings of fixed networks that they
are compared with. All have the same train and validation rows. The winner of a race is trained
when the search ends, so that the training of the found network is taken off. Figures are medians
over the repeats, in CPU seconds of the process, which other processes disturb less than the clock.
"""

import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Container
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from benchmarks.worker import seconds
from recmtl.data.prepare import prepare
from recmtl.grid import Layout
from recmtl.job.command import load_config
from recmtl.job.work_items import fixed_layout, search_settings, search_space
from recmtl.schema import load_schema
from recmtl.search.search import SearchResult, search
from recmtl.simulate import simulate
from recmtl.train.config import Config
from recmtl.train.loop import train
from recmtl.train.tabular_problem import TabularProblem

T = TypeVar("T")
Experts = Literal["mlp", "cross"]

ROOT = Path(__file__).parents[1]
ROWS, REPEATS = 100_000, 5
BOTH = {
    "budget": "a search with half of the full grid's multiply-adds as budget",
    "race": "the same with a race, less the winner's training",
    "found": "training of the network that this finds",
    "full": "training of the full grid: one MMoE of these experts",
}
ARMS: dict[Experts, dict[str, str]] = {
    "mlp": {
        "search": "a search, as configured",
        **BOTH,
        "mmoe": "training of the catalog's MMoE",
    },
    "cross": BOTH,
}
"""Experts -> arm -> what it is."""

Seconds = dict[Experts, dict[str, list[float]]]


def page(found: dict[str, Any]) -> str:
    """The figures as a page of Markdown."""
    return f"""# What a search costs

`python -m benchmarks.search_cost`: simulated log of {found["rows"]:,} rows, one thread, arms
interleaved, medians of {REPEATS} repeats with the lowest and highest ratio, CPU seconds. All is as
the simulated log's configuration has it, but for what the arm says. A search passes
{found["search_epochs"]} times over the train rows, 70 % for the weights and 30 % for the policies,
and refines the route on validation rows; a fixed network is trained for {found["epochs"]} passes
over all train rows, as the found one is. A race trains two networks of the final size: the loser's
training is its price.

## Perceptrons, the default

{_table(found, "mlp")}

## Cross features, as in the tables of [results](../results/README.md), which have the race

{_table(found, "cross")}
"""


def _table(found: dict[str, Any], experts: Experts) -> str:
    lines = ["| | CPU seconds | of the full grid's training |", "|---|---|---|"]
    for arm, title in ARMS[experts].items():
        low, middle, high = found["ratios"][experts][arm]
        told = f"{middle:.2f} ({low:.2f} to {high:.2f})" if arm != "full" else "1"
        lines.append(f"| {title} | {found['seconds'][experts][arm]:.1f} | {told} |")
    return "\n".join(lines)


def measured(config: Config, problem: TabularProblem) -> Seconds:
    """CPU seconds of the process for every arm and repeat."""
    taken: Seconds = {kind: {arm: [] for arm in arms} for kind, arms in ARMS.items()}
    for seed in range(REPEATS):
        for kind, arms in taken.items():
            experts = replace(config, grid=replace(config.grid, experts=kind))
            for arm, spent in _once(experts, problem, seed, asked=arms).items():
                arms[arm].append(spent)
    return taken


def _once(
    config: Config, problem: TabularProblem, seed: int, *, asked: Container[str]
) -> dict[str, float]:
    """CPU seconds of the arms that are asked for, with the experts of a configuration."""
    half = replace(config, evidence=replace(config.evidence, budget=0.5))
    race = replace(half, search=replace(half.search, race=True))
    spent, layouts = dict[str, float](), dict[str, Layout]()
    for arm, one in {"search": config, "budget": half, "race": race}.items():
        if arm in asked:
            spent[arm], found = _cpu(partial(_search, one, problem, seed))
            layouts["found"] = Layout.from_json(found.layout)
    for arm, name in {"full": "full_grid", "mmoe": "mmoe"}.items():
        if arm in asked:
            layouts[arm] = fixed_layout(name, config, problem)
    for arm, layout in layouts.items():
        spent[arm], _ = _cpu(partial(_train, layout, config, problem, seed))
    return {**spent, "race": spent["race"] - spent["found"]}


def _search(config: Config, problem: TabularProblem, seed: int) -> SearchResult:
    space = search_space("searched", config, problem)
    return search(space, problem, search_settings("searched", config), seed=seed)


def _train(layout: Layout, config: Config, problem: TabularProblem, seed: int) -> None:
    torch.manual_seed(seed)
    train(problem.network(layout, config.sizes), problem, config.training, seed=seed)


def _cpu(of: Callable[[], T]) -> tuple[float, T]:
    """CPU seconds of a call, and what it returned."""
    returned: list[T] = []
    spent = seconds(lambda: returned.append(of()))["cpu_s"]
    return spent, returned[0]


def _each(of: Seconds, what: Callable[[list[float]], Any]) -> dict[Experts, dict[str, Any]]:
    return {kind: {arm: what(own) for arm, own in arms.items()} for kind, arms in of.items()}


def main() -> int:
    """Measure, print the table, and write `docs/benchmarks/search_cost.{json,md}`."""
    torch.set_num_threads(1)
    config = load_config(ROOT / "pipelines" / "configs" / "simulated" / "recmtl.yaml")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.parquet"
        simulate(log, ROWS, seed=1)
        schema = load_schema(ROOT / "datasets" / "simulated" / "schema.yaml")
        problem = TabularProblem.of(prepare(str(log), schema, Path(folder) / "encoded"))
        taken = measured(config, problem)
    ratios = {
        kind: {
            arm: sorted(one / other for one, other in zip(own, arms["full"], strict=True))
            for arm, own in arms.items()
        }
        for kind, arms in taken.items()
    }
    found = {
        "rows": ROWS,
        "epochs": config.training.epochs,
        "search_epochs": config.search.epochs,
        "seconds": _each(taken, statistics.median),
        "ratios": _each(ratios, lambda own: [own[0], statistics.median(own), own[-1]]),
    }
    out = ROOT / "docs" / "benchmarks"
    (out / "search_cost.json").write_text(json.dumps(found, indent=1) + "\n")
    (out / "search_cost.md").write_text(page(found))
    sys.stdout.write(page(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Does a search cost more than training one fixed network? `python -m benchmarks.search_cost`.

One process with one thread takes turns between searches, through grids of perceptrons and of cross
features, without and with a race at the end, and the training of fixed networks. All have the same
train and validation rows. When a search with a race ends, its winner is already trained, so the
training of the found network is subtracted. Figures are medians over the repeats, in CPU seconds of
the process: other processes disturb these less than wall time. `--page` only rewrites the page from
the stored figures.
"""

import argparse
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

from benchmarks.pages import paragraph
from benchmarks.worker import seconds
from recmtl.data.prepare import prepare
from recmtl.grid import Layout
from recmtl.job.work.items import fixed_layout, search_settings, search_space
from recmtl.schema import load_schema
from recmtl.search.search import SearchResult, search
from recmtl.simulate import simulate
from recmtl.train.config import Config
from recmtl.train.loop import train
from recmtl.train.tabular_problem import TabularProblem

T = TypeVar("T")
Experts = Literal["mlp", "cross"]

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "benchmarks" / "search_cost.json"
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
"""Kind of experts -> arm -> its description."""

Seconds = dict[Experts, dict[str, list[float]]]


def page(figures: dict[str, Any]) -> str:
    """The figures as a page of Markdown."""
    intro = paragraph(
        f"`python -m benchmarks.search_cost`: a simulated log of {figures['rows']:,} rows, one",
        f"thread, the arms in turns, CPU seconds, medians of {REPEATS} repeats with the lowest",
        "and the highest ratio. Each arm has the configuration of the simulated log, except for",
        f"what its name says. A search makes {figures['search_epochs']} passes over the train",
        "rows, of which 70 % train the weights and 30 % the policies, and refines the route on",
        "validation rows. A fixed network, the found one included, is trained for",
        f"{figures['epochs']} passes over all train rows. The race is that of",
        "release 0.1: it trained two networks of the final size, and cost the training of the",
        "loser. The race of today costs about three further trainings.",
    )
    lines = ["# What a search costs", "", *intro]
    lines += ["## Perceptrons, the default", "", _table(figures, "mlp"), ""]
    title = "## Cross features, as in the tables of [results](../results/README.md), with the race"
    return "\n".join([*lines, title, "", _table(figures, "cross"), ""])


def _table(figures: dict[str, Any], experts: Experts) -> str:
    lines = ["| | CPU seconds | of the full grid's training |", "|---|---|---|"]
    for arm, title in ARMS[experts].items():
        low, middle, high = figures["ratios"][experts][arm]
        ratio = f"{middle:.2f} ({low:.2f} to {high:.2f})" if arm != "full" else "1"
        lines.append(f"| {title} | {figures['seconds'][experts][arm]:.1f} | {ratio} |")
    return "\n".join(lines)


def measured(config: Config, problem: TabularProblem) -> Seconds:
    """CPU seconds of the process for every arm and repeat."""
    taken: Seconds = {kind: {arm: [] for arm in arms} for kind, arms in ARMS.items()}
    for seed in range(REPEATS):
        for kind, arms in taken.items():
            experts = replace(config, grid=replace(config.grid, experts=kind))
            for arm, spent in _once(experts, problem, seed, wanted=arms).items():
                arms[arm].append(spent)
    return taken


def _once(
    config: Config, problem: TabularProblem, seed: int, *, wanted: Container[str]
) -> dict[str, float]:
    """CPU seconds of the wanted arms, with the experts of a configuration."""
    config = replace(config, search=replace(config.search, race=False))
    half = replace(config, evidence=replace(config.evidence, budget=0.5))
    race = replace(half, search=replace(half.search, race=True))
    spent, layouts = dict[str, float](), dict[str, Layout]()
    for arm, settings in {"search": config, "budget": half, "race": race}.items():
        if arm in wanted:
            spent[arm], result = _cpu(partial(_search, settings, problem, seed))
            layouts["found"] = Layout.from_json(result.layout)
    for arm, name in {"full": "full_grid", "mmoe": "mmoe"}.items():
        if arm in wanted:
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


def _cpu(call: Callable[[], T]) -> tuple[float, T]:
    """CPU seconds of a call, and its result."""
    returned: list[T] = []
    spent = seconds(lambda: returned.append(call()))["cpu_s"]
    return spent, returned[0]


def _each(
    seconds_by_arm: Seconds, summary: Callable[[list[float]], Any]
) -> dict[Experts, dict[str, Any]]:
    return {
        kind: {arm: summary(times) for arm, times in arms.items()}
        for kind, arms in seconds_by_arm.items()
    }


def main() -> int:
    """Measure, print the page, and write `docs/benchmarks/search_cost.{json,md}`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search_cost", description=__doc__)
    parser.add_argument("--page", action="store_true", help="only write the page anew")
    if not parser.parse_args().page:
        OUT.write_text(json.dumps(_figures(), indent=1) + "\n")
    text = page(json.loads(OUT.read_text()))
    OUT.with_suffix(".md").write_text(text)
    sys.stdout.write(text)
    return 0


def _figures() -> dict[str, Any]:
    """Medians of the seconds, and lowest, median and highest ratio to the full grid's training."""
    torch.set_num_threads(1)
    config = Config.load(ROOT / "pipelines" / "configs" / "simulated" / "recmtl.yaml")
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.parquet"
        simulate(log, ROWS, seed=1)
        schema = load_schema(ROOT / "datasets" / "simulated" / "schema.yaml")
        problem = TabularProblem.of(prepare(str(log), schema, Path(folder) / "encoded"))
        taken = measured(config, problem)
    ratios = {
        kind: {
            arm: sorted(time / full for time, full in zip(times, arms["full"], strict=True))
            for arm, times in arms.items()
        }
        for kind, arms in taken.items()
    }
    return {
        "rows": ROWS,
        "epochs": config.training.passes(ROWS),
        "search_epochs": config.search_passes(ROWS),
        "seconds": _each(taken, statistics.median),
        "ratios": _each(ratios, lambda times: [times[0], statistics.median(times), times[-1]]),
    }


if __name__ == "__main__":
    sys.exit(main())

"""Are the sources found that matter, and those dropped that do not?

python -m benchmarks.planted_sources [--first 20] [--seeds 10] [--page]

For every seed two logs are simulated: in one the user's past decides the task `habit` and a match
of history and candidate the task `match`, in the other neither says anything. `search.source_seeds`
chooses what networks hear, on validation rows. A seed changes log, weights and order of the rows.
Figures and page are written after every log; `--page` only rewrites the page.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from benchmarks.pages import paragraph
from recmtl.data.prepare import prepare
from recmtl.job.outcome import TabularStudy
from recmtl.job.problem_kind import TABULAR_PROBLEMS
from recmtl.job.study import Study
from recmtl.job.what_matters.source_choice import LEVEL, TOGETHER, choose_sources, plain_sources
from recmtl.job.work.items import model_name
from recmtl.schema import load_schema
from recmtl.simulate import PLANTS, simulate_sources
from recmtl.train.config import Config, Search, Training
from recmtl.train.tabular_problem import TabularProblem

__all__ = ["Log", "choose", "page"]

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "benchmarks" / "planted_sources.json"
SCHEMA = ROOT / "datasets" / "simulated" / "sources.yaml"
ROWS, EPOCHS, NETWORKS = 20_000, 4, 3
PLANTED, NOTHING = "planted", "nothing planted"
LOGS: Mapping[str, Sequence[str]] = {PLANTED: tuple(PLANTS), NOTHING: ()}
SOURCES = ("counts", "statistics", "histories")
"""The sources among which is chosen, in the order in which they are tried."""


@dataclass(frozen=True)
class Log:
    """What was chosen on one log.

    Attributes:
        kept: sources that networks hear beside ids and numbers.
        plain: task -> mean AUC on validation rows of networks that hear ids and numbers.
        chosen: the same of networks that hear what was kept.
        best: task -> AUC on the whole log of the chances that can be known.
        gains: source -> what was proven by its trial: `helped`, `hurt` or `not proven` on the
            mean and on each task, with the gain.
        cpu_s: seconds of the choice.
    """

    kept: list[str]
    plain: dict[str, float]
    chosen: dict[str, float]
    best: dict[str, float]
    gains: dict[str, dict[str, tuple[str, float]]]
    cpu_s: float


def choose(seed: int, plants: Sequence[str], *, rows: int = ROWS, networks: int = NETWORKS) -> Log:
    """Simulate a log, and choose the sources as a job does with `search.source_seeds`."""
    training, search = Training(epochs=EPOCHS), Search(source_seeds=networks)
    config = Config(seed=seed * networks, training=training, search=search, workers=1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        truth = simulate_sources(folder / "log.parquet", rows, seed=seed, plants=plants)
        log = prepare(str(folder / "log.parquet"), load_schema(SCHEMA), folder / "log")
        study = Study(folder, TABULAR_PROBLEMS, TabularProblem.of(log), config)
        begun = time.process_time()
        choose_sources(study, lambda _: None)
        cpu_s = time.process_time() - begun
        plain = plain_sources(tuple(study.problem.sources))
        steps = json.loads((folder / "sources.json").read_text(encoding="utf-8"))["steps"]
        return Log(
            [source for source in study.hears if source not in plain],
            _auc(study, model_name(TOGETHER, plain)),
            _auc(study, study.model_hearing(TOGETHER, study.hears)),
            truth.best,
            {step["source"]: _gains(step["gains"]) for step in steps},
            cpu_s,
        )


def _auc(study: TabularStudy, model: str) -> dict[str, float]:
    """Of each task, the mean over the networks of one model."""
    first, count = study.config.seed, study.config.search.source_seeds
    seeds = [study.trained(model, seed).validation for seed in range(first, first + count)]
    return {task.name: mean(s[task.name]["auc"] for s in seeds) for task in study.problem.tasks}


def _gains(gains: Mapping[str, Any]) -> dict[str, tuple[str, float]]:
    every = {"mean": gains["mean"], **gains["tasks"]}
    return {name: (gain["verdict"], gain["gain"]) for name, gain in every.items()}


def page(figures: Mapping[str, Any]) -> str:
    """The figures as a page of Markdown."""
    logs: dict[str, dict[str, Log]] = {
        name: {seed: Log(**facts) for seed, facts in figures["logs"].get(name, {}).items()}
        for name in LOGS
    }
    lines = ["# Planted sources", ""]
    lines += paragraph(
        "`python -m benchmarks.planted_sources`: is a source of knowledge found where it matters,",
        "and dropped where it does not? `recmtl.simulate.simulate_sources` writes",
        f"{figures['rows']:,} rows a seed. In one log the user's past decides the task `habit`,",
        "and whether the candidate's category is among the user's last ten the task `match`; in",
        "the other, with the same columns, neither says anything. The lists' ids are among the",
        "`ids` too, pooled by their mean, and every list has ten values, so that their `counts`",
        "say nothing in either log. The [choice](../concepts/what_matters.md) trains",
        f"{figures['networks']} shared bottoms with and without each source, of",
        f"{figures['epochs']} passes, and judges them on the fifth of the rows that is for",
        "validation. By the rule's level a source of no worth is kept on at most",
        f"{LEVEL:.0%} of the logs.",
    )
    lines += ["| log | logs | kept counts | kept statistics | kept histories | CPU s a log |"]
    lines += ["|---|---|---|---|---|---|"]
    for name, seeds in logs.items():
        times = [sum(source in log.kept for log in seeds.values()) for source in SOURCES]
        cells = " | ".join(f"{count} of {len(seeds)}" for count in times)
        seconds = mean(log.cpu_s for log in seeds.values()) if seeds else 0.0
        lines.append(f"| {name} | {len(seeds)} | {cells} | {seconds:.0f} |")
    for name, seeds in logs.items():
        lines += ["", f"## {name.capitalize()}", "", *_table(seeds)]
    return "\n".join(lines) + "\n"


def _table(logs: Mapping[str, Log]) -> list[str]:
    """One line a seed: what was kept, and AUC of both planted tasks."""
    tasks = tuple(PLANTS.values())
    lines = [
        *paragraph(
            "AUC on validation rows of networks that hear ids and numbers, of those that hear what",
            "was kept, and of the chances that can be known (on the whole log).",
        ),
        f"| seed | kept | {' | '.join(f'{t}: plain | kept | best' for t in tasks)} |",
        f"|---|---|{'---|' * 3 * len(tasks)}",
    ]
    for seed, log in logs.items():
        columns = (log.plain, log.chosen, log.best)
        cells = [f"{column[task]:.3f}" for task in tasks for column in columns]
        lines.append(f"| {seed} | {', '.join(log.kept) or 'none'} | {' | '.join(cells)} |")
    return lines


def main() -> int:
    """Choose on every log; results of other seeds in the file are kept."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.planted_sources", description=__doc__
    )
    parser.add_argument("--first", type=int, default=20, help="the first seed")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--page", action="store_true", help="only rewrite the page")
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = {"rows": ROWS, "epochs": EPOCHS, "networks": NETWORKS}
    figures = json.loads(OUT.read_text(encoding="utf-8")) if OUT.is_file() else {"logs": {}}
    if not options.page:
        earlier = figures["logs"] if figures.items() >= settings.items() else {}
        figures = {**settings, "logs": {name: earlier.get(name, {}) for name in LOGS}}
        for seed in range(options.first, options.first + options.seeds):
            for name, plants in LOGS.items():
                log = choose(seed, plants)
                figures["logs"][name][str(seed)] = vars(log)
                _write(figures)
                sys.stdout.write(f"{name} {seed}: {log.kept}\n")
                sys.stdout.flush()
    _write(figures)
    return 0


def _write(figures: Mapping[str, Any]) -> None:
    OUT.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    OUT.with_suffix(".md").write_text(page(json.loads(OUT.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    sys.exit(main())

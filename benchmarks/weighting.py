"""What does a step cost under every weighting of the tasks? `python -m benchmarks.weighting`.

One process with one thread takes turns between networks of one layout, each trained under another
weighting, on the same batches of a simulated log. Each figure is the median of the processor
seconds of a step, as a ratio to that of fixed weights in the same run. `--page` only rewrites the
page.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import torch

from benchmarks.pages import paragraph
from recmtl.data.prepare import prepare
from recmtl.errors import ConfigError
from recmtl.grid import mmoe
from recmtl.model import ModelSizes
from recmtl.schema import load_schema
from recmtl.simulate import simulate
from recmtl.train.config import Training
from recmtl.train.loop import take_step
from recmtl.train.optimizer import Optimizer
from recmtl.train.recipe.training import Method, Weighting
from recmtl.train.tabular_problem import TabularProblem

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "benchmarks" / "weighting.json"
SCHEMA = ROOT / "datasets" / "simulated" / "schema.yaml"
LOG_ROWS, BATCH, STEPS, WARM = 30_000, 1024, 25, 4


def page(figures: dict) -> str:
    """The figures as a page of Markdown."""
    lines = [
        "# The cost of weighting",
        "",
        *paragraph(
            f"`python -m benchmarks.weighting`: steps on {BATCH:,} rows of the simulated log with",
            f"{figures['tasks']} tasks, one thread, MMoE of 8 experts 64-32, the weightings in",
            f"turns, medians of {STEPS} steps in processor seconds, as a ratio to the step of",
            "fixed weights in the same run. A method that looks at the tasks' gradients goes back",
            "through heads and grid once a task, and never through the embedding tables.",
        ),
        "| `training.weighting.method` | a step | ratio |",
        "|---|---|---|",
    ]
    base = figures["methods"]["fixed"]
    for method, seconds in figures["methods"].items():
        lines.append(f"| `{method}` | {1000 * seconds:.1f} ms | {seconds / base:.2f} |")
    return "\n".join(lines) + "\n"


def stepper(problem: TabularProblem, method: Method) -> Callable[[object], float]:
    """Takes a step on a batch and returns its processor seconds."""
    torch.manual_seed(0)
    layout = mmoe(len(problem.tasks), experts=8, widths=(64, 32))
    model = problem.network(layout, ModelSizes(dropout=0.1)).train()
    settings = Training(batch_size=BATCH, weighting=Weighting(method=method))
    optimizer = Optimizer(model, settings, total_steps=STEPS + WARM)

    def step(batch: object) -> float:
        began = time.process_time()
        take_step(model, optimizer, batch)
        return time.process_time() - began

    return step


def measured() -> dict:
    """Median processor seconds of a step under every weighting that is installed."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        simulate(folder / "log.parquet", rows=LOG_ROWS, seed=0)
        log = prepare(str(folder / "log.parquet"), load_schema(SCHEMA), folder / "encoded")
        problem, steppers = TabularProblem.of(log), dict[str, Callable[[object], float]]()
        for method in get_args(Method):
            try:
                steppers[method] = stepper(problem, method)
            except ConfigError as error:  # the extra is not installed
                sys.stderr.write(f"{error}\n")
        times: dict[str, list[float]] = {method: [] for method in steppers}
        seed, batches = 0, iter(())
        for number in range(STEPS + WARM):
            batch = next(batches, None)
            if batch is None or len(batch) < BATCH:
                seed, batches = seed + 1, problem.train.batches(batch_size=BATCH, seed=seed)
                batch = next(batches)
            for method, step in steppers.items():
                seconds = step(batch)
                times[method] += [seconds] if number >= WARM else []
    methods = {method: statistics.median(seconds) for method, seconds in times.items()}
    return {"tasks": len(problem.tasks), "rows": BATCH, "steps": STEPS, "methods": methods}


def main() -> int:
    """Measure, print a table, and write `docs/benchmarks/weighting.{json,md}`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.weighting", description=__doc__)
    parser.add_argument("--page", action="store_true", help="only write the page anew")
    options = parser.parse_args()
    if not options.page:
        OUT.write_text(json.dumps(measured(), indent=1) + "\n")
    text = page(json.loads(OUT.read_text()))
    OUT.with_suffix(".md").write_text(text)
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

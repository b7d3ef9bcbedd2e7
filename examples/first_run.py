"""A first run: simulate a small shop log, find out what its tasks share, print the verdict.

    python examples/first_run.py runs/first

Shows the whole job from Python: one function a step, each taking the result of the one before. It
prints how the searched network compares with the others on test rows, and leaves the report, the
bundle and the results in the output folder. Takes about a minute on two cores.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from recmtl.job import steps
from recmtl.job.open_job import open_job, tracked_run
from recmtl.report import model_table, verdict_table
from recmtl.script import ErrorLine
from recmtl.simulate import simulate
from recmtl.tracking import TrackedRun

HERE = Path(__file__).resolve().parent
SCHEMA = HERE.parent / "datasets" / "simulated" / "schema.yaml"


def main(arguments: Sequence[str] | None = None) -> int:
    """Simulate the log and run the job on it; returns 0, or 2 after an error."""
    parser = argparse.ArgumentParser(description="Run the whole job on a small simulated log.")
    parser.add_argument("out", type=Path, help="output folder")
    parser.add_argument("--rows", type=int, default=40_000, help="impressions to simulate")
    parser.add_argument("--config", type=Path, default=HERE / "small.yaml", help="YAML of the run")
    options = parser.parse_args(arguments)
    log = options.out / "shop.parquet"
    if not log.exists():
        options.out.mkdir(parents=True, exist_ok=True)
        simulate(log, options.rows, users=options.rows // 20, items=options.rows // 40)
    console = Console(stderr=True)
    files = {"data": log, "schema": SCHEMA, "config": options.config, "out": options.out}
    with (
        ErrorLine(console) as error,
        open_job(**files, console=console) as job,
        tracked_run(job, "first_run") as run,
    ):
        whole_job(job, run)
    return error.status


def whole_job(job: steps.JobContext, run: TrackedRun) -> None:
    """Run every step; a step that finds its result in the output folder does nothing twice."""
    prepared = steps.prepare(job, run)
    trained = steps.train_all(job, prepared, run)
    evaluation = steps.evaluate(job, trained, run)
    bundled = steps.bundle(job, evaluation)
    page = steps.report(job, evaluation, run)
    print(model_table(evaluation.results), end="\n\n")
    print(verdict_table(evaluation.results), end="\n\n")
    print(f"report    {page}\nbundle    {bundled.folder}\nresults   {job.out / 'results.json'}")


if __name__ == "__main__":
    sys.exit(main())

"""Train every model, judge the searched network, write results, report and bundle.

python pipelines/evaluate.py --data PARQUET --schema YAML --out FOLDER [--config YAML]
"""

from recmtl.interrupts import answer_signals, leave

if __name__ == "__main__":
    answer_signals()  # before what takes seconds to import

from recmtl.command.step import run_step
from recmtl.job import steps
from recmtl.tracking import TrackedRun


def evaluate(job: steps.JobContext, run: TrackedRun) -> None:
    """Run the step."""
    trained = steps.train_all(job, steps.prepare(job, run), run)
    evaluation = steps.evaluate(job, trained, run)
    steps.bundle(job, evaluation)
    steps.report(job, evaluation, run)


if __name__ == "__main__":
    leave(run_step("evaluate", evaluate))

"""Train the searched networks, and draw the route of the best.

python pipelines/train.py --data PARQUET --schema YAML --out FOLDER [--config YAML]
"""

from recmtl.interrupts import answer_signals, leave

if __name__ == "__main__":
    answer_signals()  # before what takes seconds to import

from recmtl.command.step import run_step
from recmtl.job import steps
from recmtl.tracking import TrackedRun


def train(job: steps.JobContext, run: TrackedRun) -> None:
    """Run the step."""
    steps.train(job, steps.prepare(job, run), run)


if __name__ == "__main__":
    leave(run_step("train", train))

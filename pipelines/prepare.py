"""Encode a log: Parquet and schema to memory-mapped columns.

python pipelines/prepare.py --data PARQUET --schema YAML --out FOLDER [--config YAML] [--like LOG]
"""

from recmtl.interrupts import answer_signals, leave

if __name__ == "__main__":
    answer_signals()  # before what takes seconds to import

from recmtl.command.step import run_step
from recmtl.job import steps
from recmtl.tracking import TrackedRun


def prepare(job: steps.JobContext, run: TrackedRun) -> None:
    """Run the step."""
    steps.prepare(job, run)


if __name__ == "__main__":
    leave(run_step("prepare", prepare))

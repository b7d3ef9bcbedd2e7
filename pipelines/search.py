"""Search the routes of every seed.

python pipelines/search.py --data PARQUET --schema YAML --out FOLDER [--config YAML]
"""

from recmtl.interrupts import answer_signals, leave

if __name__ == "__main__":
    answer_signals()  # before what takes seconds to import

from recmtl.command.step import run_step
from recmtl.job import steps
from recmtl.tracking import TrackedRun


def search(job: steps.JobContext, run: TrackedRun) -> None:
    """Run the step."""
    steps.search(job, steps.prepare(job, run))


if __name__ == "__main__":
    leave(run_step("search", search))

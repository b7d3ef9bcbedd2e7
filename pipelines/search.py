"""Search the routes of every seed.

python pipelines/search.py --data PARQUET --schema YAML --out FOLDER [--config YAML]
"""

import sys

from recmtl.job import steps
from recmtl.job.command import run_step
from recmtl.tracking import Run


def search(job: steps.JobContext, run: Run) -> None:
    """Run the step."""
    steps.search(job, steps.prepare(job, run))


if __name__ == "__main__":
    sys.exit(run_step("search", search))

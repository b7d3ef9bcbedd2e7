"""Search the routes of every seed.

python pipelines/search.py --data PARQUET --schema YAML --out FOLDER [--config YAML]
"""

import sys

from recmtl.job.command import run_step
from recmtl.job.pipeline import Pipeline
from recmtl.tracking import Run


def search(job: Pipeline, run: Run) -> None:
    """Run the step."""
    job.search(job.prepare(run))


if __name__ == "__main__":
    sys.exit(run_step("search", search))

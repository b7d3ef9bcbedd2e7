"""Encode a log: Parquet and schema to memory-mapped columns.

python pipelines/prepare.py --data PARQUET --schema YAML --out FOLDER [--config YAML] [--like LOG]
"""

import sys

from recmtl.job import steps
from recmtl.job.command import run_step
from recmtl.tracking import Run


def prepare(job: steps.JobContext, run: Run) -> None:
    """Run the step."""
    steps.prepare(job, run)


if __name__ == "__main__":
    sys.exit(run_step("prepare", prepare))

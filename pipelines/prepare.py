"""Encode a log: Parquet and schema to memory-mapped columns.

python pipelines/prepare.py --data PARQUET --schema YAML --out FOLDER [--config YAML] [--like LOG]
"""

import os
import sys

# Spinning OpenMP threads make a busy machine ten times slower; this must precede torch's load.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from recmtl.job.command import run_step
from recmtl.job.steps import Job
from recmtl.tracking import Run


def prepare(job: Job, run: Run) -> None:
    """Run the step."""
    job.prepare(run)


if __name__ == "__main__":
    sys.exit(run_step("prepare", prepare))

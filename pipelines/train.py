"""Train the searched networks and write the found route.

python pipelines/train.py --data PARQUET --schema YAML --out FOLDER [--config YAML]
"""

import os
import sys

# Spinning OpenMP threads make a busy machine ten times slower; this must precede torch's load.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from recmtl.job.command import run_step
from recmtl.job.steps import Job
from recmtl.tracking import Run


def train(job: Job, run: Run) -> None:
    """Run the step."""
    job.train(job.prepare(run), run)


if __name__ == "__main__":
    sys.exit(run_step("train", train))

"""Train the searched networks, and draw the route of the best.

python pipelines/train.py --data PARQUET --schema YAML --out FOLDER [--config YAML]
"""

import sys

from recmtl.job import steps
from recmtl.job.command import run_step
from recmtl.tracking import Run


def train(job: steps.JobContext, run: Run) -> None:
    """Run the step."""
    steps.train(job, steps.prepare(job, run), run)


if __name__ == "__main__":
    sys.exit(run_step("train", train))

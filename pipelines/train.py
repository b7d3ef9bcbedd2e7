"""Train the searched networks and write the found route.

python pipelines/train.py --data PARQUET --schema YAML --out FOLDER [--config YAML]
"""

import sys

from recmtl.job.command import run_step
from recmtl.job.pipeline import Pipeline
from recmtl.tracking import Run


def train(job: Pipeline, run: Run) -> None:
    """Run the step."""
    job.train(job.prepare(run), run)


if __name__ == "__main__":
    sys.exit(run_step("train", train))

"""Train all controls, judge the searched network, write results, report and bundle.

python pipelines/evaluate.py --data PARQUET --schema YAML --out FOLDER [--config YAML]
"""

import sys

from recmtl.job.command import run_step
from recmtl.job.pipeline import Pipeline
from recmtl.tracking import Run


def evaluate(job: Pipeline, run: Run) -> None:
    """Run the step."""
    job.evaluate(job.prepare(run), run)


if __name__ == "__main__":
    sys.exit(run_step("evaluate", evaluate))

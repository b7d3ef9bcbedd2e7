"""Train every model, judge the searched network, write results, report and bundle.

python pipelines/evaluate.py --data PARQUET --schema YAML --out FOLDER [--config YAML]
"""

import sys

from recmtl.job import steps
from recmtl.job.command import run_step
from recmtl.tracking import Run


def evaluate(job: steps.JobContext, run: Run) -> None:
    """Run the step."""
    trained = steps.train_all(job, steps.prepare(job, run), run)
    evaluation = steps.evaluate(job, trained, run)
    steps.bundle(job, evaluation)
    steps.report(job, evaluation, run)


if __name__ == "__main__":
    sys.exit(run_step("evaluate", evaluate))

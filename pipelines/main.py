"""The whole job: search what the tasks share, prove it, bundle it, score, rank and report.

python pipelines/main.py [--data PARQUET --schema YAML] [--config YAML] [--out FOLDER]
    [--promote always|never] [--no-ablation]
"""

import sys

from recmtl.interrupts import answer_signals, leave

if __name__ == "__main__":
    answer_signals()  # before what takes seconds to import

from recmtl.job import steps
from recmtl.job.command import run_step
from recmtl.job.log_later import tracking_lines
from recmtl.report import model_table, verdict_table
from recmtl.tracking import Run


def main(job: steps.JobContext, run: Run) -> None:
    """Run every step and print the verdict; only then is the model registered."""
    prepared = steps.prepare(job, run)
    trained = steps.train_all(job, prepared, run)
    evaluation = steps.evaluate(job, trained, run)
    bundled = steps.bundle(job, evaluation)
    steps.report(job, evaluation, run)
    steps.score(job, bundled)
    results = evaluation.results
    lines = [
        model_table(results),
        "",
        verdict_table(results),
        "",
        f"report    {job.out / 'report.html'}",
        f"bundle    {bundled.folder}",
        f"scores    {job.out / 'scored'}, ranking {job.out / 'ranking.parquet'}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
    steps.register(job, evaluation, bundled, run)
    if job.tracker.feed():
        sys.stdout.write(tracking_lines(job.tracker))


if __name__ == "__main__":
    leave(run_step("main", main))

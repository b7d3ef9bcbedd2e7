"""The whole job: search what the tasks share, prove it, bundle it, score, rank and report.

python pipelines/main.py [--data PARQUET --schema YAML] [--config YAML] [--out FOLDER]
    [--promote always|never] [--no-ablation]
"""

import sys

from recmtl.interrupts import answer_signals, leave

if __name__ == "__main__":
    answer_signals()  # before what takes seconds to import

from recmtl.command.step import run_step
from recmtl.job.handed_on import JobContext
from recmtl.job.log_later import tracking_lines
from recmtl.job.whole_job import WholeJob, run_whole_job
from recmtl.report import model_table, verdict_table
from recmtl.tracking import TrackedRun


def main(job: JobContext, run: TrackedRun) -> None:
    """Run every step and print the verdict; only then is the model registered."""
    run_whole_job(job, run, on_verdict=print_verdict)
    if job.tracker.feed():
        sys.stdout.write(tracking_lines(job.tracker))


def print_verdict(whole: WholeJob) -> None:
    """Print the tables and where everything lies."""
    results = whole.evaluation.results
    lines = [
        model_table(results),
        "",
        verdict_table(results),
        "",
        f"report    {whole.report}",
        f"bundle    {whole.bundled.folder}",
        f"scores    {whole.scores}, ranking {whole.ranking}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    leave(run_step("main", main))

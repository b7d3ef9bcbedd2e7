"""The evidence for a table: every model with the same number of seeds, judged on test rows.

python pipelines/benchmark.py [--data PARQUET --schema YAML] [--config YAML] --out FOLDER --seeds 5

With --validation-only the same models are trained, and every figure is made on validation rows: for
choosing settings, which must be done without test figures.
"""

import sys

from recmtl.interrupts import answer_signals, leave

if __name__ == "__main__":
    answer_signals()  # before what takes seconds to import

from recmtl.atomic import write_text
from recmtl.command.step import run_step
from recmtl.job import steps
from recmtl.report import verdict_table
from recmtl.report.benchmark_page import benchmark_page, validation_page
from recmtl.tracking import TrackedRun


def benchmark(job: steps.JobContext, run: TrackedRun) -> None:
    """Evaluate, then write the table of all models to `benchmark.md`."""
    prepared = steps.prepare(job, run)
    evaluation = steps.evaluate(job, steps.train_all(job, prepared, run), run)
    steps.bundle(job, evaluation)
    steps.report(job, evaluation, run)
    results, log = evaluation.results, prepared.log
    page = job.out / "benchmark.md"
    write_text(page, benchmark_page(log.schema.name, results, log.manifest))
    run.log_file(page)
    sys.stdout.write(f"{verdict_table(results)}\n\ntable    {page}\n")


def validate(job: steps.JobContext, run: TrackedRun) -> None:
    """Write the table of all models on validation rows to `validation.md`."""
    prepared = steps.prepare(job, run)
    results, log = steps.validate(job, prepared, run), prepared.log
    page = job.out / "validation.md"
    write_text(page, validation_page(log.schema.name, results, log.manifest))
    run.log_file(page)
    sys.stdout.write(f"{page.read_text(encoding='utf-8')}\ntable    {page}\n")


if __name__ == "__main__":
    leave(run_step("benchmark", benchmark, blind=validate))

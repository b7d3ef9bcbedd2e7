"""The whole job: search what the tasks share, prove it, bundle it, score, rank and report.

python pipelines/main.py [--data PARQUET --schema YAML] [--config YAML] [--out FOLDER]
"""

import sys

from recmtl.interrupts import answer_signals, leave

if __name__ == "__main__":
    answer_signals()  # before what takes seconds to import

from recmtl.job import steps
from recmtl.job.command import run_step
from recmtl.report import model_table, verdict_table
from recmtl.tracking import Run


def main(job: steps.JobContext, run: Run) -> None:
    """Run every step, register the model, and print the verdict last."""
    prepared = steps.prepare(job, run)
    trained = steps.train_all(job, prepared, run)
    evaluation = steps.evaluate(job, trained, run)
    bundled = steps.bundle(job, evaluation)
    steps.report(job, evaluation, run)
    steps.score(job, bundled)
    model = run.log_model(bundled.folder, name=prepared.log.schema.name)
    results = evaluation.results
    verdicts = {task: entry["verdict"] for task, entry in results["tasks"].items()}
    champion = job.tracker.promote(model, verdicts)
    lines = [
        model_table(results),
        "",
        verdict_table(results),
        "",
        f"report    {job.out / 'report.html'}",
        f"bundle    {bundled.folder}",
        f"scores    {job.out / 'scored'}, ranking {job.out / 'ranking.parquet'}",
        f"model     {model.uri}{' (champion)' if champion else ' (not champion: a task was hurt)'}",
        f"tracking  mlflow ui --backend-store-uri {job.tracker.uri}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    leave(run_step("main", main))

"""The whole job: search what the tasks share, prove it, bundle it, score, rank and report.

python pipelines/main.py [--data PARQUET --schema YAML] [--config YAML] [--out FOLDER]
"""

import sys

from recmtl.job.command import run_step
from recmtl.job.pipeline import Pipeline
from recmtl.report import model_table, verdict_table
from recmtl.tracking import Run


def main(job: Pipeline, run: Run) -> None:
    """Run every step, register the model, and print the verdict last."""
    log = job.prepare(run)
    results = job.evaluate(log, run)
    job.score()
    model = run.log_model(job.out / "bundle", name=log.schema.name)
    verdicts = {task: entry["verdict"] for task, entry in results["tasks"].items()}
    champion = job.tracker.promote(model, verdicts)
    lines = [
        model_table(results),
        "",
        verdict_table(results),
        "",
        f"report    {job.out / 'report.html'}",
        f"bundle    {job.out / 'bundle'}",
        f"scores    {job.out / 'scored'}, ranking {job.out / 'ranking.parquet'}",
        f"model     {model.uri}{' (champion)' if champion else ' (not champion: a task was hurt)'}",
        f"tracking  mlflow ui --backend-store-uri {job.tracker.uri}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(run_step("main", main))

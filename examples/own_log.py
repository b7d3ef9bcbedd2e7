"""A log with columns of your own: draft a schema, correct it, train, and score new rows.

    python examples/own_log.py runs/own_log

Shows the way from a Parquet file to scored rows. The file stands for yours: a log of a video
service, made up here. `describe` drafts a schema from it, `correct` says what no program can know,
and the corrected schema is written as YAML, which you may edit by hand just as well. The job then
trains with it, and the bundle scores views that it has never seen. Takes about a minute on two
cores.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from rich.console import Console

from recmtl import Scorer
from recmtl.data.describe import describe
from recmtl.job import steps
from recmtl.job.open_job import open_job, tracked_run
from recmtl.report import verdict_table
from recmtl.schema import Label, Schema, TaskSpec, dump_schema, parse_schema
from recmtl.script import ErrorLine
from recmtl.tracking import TrackedRun

HERE = Path(__file__).resolve().parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the log, describe it, train on it and score; returns 0, or 2 after an error."""
    parser = argparse.ArgumentParser(description="From a Parquet file to scored rows.")
    parser.add_argument("out", type=Path, help="output folder")
    parser.add_argument("--rows", type=int, default=20_000, help="views in the log")
    parser.add_argument("--config", type=Path, default=HERE / "small.yaml", help="YAML of the run")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    log, schema = options.out / "views.parquet", options.out / "schema.yaml"
    if not log.exists():
        views(options.rows, seed=0).to_parquet(log, index=False)

    draft = describe(str(log))
    print(draft)
    corrected = correct(parse_schema(draft, source="the draft"))
    schema.write_text(dump_schema(corrected), encoding="utf-8")

    console = Console(stderr=True)
    files = {"data": log, "schema": schema, "config": options.config, "out": options.out}
    with ErrorLine(console) as error:
        with open_job(**files, console=console) as job, tracked_run(job, "own_log") as run:
            train_and_bundle(job, run)
        scorer = Scorer.load(options.out / "bundle")
        print(scorer.score(views(5, seed=1)))
    return error.status


def correct(draft: Schema) -> Schema:
    """The draft with four corrections that only someone who knows the log can make."""
    return dataclasses.replace(
        draft,
        # Pauses are counted during the view: known too late to predict from.
        features=tuple(feature for feature in draft.features if feature.column != "pauses"),
        ignore=("pauses",),
        # The draft leaves the seconds aside, since they are no feature; they are a third task.
        tasks=(
            *draft.tasks,
            TaskSpec("watch_time", "regression", Label("watched_s"), transform="log1p"),
        ),
        # The videos shown to one viewer compete for places.
        roles=dataclasses.replace(draft.roles, group="viewer_id"),
    )


def train_and_bundle(job: steps.JobContext, run: TrackedRun) -> None:
    """Run the job as far as the bundle, and print the verdict."""
    prepared = steps.prepare(job, run)
    evaluation = steps.evaluate(job, steps.train_all(job, prepared, run), run)
    steps.bundle(job, evaluation)
    steps.report(job, evaluation, run)
    print(verdict_table(evaluation.results), end="\n\n")


def views(rows: int, *, seed: int) -> pd.DataFrame:
    """A made-up log in which viewers like some channels, and long videos are seldom finished."""
    random = np.random.default_rng(seed)
    viewer, video = random.integers(0, 500, rows), random.integers(0, 200, rows)
    channel = video % 12
    length_s = np.round(60.0 * np.exp(np.sin(video)) + 30.0, 1)
    interest = np.sin(1.7 * viewer + channel) - 0.004 * length_s + random.normal(0.5, 0.7, rows)
    share = 1.0 / (1.0 + np.exp(-interest))
    minutes = pd.to_timedelta(np.arange(rows), unit="min")
    return pd.DataFrame(
        {
            "view_id": np.arange(rows),
            "started_at": pd.Timestamp("2026-03-01", tz="UTC") + minutes,
            "viewer_id": viewer,
            "country": np.array(["CH", "DE", "FR"])[viewer % 3],
            "video_id": video,
            "channel": [f"channel {number}" for number in channel],
            "length_s": length_s,
            "watched_s": np.round(share * length_s),
            "pauses": random.poisson(2.0 * share),
            "finished": share > 0.75,
            "liked": random.random(rows) < 0.4 * share**2,
        }
    )


if __name__ == "__main__":
    sys.exit(main())

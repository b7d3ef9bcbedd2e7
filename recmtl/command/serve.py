"""`recmtl score`, `rank` and `explain`: what a bundle says of the rows of a log."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from recmtl.command.base import Command, Output, names_of
from recmtl.command.options import FILE, options, whole_number
from recmtl.errors import ConfigError
from recmtl.interrupts import advise

if TYPE_CHECKING:
    pass

__all__ = [
    "DONE",
    "QUARANTINED",
    "explain",
    "rank",
    "score",
    "side_table_option",
    "stated_paths",
]

DONE, QUARANTINED = 0, 3
BUNDLE = options(
    click.option("--bundle", required=True, type=FILE, help="bundle folder or MLflow URI"),
    click.option("--input", "source", required=True, type=FILE, help="the log, here or by URL"),
)
keep_option = click.option("--keep", default="", help="input columns to carry along: col,col")
side_table_option = click.option(
    "--side-table",
    "side_tables",
    multiple=True,
    metavar="STATED=PATH",
    help="where a side table lies that the bundle's schema states outside of the log's folder",
)


@click.command(
    cls=Command,
    epilog="exit status: 0 done, 2 error, 3 done with rows in the quarantine, 130 interrupted",
)
@BUNDLE
@options(
    click.option(
        "--output", "folder", required=True, type=FILE, help="folder to write Parquet files into"
    ),
    keep_option,
    click.option("--resume", is_flag=True, help="continue a job that was killed"),
    click.option("--part-rows", default=500_000, show_default=True, help="rows of an output file"),
    click.option(
        "--quarantine",
        default="",
        type=FILE,
        help="folder for what cannot be scored; without it, that is an error",
    ),
    click.option(
        "--drift",
        default="warn",
        type=click.Choice(["warn", "error", "off"]),
        show_default=True,
        help="what to do about far more unknown ids than in training",
    ),
    click.option(
        "--drift-limit",
        default=0.1,
        show_default=True,
        help="how much their share may exceed that of training",
    ),
    side_table_option,
    click.option(
        "--engine",
        default="local",
        type=click.Choice(["local", "spark"]),
        show_default=True,
        help="where it runs",
    ),
    click.option(
        "--network",
        default="torch",
        type=click.Choice(["torch", "onnx"]),
        show_default=True,
        help="what computes scores: onnx is faster, and equal to float32 rounding",
    ),
    click.option(
        "--chunk-rows",
        type=int,
        help="rows of a forward pass (512): more are faster, and equal to float32 rounding",
    ),
)
@click.pass_obj
def score(output: Output, /, **settings: Any) -> int:
    """Score a log with a bundle, row by row.

    The log may be larger than memory; scores are Parquet, in the order of its rows.
    """
    tables = stated_paths(settings.pop("side_tables"))
    keep = names_of(settings.pop("keep"))
    if settings.pop("engine") == "spark":
        return _on_spark(output, tables, keep, **settings)
    advise("run the same command with --resume to go on")
    return _here(output, tables, keep, **settings)


def _here(
    output: Output,
    tables: dict[str, str],
    keep: list[str],
    *,
    bundle: str,
    source: str,
    folder: str,
    network: Any,
    chunk_rows: int | None,
    quarantine: str,
    **settings: Any,
) -> int:
    # here, so that --help answers at once
    from recmtl.serve.batch.parquet import rows_progress, score_parquet
    from recmtl.serve.fixed_shape import CHUNK_ROWS
    from recmtl.serve.scoring.scorer import Scorer

    chunk_rows = CHUNK_ROWS if chunk_rows is None else chunk_rows
    scorer = Scorer.load(bundle, engine=network, chunk_rows=chunk_rows, side_tables=tables)
    progress = rows_progress(output.console)
    progress.disable = output.quiet
    with progress:
        summary = score_parquet(
            scorer,
            source,
            folder,
            keep=keep,
            quarantine=quarantine or None,
            progress=progress,
            **settings,
        )
    for warning in summary.warnings:
        output.warn(warning)
    for name, count in summary.unmatched.items():
        output.note(f"{count:,} rows have no row in the side table {name}", "yellow")
    unseen = sum(summary.unknown.values())
    line = (
        f"{summary.folder}: {summary.rows:,} rows in {summary.parts} parts, "
        f"{summary.scored_rows:,} scored now in {summary.seconds:.1f} s, {unseen:,} values that "
        "training had not seen"
    )
    output.summary(line, vars(summary))
    if not (summary.quarantined_rows or summary.quarantined_files):
        return DONE
    left_out = f"{summary.quarantined_rows:,} rows and {summary.quarantined_files} whole files"
    output.note(f"quarantined: {left_out}, see {quarantine}", "yellow")
    return QUARANTINED


def _on_spark(
    output: Output,
    tables: dict[str, str],
    keep: list[str],
    *,
    bundle: str,
    source: str,
    folder: str,
    resume: bool,
    quarantine: str,
    network: str,
    chunk_rows: int | None,
    drift: Any,
    drift_limit: float,
    part_rows: int,
) -> int:
    if resume or quarantine:
        raise ConfigError("--resume and --quarantine are for --engine local; Spark retries itself")
    if network != "torch" or chunk_rows is not None:
        raise ConfigError(
            "--network onnx and --chunk-rows are for --engine local; leave them out with Spark"
        )
    # Here, so that a machine without Spark can score its files.
    from recmtl.serve.batch.spark import score_spark
    from recmtl.serve.bundle.bundle import load_bundle

    verified = load_bundle(bundle, side_tables=tables)
    rows, warnings = score_spark(
        verified, source, folder, keep=keep, drift=drift, drift_limit=drift_limit
    )
    for warning in warnings:
        output.warn(warning)
    content = {"folder": folder, "rows": rows, "warnings": warnings}
    output.summary(f"{folder}: {rows:,} rows, scored by Spark", content)
    return DONE


@click.command(cls=Command)
@BUNDLE
@options(
    click.option("--output", "file", required=True, type=FILE, help="Parquet file to write"),
    click.option(
        "--by",
        default="",
        help="formula over scored and numeric columns, higher is better: "
        "'p_click * p_purchase'; the first score_ or p_ if empty",
    ),
    click.option(
        "--group", default="", help="column whose equal values compete; that of the schema if empty"
    ),
    click.option(
        "--k", default=20, type=whole_number, metavar="N", help="kept in a group; 0 for all"
    ),
    keep_option,
    side_table_option,
)
@click.pass_obj
def rank(
    output: Output,
    *,
    bundle: str,
    source: str,
    file: str,
    by: str,
    group: str,
    k: int,
    keep: str,
    side_tables: Sequence[str],
) -> None:
    """Rank a log within its groups, and keep the best of each."""
    # here, so that --help answers at once
    from recmtl.serve.ranking.rank_log import rank_log
    from recmtl.serve.ranking.ranker import Ranker
    from recmtl.serve.scoring.scorer import Scorer

    scorer = Scorer.load(bundle, engine="auto", side_tables=stated_paths(side_tables))
    summary = rank_log(
        Ranker(scorer),
        source,
        file,
        by=by or None,
        group=group or scorer.bundle.encoder.schema.roles.group,
        k=k or None,
        keep=names_of(keep) or None,
    )
    line = (
        f"{summary.file}: {summary.kept:,} of {summary.rows:,} rows in {summary.groups:,} groups, "
        f"by {summary.by}"
    )
    output.summary(line, vars(summary))


@click.command(cls=Command)
@BUNDLE
@options(
    click.option(
        "--rows", default=3, type=whole_number, metavar="N", help="first rows to explain (3)"
    ),
    click.option("--row", default=None, type=int, help="one row, counted from 0, in their place"),
    click.option("--task", default="", help="tasks to explain: task,task; all if empty"),
    click.option(
        "--k", default=5, type=whole_number, metavar="N", help="features named, of each (5)"
    ),
    side_table_option,
)
@click.pass_obj
def explain(
    output: Output,
    *,
    bundle: str,
    source: str,
    rows: int,
    row: int | None,
    task: str,
    k: int,
    side_tables: Sequence[str],
) -> None:
    """Say why rows got their scores.

    For each task: the route through the network, and what each feature added.
    """
    # here, so that --help answers at once
    from recmtl.serve.ranking.rank_log import rows_of
    from recmtl.serve.ranking.ranker import Ranker
    from recmtl.serve.scoring.scorer import Scorer

    scorer = Scorer.load(bundle, side_tables=stated_paths(side_tables))
    first, count = (0, rows) if row is None else (row, 1)
    table = rows_of(scorer, source, first=first, count=count)
    explanation = Ranker(scorer).explain(table, names_of(task) or None)
    texts = [
        f"row {first + number}\n{explanation.text(number, k=k)}" for number in range(len(table))
    ]
    content = {
        "reasons": explanation.table(k).to_pylist(),
        "routes": explanation.routes().to_pylist(),
    }
    output.result("\n\n".join(texts), content)


def stated_paths(pairs: Sequence[str]) -> dict[str, str]:
    """Where side tables lie, by the path that the schema states, of `STATED=PATH`."""
    return {stated: path for stated, _, path in (pair.partition("=") for pair in pairs)}

"""Score a Parquet log with a bundle: Parquet in, Parquet out, in row order.

python pipelines/score.py --bundle BUNDLE --input PARQUET --output FOLDER
    [--keep col,col] [--resume] [--quarantine FOLDER] [--drift warn|error|off]
    [--side-table STATED=PATH] [--engine local|spark] [--network torch|onnx] [--chunk-rows N]

Exit status: 0, all rows are scored; 2, an error, explained in one line; 3, finished with files or
rows in the quarantine; 130, interrupted, continue with --resume.
"""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from recmtl.interrupts import advise, answer_signals, leave
from recmtl.script import ErrorLine, add_debug_option

if TYPE_CHECKING:
    from rich.console import Console

DONE, QUARANTINED = 0, 3


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Score a Parquet log with a bundle.",
        epilog="exit status: 0 done, 2 error, 3 done with rows in the quarantine, 130 interrupted",
    )
    add = parser.add_argument
    add("--bundle", required=True, help="bundle folder or MLflow URI")
    add("--input", required=True, help="Parquet file, folder or glob, here or by URL")
    add("--output", required=True, help="folder for part-*.parquet")
    add("--keep", default="", help="input columns to carry along: col,col")
    add("--resume", action="store_true", help="continue a job that was killed")
    add("--part-rows", type=int, default=500_000, help="rows of an output file")
    add(
        "--quarantine",
        default="",
        help="folder for what cannot be scored; without it, that is an error",
    )
    drift = "what to do about far more unknown ids than in training"
    add("--drift", choices=["warn", "error", "off"], default="warn", help=drift)
    add(
        "--drift-limit",
        type=float,
        default=0.1,
        help="how much their share may exceed that of training (0.1)",
    )
    table = "where a side table lies that the bundle's schema states outside of the log's folder"
    add("--side-table", action="append", default=[], metavar="STATED=PATH", help=table)
    add("--engine", choices=["local", "spark"], default="local", help="where it runs")
    network = "what computes scores: onnx is faster, and equal to float32 rounding"
    add("--network", choices=["torch", "onnx"], default="torch", help=network)
    chunk = "rows of a forward pass (512): more are faster, and equal to float32 rounding"
    add("--chunk-rows", type=int, help=chunk)
    add_debug_option(parser)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Score a log and return the exit status."""
    options = parse(arguments)
    # Imported here and below, so that --help answers at once.
    from rich.console import Console

    if options.engine == "local":
        advise("run the same command with --resume to go on")
    console, status = Console(stderr=True), DONE
    with ErrorLine(console, debug=options.debug) as error:
        status = (_on_spark if options.engine == "spark" else _here)(options, console)
    return error.status or status


def _here(options: argparse.Namespace, console: "Console") -> int:
    # Here, so that --help and refused options answer before torch has loaded.
    from recmtl.serve.batch.parquet import rows_progress, score_parquet
    from recmtl.serve.fixed_shape import CHUNK_ROWS
    from recmtl.serve.scoring.scorer import Scorer

    chunk_rows = CHUNK_ROWS if options.chunk_rows is None else options.chunk_rows
    tables = _side_tables(options.side_table)
    scorer = Scorer.load(
        options.bundle, engine=options.network, chunk_rows=chunk_rows, side_tables=tables
    )
    with rows_progress(console) as progress:
        summary = score_parquet(
            scorer,
            options.input,
            options.output,
            keep=_names(options.keep),
            resume=options.resume,
            part_rows=options.part_rows,
            quarantine=options.quarantine or None,
            drift=options.drift,
            drift_limit=options.drift_limit,
            progress=progress,
        )
    for warning in summary.warnings:
        _say(console, f"warning: {warning}", "yellow")
    unseen = sum(summary.unknown.values())
    _say(
        console,
        f"{summary.folder}: {summary.rows:,} rows in {summary.parts} parts, "
        f"{summary.scored_rows:,} scored now in {summary.seconds:.1f} s, {unseen:,} values that "
        "training had not seen",
    )
    for name, count in summary.unmatched.items():
        _say(console, f"{count:,} rows have no row in the side table {name}", "yellow")
    if not (summary.quarantined_rows or summary.quarantined_files):
        return DONE
    left_out = f"{summary.quarantined_rows:,} rows and {summary.quarantined_files} whole files"
    _say(console, f"quarantined: {left_out}, see {options.quarantine}", "yellow")
    return QUARANTINED


def _on_spark(options: argparse.Namespace, console: "Console") -> int:
    # Here, so that a machine without Spark can score its files.
    from recmtl.errors import ConfigError
    from recmtl.serve.batch.spark import score_spark
    from recmtl.serve.bundle.bundle import load_bundle

    if options.resume or options.quarantine:
        raise ConfigError("--resume and --quarantine are for --engine local; Spark retries itself")
    if options.network != "torch" or options.chunk_rows is not None:
        raise ConfigError(
            "--network onnx and --chunk-rows are for --engine local; leave them out with Spark"
        )
    rows, warnings = score_spark(
        load_bundle(options.bundle, side_tables=_side_tables(options.side_table)),
        options.input,
        options.output,
        keep=_names(options.keep),
        drift=options.drift,
        drift_limit=options.drift_limit,
    )
    for warning in warnings:
        _say(console, f"warning: {warning}", "yellow")
    _say(console, f"{options.output}: {rows:,} rows, scored by Spark")
    return DONE


def _side_tables(pairs: Sequence[str]) -> dict[str, str]:
    return {stated: path for stated, _, path in (pair.partition("=") for pair in pairs)}


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _say(console: "Console", text: str, style: str | None = None) -> None:
    text = text.encode(errors="backslashreplace").decode()  # names of files may be no Unicode
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    answer_signals()
    leave(main())

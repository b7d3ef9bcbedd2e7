"""Score a Parquet log with a bundle: Parquet in, Parquet out, in row order.

python pipelines/score.py --bundle BUNDLE --input PARQUET --output FOLDER
    [--keep col,col] [--resume]
"""

import argparse
import os
import sys
from collections.abc import Sequence

# Spinning OpenMP threads make a busy machine ten times slower; this must precede torch's load.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Score a Parquet log with a bundle.")
    parser.add_argument("--bundle", required=True, help="bundle folder or MLflow URI")
    parser.add_argument("--input", required=True, help="Parquet file, folder or glob")
    parser.add_argument("--output", required=True, help="folder for part-*.parquet")
    parser.add_argument("--keep", default="", help="input columns to carry along: col,col")
    parser.add_argument("--resume", action="store_true", help="go on with a job that was killed")
    parser.add_argument("--engine", choices=["local"], default="local", help="where it runs")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job; returns 0, or 2 after a one-line error."""
    options = parse(arguments)
    # Imported late, so that --help answers at once and the environment is set before torch.
    from rich.console import Console

    from recmtl.errors import RecmtlError
    from recmtl.serve.parquet import score_parquet
    from recmtl.serve.progress import rows_progress
    from recmtl.serve.scorer import Scorer

    console = Console(stderr=True)
    keep = [name.strip() for name in options.keep.split(",") if name.strip()]
    try:
        scorer = Scorer.load(options.bundle)
        with rows_progress(console) as progress:
            done = score_parquet(
                scorer,
                options.input,
                options.output,
                keep=keep,
                resume=options.resume,
                progress=progress,
            )
    except RecmtlError as error:
        console.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return 2
    unseen = sum(done.unknown.values())
    console.print(
        f"{done.folder}: {done.rows:,} rows in {done.parts} parts, {done.scored_rows:,} scored now "
        f"in {done.seconds:.1f} s, {unseen:,} values that training had not seen",
        soft_wrap=True,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

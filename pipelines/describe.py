"""Draft a schema from a Parquet log.

python pipelines/describe.py --data PARQUET [--out YAML]
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from recmtl.interrupts import answer_signals, leave

if __name__ == "__main__":
    answer_signals()  # before what takes seconds to import

from rich.console import Console

from recmtl.atomic import write_text
from recmtl.data.describe import describe
from recmtl.script import ErrorLine


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the draft to `--out` or to the standard output; returns 0, or 2 after an error."""
    parser = argparse.ArgumentParser(description="Draft a schema from a Parquet log.")
    parser.add_argument("--data", required=True, help="Parquet file, folder or glob")
    parser.add_argument("--out", default="", help="YAML file to write; printed if empty")
    parser.add_argument("--debug", action="store_true", help="show where an error comes from")
    options = parser.parse_args(arguments)
    with ErrorLine(Console(stderr=True), debug=options.debug) as error:
        draft = describe(options.data)
        if options.out:
            write_text(Path(options.out), draft)
        else:
            sys.stdout.write(draft)
    return error.status


if __name__ == "__main__":
    leave(main())

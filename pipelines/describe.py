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
from recmtl.script import ErrorLine, add_debug_option


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the draft to `--out` or to the standard output; returns 0, or 2 after an error."""
    parser = argparse.ArgumentParser(description="Draft a schema from a Parquet log.")
    parser.add_argument("--data", required=True, help="Parquet file, folder or glob")
    parser.add_argument("--out", default="", help="YAML file to write; printed if empty")
    add_debug_option(parser)
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

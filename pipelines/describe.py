"""Draft a schema from a Parquet log.

python pipelines/describe.py --data PARQUET [--out YAML]
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from recmtl.data.describe import describe
from recmtl.errors import RecmtlError


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the draft to `--out` or to the standard output; returns 0, or 2 after an error."""
    parser = argparse.ArgumentParser(description="Draft a schema from a Parquet log.")
    parser.add_argument("--data", required=True, help="Parquet file, folder or glob")
    parser.add_argument("--out", default="", help="YAML file to write; printed if empty")
    options = parser.parse_args(arguments)
    try:
        draft = describe(options.data)
    except RecmtlError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    if options.out:
        Path(options.out).write_text(draft, encoding="utf-8")
    else:
        sys.stdout.write(draft)
    return 0


if __name__ == "__main__":
    sys.exit(main())

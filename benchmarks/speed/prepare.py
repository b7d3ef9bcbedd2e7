"""recmtl's preparation: `... FOLDER TARGET`; prints seconds as JSON."""

import json
import sys
from pathlib import Path

from benchmarks.speed.ours import schema_of
from benchmarks.worker import ANSWER, seconds_of_all
from recmtl.data.prepare import prepare


def main(folder: Path, target: Path) -> None:
    """Count values, encode them, write them, fingerprinted."""
    schema, source = schema_of(folder.name), str(folder / "train.parquet")
    told = seconds_of_all(lambda: prepare(source, schema, target / "log"))
    sys.stdout.write(f"\n{ANSWER}{json.dumps(told)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

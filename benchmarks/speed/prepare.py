"""recmtl's preparation: `... FOLDER TARGET`; `prepare` tells seconds."""

import sys
from functools import partial
from pathlib import Path

from benchmarks.speed.ours import schema_of
from benchmarks.worker import seconds_of_all, work
from recmtl.data.prepare import prepare


def main(folder: Path, target: Path) -> None:
    """Count values, encode them, write them, fingerprinted."""
    schema, source = schema_of(folder.name), str(folder / "train.parquet")
    done = partial(prepare, source, schema, target / "log")
    work({"prepare": lambda: seconds_of_all(done)}, {})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

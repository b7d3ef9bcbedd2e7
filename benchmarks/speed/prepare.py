"""recmtl's preparation: `... FOLDER TARGET`; the order is `prepare`."""

import sys
from functools import partial
from pathlib import Path

from benchmarks.speed.ours import schema_of
from benchmarks.worker import seconds_of_all, work
from recmtl.data.prepare import prepare


def main(folder: Path, target: Path) -> None:
    """Offer an order that counts values, encodes them, writes them and takes a fingerprint."""
    schema, source = schema_of(folder.name), str(folder / "train.parquet")
    done = partial(prepare, source, schema, target / "log")
    work({"prepare": lambda: seconds_of_all(done)}, {})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

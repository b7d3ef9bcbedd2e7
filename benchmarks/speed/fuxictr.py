"""FuxiCTR's preparation, in its own environment: `... FOLDER TARGET`; the order is `fuxictr`.

It runs the library's `FeatureProcessor` and `build_dataset` as shipped. Ray, in whose processes the
library encodes, is started before the clock; the processor time of these processes counts.
"""

import logging
import os
import sys
from functools import partial
from pathlib import Path

# Polars reads this when it is imported.
os.environ["POLARS_MAX_THREADS"] = "1"

import ray
from fuxictr.preprocess import FeatureProcessor, build_dataset
from fuxictr.preprocess.build_dataset import init_ray

from benchmarks.speed.shape import TASKS, VOCABULARIES
from benchmarks.worker import seconds_of_all, work


def main(folder: Path, target: Path) -> None:
    """Offer an order that counts values, encodes them and writes them."""
    logging.disable(logging.CRITICAL)
    names = [f"column_{number}" for number in range(len(VOCABULARIES[folder.name]))]
    features = [{"name": names, "active": True, "dtype": "int", "type": "categorical"}]
    labels = [{"name": task, "dtype": "float"} for task in TASKS]
    processor = FeatureProcessor(features, labels, dataset_id="log", data_root=str(target))
    init_ray()
    source = str(folder / "train.parquet")
    done = partial(build_dataset, processor, train_data=source, data_format="parquet")

    def prepare() -> dict[str, float]:
        spent = seconds_of_all(done)
        ray.shutdown()
        return spent

    work({"fuxictr": prepare}, {})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

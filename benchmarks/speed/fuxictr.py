"""FuxiCTR's preparation, in its own environment: `... FOLDER TARGET`; `fuxictr` tells seconds.

Its `FeatureProcessor` and `build_dataset`, as shipped. Ray, in whose processes it encodes, is up
before the clock starts; what those processes compute counts.
"""

import logging
import os
import sys
from functools import partial
from pathlib import Path

# Polars reads it when it is loaded.
os.environ["POLARS_MAX_THREADS"] = "1"

import ray
from fuxictr.preprocess import FeatureProcessor, build_dataset
from fuxictr.preprocess.build_dataset import init_ray

from benchmarks.speed.shape import TASKS, VOCABULARIES
from benchmarks.worker import seconds_of_all, work


def main(folder: Path, target: Path) -> None:
    """Count values, encode them, write them."""
    logging.disable(logging.CRITICAL)
    names = [f"column_{number}" for number in range(len(VOCABULARIES[folder.name]))]
    features = [{"name": names, "active": True, "dtype": "int", "type": "categorical"}]
    labels = [{"name": task, "dtype": "float"} for task in TASKS]
    processor = FeatureProcessor(features, labels, dataset_id="log", data_root=str(target))
    init_ray()
    source = str(folder / "train.parquet")
    done = partial(build_dataset, processor, train_data=source, data_format="parquet")

    def prepare() -> dict[str, float]:
        told = seconds_of_all(done)
        ray.shutdown()
        return told

    work({"fuxictr": prepare}, {})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

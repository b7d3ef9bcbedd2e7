"""FuxiCTR's preparation, in its own environment: `... FOLDER TARGET`; prints seconds as JSON.

Its `FeatureProcessor` and `build_dataset`, as shipped. Ray, in whose processes it encodes, is up
before the clock starts; what those processes compute counts.
"""

import json
import logging
import sys
from pathlib import Path

from fuxictr.preprocess import FeatureProcessor, build_dataset
from fuxictr.preprocess.build_dataset import init_ray

from benchmarks.speed.shape import TASKS, VOCABULARIES
from benchmarks.worker import ANSWER, seconds_of_all


def main(folder: Path, target: Path) -> None:
    """Count values, encode them, write them."""
    logging.disable(logging.CRITICAL)
    names = [f"column_{number}" for number in range(len(VOCABULARIES[folder.name]))]
    features = [{"name": names, "active": True, "dtype": "int", "type": "categorical"}]
    labels = [{"name": task, "dtype": "float"} for task in TASKS]
    processor = FeatureProcessor(features, labels, dataset_id="log", data_root=str(target))
    init_ray()
    source = str(folder / "train.parquet")
    told = seconds_of_all(
        lambda: build_dataset(processor, train_data=source, data_format="parquet")
    )
    sys.stdout.write(f"\n{ANSWER}{json.dumps(told)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

"""torch-rechub's arms of the latency benchmark, in its own environment: `... FOLDER WIDTHS EMBED`.

The documented way to predict is a `PredictDataset` of encoded columns, a `DataLoader` and the
trainer's `predict`; the loader has one batch of all candidates, its fastest setting. Its examples
encode raw columns with scikit-learn's `LabelEncoder` and `MinMaxScaler` and with `pad_sequences`.
The last arm calls the bare module on tensors.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.preprocessing import LabelEncoder, MinMaxScaler
from torch.utils.data import DataLoader
from torch_rechub.basic.features import DenseFeature, SequenceFeature, SparseFeature
from torch_rechub.models.multi_task import MMOE
from torch_rechub.trainers import MTLTrainer
from torch_rechub.utils.data import PredictDataset, pad_sequences

from benchmarks.worker import nanoseconds, work

TASKS = ["classification", "classification", "regression", "classification"]


def feature(description: dict, size: int) -> object:
    """A feature as torch-rechub describes it."""
    if "rows" not in description:
        return DenseFeature(description["name"])
    if "list" not in description:
        return SparseFeature(description["name"], description["rows"], embed_dim=size)
    options = {"embed_dim": size, "pooling": "mean", "padding_idx": 0}
    return SequenceFeature(
        description["name"], description["rows"], shared_with=description["shared"], **options
    )


class Preprocessing:
    """Encodes raw columns as torch-rechub's examples do.

    It is fitted on all requests, so that no category is unknown: a `LabelEncoder` would refuse it.
    """

    def __init__(self, features: list[dict], raw: pd.DataFrame) -> None:
        self.singles = [
            feature for feature in features if "rows" in feature and "list" not in feature
        ]
        self.lists = [feature for feature in features if "list" in feature]
        self.dense = [feature for feature in features if "rows" not in feature]
        self.encoders = {
            feature["name"]: LabelEncoder().fit(self._filled(raw, feature))
            for feature in self.singles
        }
        self.tables = {feature["name"]: self._table(raw, feature) for feature in self.lists}
        self.scaler = MinMaxScaler().fit(self._numbers(raw))

    def __call__(self, frame: pd.DataFrame) -> dict[str, np.ndarray]:
        """The columns of a `PredictDataset`."""
        columns = {
            # The table has no rows for rare ids; they share those of others.
            feature["name"]: self.encoders[feature["name"]].transform(self._filled(frame, feature))
            % feature["rows"]
            for feature in self.singles
        }
        for feature in self.lists:
            table = self.tables[feature["name"]]
            ids = [[table[value] for value in cell or ()] for cell in frame[feature["column"]]]
            columns[feature["name"]] = pad_sequences(ids, maxlen=feature["list"])
        scaled = self.scaler.transform(self._numbers(frame))
        return columns | {feature["name"]: scaled[:, i] for i, feature in enumerate(self.dense)}

    def _filled(self, frame: pd.DataFrame, feature: dict) -> pd.Series:
        column = frame[feature["column"]]
        return column.fillna("") if column.dtype == object else column

    def _numbers(self, frame: pd.DataFrame) -> np.ndarray:
        return frame[[feature["column"] for feature in self.dense]].fillna(0).to_numpy()

    def _table(self, raw: pd.DataFrame, feature: dict) -> dict:
        values = {value for cell in raw[feature["column"]] for value in cell or ()}
        return {value: 1 + number % (feature["rows"] - 1) for number, value in enumerate(values)}


def main(folder: Path, widths: list[int], size: int) -> None:
    """Build the network with random weights, then carry out orders."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    request_facts = json.loads((folder / "peer.json").read_text())
    features = [feature(description, size) for description in request_facts["features"]]
    towers = [{"dims": [32]} for _ in TASKS]
    model = MMOE(features, TASKS, 8, {"dims": widths}, towers)
    trainer = MTLTrainer(model, TASKS)
    with np.load(folder / "peer.npz") as stored:
        columns = {name: stored[name] for name in stored.files}
    rows, total = request_facts["rows"], len(next(iter(columns.values())))
    requests = [
        {name: values[first : first + rows].copy() for name, values in columns.items()}
        for first in range(0, total, rows)
    ]

    def documented(number: int) -> object:
        loader = DataLoader(PredictDataset(requests[number]), batch_size=rows, shuffle=False)
        return trainer.predict(model, loader)

    raw = pd.DataFrame(json.loads((folder / "peer_raw.json").read_text()))
    preprocess = Preprocessing(request_facts["features"], raw)
    frames = [raw.iloc[first : first + rows].reset_index() for first in range(0, total, rows)]

    def from_raw(number: int) -> object:
        dataset = PredictDataset(preprocess(frames[number]))
        return trainer.predict(model, DataLoader(dataset, batch_size=rows, shuffle=False))

    def module(number: int) -> object:
        with torch.inference_mode():
            tensors = {name: torch.from_numpy(v) for name, v in requests[number].items()}
            return model(tensors).numpy()

    model.eval()
    assert np.allclose(documented(0), module(0), atol=1e-6)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    arms = {"from_raw": from_raw, "documented": documented, "module": module}
    orders = {name: nanoseconds(arm) for name, arm in arms.items()}
    work(orders, {"parameters": parameters})


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(width) for width in sys.argv[2].split("-")], int(sys.argv[3]))

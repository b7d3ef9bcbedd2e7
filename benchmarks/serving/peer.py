"""torch-rechub's arms of the latency benchmark, in its own environment: `... FOLDER WIDTHS EMBED`.

The documented way to predict is a `PredictDataset` of encoded columns, a `DataLoader` and the
trainer's `predict`; the loader has one batch of all candidates, which suits it best. From raw
columns its examples get there with scikit-learn's `LabelEncoder` and `MinMaxScaler` and with
`pad_sequences`. The last arm calls the bare module on tensors.
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


def feature(told: dict, size: int) -> object:
    """A feature as torch-rechub describes it."""
    if "rows" not in told:
        return DenseFeature(told["name"])
    if "list" not in told:
        return SparseFeature(told["name"], told["rows"], embed_dim=size)
    options = {"embed_dim": size, "pooling": "mean", "padding_idx": 0}
    return SequenceFeature(told["name"], told["rows"], shared_with=told["shared"], **options)


class Preprocessing:
    """Raw columns as the examples of torch-rechub encode them, fitted on all requests.

    An unknown category, which a `LabelEncoder` refuses, does not occur then.
    """

    def __init__(self, features: list[dict], raw: pd.DataFrame) -> None:
        self.singles = [one for one in features if "rows" in one and "list" not in one]
        self.lists = [one for one in features if "list" in one]
        self.dense = [one for one in features if "rows" not in one]
        self.encoders = {
            one["name"]: LabelEncoder().fit(self._filled(raw, one)) for one in self.singles
        }
        self.tables = {one["name"]: self._table(raw, one) for one in self.lists}
        self.scaler = MinMaxScaler().fit(self._numbers(raw))

    def __call__(self, frame: pd.DataFrame) -> dict[str, np.ndarray]:
        """What a `PredictDataset` is made of."""
        columns = {
            # Rare ids share rows of a table that has none for them.
            one["name"]: self.encoders[one["name"]].transform(self._filled(frame, one))
            % one["rows"]
            for one in self.singles
        }
        for one in self.lists:
            table = self.tables[one["name"]]
            ids = [[table[value] for value in cell or ()] for cell in frame[one["column"]]]
            columns[one["name"]] = pad_sequences(ids, maxlen=one["list"])
        scaled = self.scaler.transform(self._numbers(frame))
        return columns | {one["name"]: scaled[:, i] for i, one in enumerate(self.dense)}

    def _filled(self, frame: pd.DataFrame, one: dict) -> pd.Series:
        column = frame[one["column"]]
        return column.fillna("") if column.dtype == object else column

    def _numbers(self, frame: pd.DataFrame) -> np.ndarray:
        return frame[[one["column"] for one in self.dense]].fillna(0).to_numpy()

    def _table(self, raw: pd.DataFrame, one: dict) -> dict:
        values = {value for cell in raw[one["column"]] for value in cell or ()}
        return {value: 1 + number % (one["rows"] - 1) for number, value in enumerate(values)}


def main(folder: Path, widths: list[int], size: int) -> None:
    """Build the network with random weights, then wait for orders."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    told = json.loads((folder / "peer.json").read_text())
    features = [feature(one, size) for one in told["features"]]
    towers = [{"dims": [32]} for _ in TASKS]
    model = MMOE(features, TASKS, 8, {"dims": widths}, towers)
    trainer = MTLTrainer(model, TASKS)
    with np.load(folder / "peer.npz") as stored:
        columns = {name: stored[name] for name in stored.files}
    rows, total = told["rows"], len(next(iter(columns.values())))
    requests = [
        {name: values[first : first + rows].copy() for name, values in columns.items()}
        for first in range(0, total, rows)
    ]

    def documented(number: int) -> object:
        loader = DataLoader(PredictDataset(requests[number]), batch_size=rows, shuffle=False)
        return trainer.predict(model, loader)

    raw = pd.DataFrame(json.loads((folder / "peer_raw.json").read_text()))
    preprocess = Preprocessing(told["features"], raw)
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

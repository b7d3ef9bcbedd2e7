"""The encoded log: a folder of memory-mapped columns with the encoder that made them."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recmtl.data.encoder import Encoder
from recmtl.data.encoding import Encoding
from recmtl.data.labels import LabelStatistics
from recmtl.errors import DataError
from recmtl.schema import Schema, load_schema

__all__ = ["EncodedLog", "Split"]


@dataclass(frozen=True)
class Split:
    """The rows of one part, read from disk as they are touched.

    Attributes:
        ids: int32 [R, I] rows of the embedding table.
        numeric: float32 [R, N], NaN where missing.
        labels: float32 [R, T], NaN where a task is not defined.
        weight: float32 [R].
        group: int64 [R], equal for rows of one group; all 0 without a group role.
        row: int64 [R], number of the row in the input.
    """

    ids: npt.NDArray[np.int32]
    numeric: npt.NDArray[np.float32]
    labels: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float32]
    group: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]

    def __len__(self) -> int:
        """Number of rows R."""
        return len(self.weight)

    @property
    def at_once(self) -> int:
        """Rows of a batch without gradients that memory is sure to hold."""
        return 8192

    def some(self, rows: npt.NDArray[np.int64]) -> "Split":
        """A copy of the rows of these numbers."""
        taken = {name: np.asarray(getattr(self, name))[rows] for name in Split.__annotations__}
        return Split(**taken)


class EncodedLog:
    """A folder that `prepare` wrote."""

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        """Use `EncodedLog.open`."""
        self.folder = folder
        self.manifest = manifest

    @staticmethod
    def open(folder: str | Path) -> "EncodedLog":
        """Open a prepared folder; raises `DataError` if it is none."""
        folder = Path(folder)
        try:
            manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError) as fault:
            raise DataError(f"{folder}: not an encoded log; run prepare to make one") from fault
        return EncodedLog(folder, manifest)

    @cached_property
    def schema(self) -> Schema:
        """The schema it was prepared with."""
        return load_schema(self.folder / "schema.yaml")

    @cached_property
    def encoding(self) -> Encoding:
        """What a model must know about the columns."""
        return Encoding.from_json((self.folder / "encoding.json").read_text(encoding="utf-8"))

    def encoder(self) -> Encoder:
        """The fitted encoder."""
        return Encoder.load(self.folder / "encoder")

    @property
    def fingerprint(self) -> str:
        """Of the bytes of the data and of the schema, in hex."""
        return str(self.manifest["fingerprint"])

    @cached_property
    def label_statistics(self) -> dict[str, LabelStatistics]:
        """What the train rows say of each task."""
        tasks = self.manifest["tasks"]
        return {name: LabelStatistics.from_json(raw) for name, raw in tasks.items()}

    def split(self, part: str) -> Split:
        """The rows of `train`, `validation` or `test`."""
        if part not in self.manifest["rows"]:
            known = ", ".join(self.manifest["rows"])
            raise DataError(f"{self.folder}: there is no part {part!r}; ask for one of {known}")
        read = {name: _map(self.folder / part / f"{name}.npy") for name in Split.__annotations__}
        return Split(**read)


def _map(path: Path) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as fault:
        with path.open("rb") as stream:
            np.lib.format.read_magic(stream)
            shape, _, kind = np.lib.format.read_array_header_1_0(stream)
        if 0 in shape:
            # A map cannot be empty.
            return np.empty(shape, kind)
        raise DataError(f"{path}: damaged ({fault}); run prepare again") from fault
    return array

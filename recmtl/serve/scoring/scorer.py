"""The scorer: raw rows in, scored columns out, in the kind of frame that came in.

A row's scores depend on that row alone, bit for bit: not on its neighbours, not on the number of
rows, not on the number of threads (see `recmtl.serve.scoring.fixed_shape`).
"""

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from recmtl.data.row_encoder import Encoded
from recmtl.errors import SourceLocation
from recmtl.serve.arguments import Frame, of_kind, scored_frame, to_arrow
from recmtl.serve.bundle.bundle import Bundle, load_bundle
from recmtl.serve.scoring.fixed_shape import CHUNK_ROWS, FixedShapeModel, Predictor
from recmtl.serve.scoring.onnx import Engine, OnnxNetwork, small_batch_network

__all__ = ["Scorer"]

SLICE_ROWS = 65_536
HERE = SourceLocation()
Check: TypeAlias = Callable[[Encoded, SourceLocation], None]


class _OnnxPredictor:
    """A network in ONNX Runtime as what is scored in chunks."""

    def __init__(self, network: OnnxNetwork) -> None:
        self.network, self.columns = network, network.columns

    def predict(self, ids: torch.Tensor, numeric: torch.Tensor) -> torch.Tensor:
        """Map ids `[B, I]` and numeric columns `[B, N]` to scores `[B, C]`."""
        return torch.from_numpy(self.network.scores(ids.numpy(), numeric.numpy()))


class Scorer:
    """Scores rows with the model of a bundle; safe to call from several threads.

    Args:
        bundle: a loaded bundle.
        chunk_rows: rows of every forward pass; 512 unless told. Scores of two scorers agree bit
            for bit only with the same number on the same processor.
        threads: chunks scored at the same time; torch's own number (the cores) unless told.
        engine: what scores: `torch`; `onnx`, which is faster, equal to float32 rounding but no
            longer bit for bit; or `auto`, which takes ONNX Runtime for batches of at most
            `chunk_rows` rows, see `recmtl.serve.scoring.onnx.small_batch_network`, and torch for
            larger.
        record: whether torch records the network's pass first, which takes the time of a hundred
            chunks and makes the others faster, most of all on several threads. Same bits; torch
            keeps three megabytes of it until the process ends.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        chunk_rows: int = CHUNK_ROWS,
        threads: int | None = None,
        engine: Engine = "torch",
        record: bool = True,
    ) -> None:
        self.bundle, self.asked = of_kind("bundle", bundle, Bundle), engine
        self._onnx = small_batch_network(bundle, engine)
        model: Predictor = bundle.model
        if engine == "onnx" and self._onnx is not None:
            model = _OnnxPredictor(self._onnx)
        record = of_kind("record", record, bool)
        self._model = FixedShapeModel(model, chunk_rows=chunk_rows, threads=threads, record=record)
        self._unknown: Counter[str] = Counter()
        self._lock = threading.Lock()

    @classmethod
    def load(
        cls,
        path_or_uri: str | Path,
        *,
        chunk_rows: int = CHUNK_ROWS,
        threads: int | None = None,
        engine: Engine = "torch",
        record: bool = True,
    ) -> "Scorer":
        """Load a bundle from a folder, `models:/name@alias` or `runs:/id/path`, and verify it."""
        bundle = load_bundle(path_or_uri)
        return cls(bundle, chunk_rows=chunk_rows, threads=threads, engine=engine, record=record)

    @property
    def engine(self) -> str:
        """What scores small batches: `torch` or `onnx`."""
        return "torch" if self._onnx is None else "onnx"

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the scored columns, in order."""
        return tuple(self.bundle.model.columns)

    @property
    def input_columns(self) -> tuple[str, ...]:
        """Names of the raw columns that every input must have."""
        return tuple(self.bundle.encoder.input_columns)

    @property
    def unknown(self) -> dict[str, int]:
        """Values met since loading, by feature, that training had not seen."""
        with self._lock:
            return dict(self._unknown)

    def score(self, frame: Frame) -> Frame:
        """Map rows to their scores, in order; other columns are not looked at.

        Arrow table or record batch -> Arrow table; pandas -> pandas with the same index; dict of
        arrays -> dict of arrays. Scores are float32.

        Raises:
            DataError: a column is missing or has a type that cannot be encoded.
        """
        scores = self.scores(to_arrow(frame, self.input_columns))
        by_name = {name: scores[:, i] for i, name in enumerate(self.columns)}
        return scored_frame(frame, by_name)

    def scores(
        self, table: pa.Table, *, place: SourceLocation = HERE, check: Check | None = None
    ) -> npt.NDArray[np.float32]:
        """Map an Arrow table that has the input columns to scores `[rows, columns]`.

        `place` says in error messages where the rows come from; `check` sees the encoded rows, and
        that place, before they are scored.
        """
        parts: list[npt.NDArray[np.float32]] = []
        for first in range(0, table.num_rows, SLICE_ROWS):
            encoded = self.bundle.encoder.encode(table.slice(first, SLICE_ROWS), place=place)
            if check:
                check(encoded, place)
            self.count(encoded.unknown)
            small = table.num_rows <= self._model.chunk_rows
            parts.append(self.encoded_scores(encoded.ids, encoded.numeric, small=small))
        empty: npt.NDArray[Any] = np.empty((0, len(self.columns)), dtype=np.float32)
        return np.concatenate(parts) if parts else empty

    def encoded_scores(
        self,
        ids: npt.NDArray[np.int32],
        numeric: npt.NDArray[np.float32],
        *,
        small: bool | None = None,
    ) -> npt.NDArray[np.float32]:
        """Map encoded rows to scores; `small`: whether they are all of a small batch."""
        small = len(ids) <= self._model.chunk_rows if small is None else small
        network = self._onnx if small and len(ids) and self._onnx else self._model
        return self.bundle.calibrated(network.scores(ids, numeric), ids)

    def count(self, unknown: dict[str, int]) -> None:
        """Add values that training had not seen, by feature, to `unknown`."""
        with self._lock:
            self._unknown.update(unknown)

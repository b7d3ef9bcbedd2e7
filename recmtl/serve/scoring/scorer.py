"""The scorer: raw rows in, scored columns out, in the kind of frame that came in.

A row's scores depend on that row alone, bit for bit: not on its neighbours, not on the number of
rows, not on the number of threads (see `recmtl.serve.fixed_shape`).
"""

import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from recmtl.data.row_encoder import Encoded
from recmtl.errors import ConfigError, SourceLocation
from recmtl.serve.arguments import as_instance, short_repr
from recmtl.serve.bundle.bundle import Bundle, load_bundle
from recmtl.serve.fixed_shape import CHUNK_ROWS, FixedShapeModel, Predictor
from recmtl.serve.frames import Frame, column_names, readable, scores_as_frame, to_arrow
from recmtl.serve.scoring.onnx import Engine, OnnxNetwork, small_batch_network

__all__ = ["RowCheck", "Scorer"]

SLICE_ROWS = 65_536
HERE = SourceLocation()
RowCheck: TypeAlias = Callable[[Encoded, SourceLocation], None]
"""Called with encoded rows, and where they come from, before they are scored."""


class Scorer:
    """Scores rows with the model of a bundle; safe to call from several threads.

    Args:
        bundle: a loaded bundle.
        chunk_rows: rows of every forward pass. Scores of two scorers agree bit for bit only with
            the same number on the same processor.
        threads: chunks scored at the same time; by default as many as torch has threads.
        engine: what scores. `torch`; `onnx`, which is faster and equal to float32 rounding but
            not bit for bit; or `auto`, which takes ONNX Runtime for batches of at most
            `chunk_rows` rows (see `recmtl.serve.scoring.onnx.small_batch_network`) and torch for
            larger ones.
        record: whether torch traces the network's pass first. This takes the time of a hundred
            chunks and makes the others faster, most of all on several threads, with the same bits.
            torch keeps three megabytes of every trace until the process ends.
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
        self.bundle = as_instance("bundle", bundle, Bundle)
        if not isinstance(engine, str) or engine not in get_args(Engine):
            choices = ", ".join(get_args(Engine))
            raise ConfigError(f"engine {short_repr(engine)} is not one of {choices}")
        self.requested_engine: Engine = engine
        self._onnx = None if engine == "torch" else small_batch_network(bundle, engine)
        model: Predictor = bundle.model
        if engine == "onnx" and self._onnx is not None:
            model = _OnnxPredictor(self._onnx)
        record = as_instance("record", record, bool)
        self._model = FixedShapeModel(
            model,
            chunk_rows=chunk_rows,
            threads=threads,
            record=record,
            network_input=bundle.network_input,
        )
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
        side_tables: Mapping[str, str | Path] | None = None,
    ) -> "Scorer":
        """Load a bundle from a folder, `models:/name@alias` or `runs:/id/path`, and verify it.

        Args:
            path_or_uri: where the bundle is.
            chunk_rows: as for the class, like the next three.
            threads: see there.
            engine: see there.
            record: see there.
            side_tables: what `score_parquet` joins, see `recmtl.serve.load_bundle`.

        Raises:
            BundleError: the bundle is refused, see `recmtl.serve.load_bundle`.
            ConfigError: an argument is out of bounds, or ONNX Runtime is asked for and not
                installed.
        """
        bundle = load_bundle(path_or_uri, side_tables=side_tables)
        return cls(bundle, chunk_rows=chunk_rows, threads=threads, engine=engine, record=record)

    def __repr__(self) -> str:
        scores, inputs = ", ".join(self.columns), len(self.input_columns)
        return f"Scorer {self.bundle.folder}: {scores} of {inputs} columns, by {self.engine}"

    @property
    def chunk_rows(self) -> int:
        """Rows of every forward pass."""
        return self._model.chunk_rows

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

    def columns_to_read(self, present: Collection[str]) -> tuple[str, ...]:
        """The input columns, and numbers of the past that rows with these columns bring."""
        return self.bundle.encoder.columns_to_read(present)

    @property
    def unknown(self) -> dict[str, int]:
        """By feature, how many values since loading were not seen in training."""
        with self._lock:
            return dict(self._unknown)

    def score(self, frame: Frame) -> Frame:
        """Map rows to their scores, in order; columns that are no input are ignored.

        Arrow table or record batch -> Arrow table; pandas -> pandas with the same index; polars ->
        polars; dict of arrays -> dict of arrays; what only hands on Arrow data (the PyCapsule
        interface) -> Arrow table. Scores are float32.

        Raises:
            DataError: a column is missing or has a type that cannot be encoded.
        """
        frame = readable(frame)
        scores = self.scores(to_arrow(frame, self.columns_to_read(column_names(frame))))
        by_name = {name: scores[:, i] for i, name in enumerate(self.columns)}
        return scores_as_frame(frame, by_name)

    def scores(
        self, table: pa.Table, *, place: SourceLocation = HERE, check: RowCheck | None = None
    ) -> npt.NDArray[np.float32]:
        """Map an Arrow table that has the input columns to scores `[rows, columns]`.

        Args:
            table: the rows.
            place: where they come from, for error messages.
            check: called with the encoded rows and their place before they are scored.
        """
        slices: list[npt.NDArray[np.float32]] = []
        for first in range(0, table.num_rows, SLICE_ROWS):
            encoded = self.bundle.encoder.encode(table.slice(first, SLICE_ROWS), place=place)
            if check:
                check(encoded, place)
            self.count(encoded.unknown)
            small = table.num_rows <= self._model.chunk_rows
            slices.append(self.encoded_scores(encoded.ids, encoded.numeric, small=small))
        empty = np.empty((0, len(self.columns)), dtype=np.float32)
        return np.concatenate(slices) if slices else empty

    def encoded_scores(
        self,
        ids: npt.NDArray[np.int32],
        numeric: npt.NDArray[np.float32],
        *,
        small: bool | None = None,
    ) -> npt.NDArray[np.float32]:
        """Map rows as the bundle's encoder encodes them to scores.

        Args:
            ids: `[R, I]`.
            numeric: `[R, N]`.
            small: whether the rows belong to a small batch, which the engine may score in another
                way; by default whether R is at most `chunk_rows`.
        """
        small = len(ids) <= self._model.chunk_rows if small is None else small
        if small and len(ids) and self._onnx:
            scores = self._onnx.scores(*self.bundle.network_input(ids, numeric))
        else:
            scores = self._model.scores(ids, numeric)
        return self.bundle.calibrated(scores, ids)

    def count(self, unknown: dict[str, int]) -> None:
        """Add the number of values that training had not seen, by feature, to `unknown`."""
        with self._lock:
            self._unknown.update(unknown)


class _OnnxPredictor:
    """A network in ONNX Runtime that scores chunks in place of the model."""

    def __init__(self, network: OnnxNetwork) -> None:
        self.network, self.columns = network, network.columns

    def predict(self, ids: torch.Tensor, numeric: torch.Tensor) -> torch.Tensor:
        """Map ids `[B, I]` and numeric columns `[B, N]` to scores `[B, C]`."""
        return torch.from_numpy(self.network.scores(ids.numpy(), numeric.numpy()))

"""The pass that encodes every row, counts what does not count, and writes rows at their place."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recmtl.data.columns.gaps import Gap, join_gaps, label_gaps
from recmtl.data.columns.keys import group_keys, stable_hash
from recmtl.data.counted_log import CountedBatch, CountedLog
from recmtl.data.encoded_log import NO_GROUP, ArrayWriter, write_faults_as_data_error
from recmtl.data.labelled.position import read_positions
from recmtl.data.labelled.sampling import NegativeSample
from recmtl.data.labelled.windows import late_tasks
from recmtl.data.passes.fit import Fitted
from recmtl.data.passes.resume import Finished
from recmtl.data.row_encoder import RowEncoder
from recmtl.data.split import PARTS
from recmtl.data.vocabulary_drift import PartCounts
from recmtl.schema import Schema, Vector

__all__ = ["array_widths", "encode", "group_codes", "make_arrays"]

Arrays = dict[str, npt.NDArray[Any]]


def array_widths(schema: Schema, encoder: RowEncoder) -> dict[str, int]:
    """How many columns the arrays of an encoded log have."""
    encoding = encoder.encoding
    return {
        "ids": encoding.id_columns,
        "numeric": len(encoding.numeric),
        "vectors": encoding.numeric_columns - len(encoding.numeric),
        "labels": len(schema.tasks),
        "waits": 2 * len(late_tasks(schema)),
        "position": int(schema.roles.position is not None),
        "weights": len(schema.tasks) * any(task.sample_weight for task in schema.tasks),
    }


def make_arrays(schema: Schema, fitted: Fitted, folder: Path) -> None:
    """Make the files of every part, which `encode` fills."""
    widths = array_widths(schema, fitted.encoder)
    are_halves = all(f.precision == "half" for f in schema.features if isinstance(f, Vector))
    vectors = np.float16 if are_halves else np.float32
    for part, rows in zip(PARTS, fitted.rows, strict=True):
        with ArrayWriter(folder / part, rows, widths=widths, vectors=vectors):
            pass


def encode(
    log: CountedLog,
    schema: Schema,
    fitted: Fitted,
    folder: Path | None = None,
    *,
    is_resumable: bool = False,
) -> dict[str, Any]:
    """Encode every row, and write it to its part in a folder if there is one.

    Args:
        log: the log.
        schema: what its columns mean.
        fitted: how they are encoded.
        folder: holds the files that `make_arrays` made; None to count only.
        is_resumable: note finished pieces there, and go on after those.

    Returns:
        `unknown`, by part and feature how many values have the unknown row (unseen, rarer than
        `min_count`, or missing), of how many `values`; `positives`, by part and binary task;
        `labelled`, by part and task; and `counts`, what else does not count (`GapCount`).

    Raises:
        DataError: a value is not what its column held when the log was fitted, or the folder
            cannot be written.
    """
    folder = None if folder is None else folder.absolute()

    def read(raw: dict[str, Any]) -> _EncodePass:
        counts = PartCounts(schema, fitted.encoder)
        counts.add_json(raw)
        return _EncodePass(counts)

    finished = None
    if folder is not None and is_resumable:
        finished = Finished(folder, _EncodePass.to_json, read)
    counts = _EncodePass(PartCounts(schema, fitted.encoder))
    view = _EncodedRows(schema, fitted, folder)
    log.fold(counts, schema.columns(), view, stage="encode", finished=finished)
    return counts.counts.by_part()


@dataclass(frozen=True)
class _EncodePass:
    """What the pass counts."""

    counts: PartCounts

    def add(
        self,
        gaps: Iterable[Gap],
        parts: npt.NDArray[np.uint8],
        arrays_of_part: Mapping[int, Arrays],
    ) -> None:
        self.counts.add_gaps(gaps, parts)
        for part, arrays in arrays_of_part.items():
            self.counts.add(part, arrays)

    def merge(self, later: "_EncodePass") -> None:
        self.counts.merge(later.counts)

    def to_json(self) -> dict[str, Any]:
        return self.counts.to_json()


@dataclass
class _EncodedRows:
    """Encodes batches that follow one another, and writes their rows behind those before."""

    schema: Schema
    fitted: Fitted
    folder: Path | None
    rows_before: list[int] = field(default_factory=list)

    def __call__(
        self, batch: CountedBatch
    ) -> tuple[Iterable[Gap], npt.NDArray[np.uint8], dict[int, Arrays]]:
        parts = self.fitted.assign(batch)
        if self.fitted.encoder.past is not None:
            batch = self.fitted.encoder.past.with_numbers(batch, parts)
        batch, parts = NegativeSample(self.schema).kept(batch, parts)
        arrays = _encoded_arrays(self.schema, self.fitted, batch)
        arrays_of_part = {}
        for part in np.unique(parts).tolist():
            rows = np.flatnonzero(parts == part)
            arrays_of_part[part] = {name: array[rows] for name, array in arrays.items()}
        if self.folder is not None:
            with write_faults_as_data_error(self.folder):
                self._write(self.folder, batch.first, arrays_of_part)
        gaps = chain(
            _gaps(self.fitted.labels.schema, batch, arrays),
            _missing_vectors(self.fitted.encoder, arrays["vectors"]),
        )
        return gaps, parts, arrays_of_part

    def _write(self, folder: Path, first: int, arrays_of_part: Mapping[int, Arrays]) -> None:
        rows_before = self.fitted.rows_before.get(first, self.rows_before)
        self.rows_before = list(rows_before)
        for part, arrays in arrays_of_part.items():
            with ArrayWriter.at(folder / PARTS[part], self.rows_before[part]) as writer:
                writer.append(arrays)
            self.rows_before[part] += len(arrays["row"])


def _encoded_arrays(schema: Schema, fitted: Fitted, batch: CountedBatch) -> Arrays:
    """The arrays of `LogSplit` for one batch."""
    columns = dict(zip(batch.columns.schema.names, batch.columns.columns, strict=True))
    labels = fitted.labels.encode(batch.columns, batch.place)
    weight = np.ones(batch.rows) if batch.weight is None else batch.weight / fitted.mean_weight
    encoded = fitted.encoder.encode_canonical(columns, batch.rows, batch.place)
    numbers = len(fitted.encoder.encoding.numeric)
    return {
        "ids": encoded.ids,
        "numeric": encoded.numeric[:, :numbers],
        "vectors": encoded.numeric[:, numbers:],
        "labels": labels,
        "weight": weight,
        "group": group_codes(schema, batch),
        "row": batch.row,
        "waits": fitted.labels.waits(labels, batch.columns, batch.place),
        "position": read_positions(schema, batch.columns, batch.place),
        "weights": fitted.labels.weights(labels, batch.columns, batch.place, weight),
    }


def _gaps(
    schema: Schema, batch: CountedBatch, arrays: Mapping[str, npt.NDArray[Any]]
) -> Iterator[Gap]:
    """The rows of a batch that do not count for a task, a group or a side table."""
    yield from label_gaps(schema, batch.columns, arrays["labels"], batch.place)
    ungrouped, split = dict[str, npt.NDArray[np.bool_]](), schema.split
    if schema.roles.group is not None:
        ungrouped[schema.roles.group] = arrays["group"] == NO_GROUP
    if split.by == "group" and split.column is not None and split.column not in ungrouped:
        groups = batch.columns.column(split.column)
        ungrouped[split.column] = group_keys(groups, split.column, batch.place).codes < 0
    if schema.roles.position is not None:
        unplaced = np.isnan(arrays["position"][:, 0])
        yield Gap("position_missing", "position", schema.roles.position.column, unplaced)
    yield from join_gaps(schema, batch.rows, unmatched=batch.unmatched, ungrouped=ungrouped)


def _missing_vectors(encoder: RowEncoder, vectors: npt.NDArray[np.float32]) -> Iterator[Gap]:
    """The rows of a batch that have no vector."""
    first = 0
    brought = {feature.name: feature.column for feature in encoder.schema.features}
    for vector in encoder.encoding.vectors:
        if vector.name in brought:
            absent = np.isnan(vectors[:, first])
            yield Gap("vector_missing", vector.name, brought[vector.name], absent)
        first += vector.size


def group_codes(schema: Schema, batch: CountedBatch) -> npt.NDArray[np.int64]:
    """A code for each row, equal within a group; `NO_GROUP` where it has none."""
    column = schema.roles.group
    if column is None:
        return np.zeros(batch.rows, np.int64)
    keys = group_keys(batch.columns.column(column), column, batch.place)
    codes = stable_hash(keys.values).view(np.int64)
    codes[codes == NO_GROUP] = 0
    return np.append(codes, NO_GROUP)[keys.codes]

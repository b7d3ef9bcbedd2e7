"""The encoded log: a folder of columns as .npy files, with the encoder that made them.

`ArrayWriter` appends to the files, since a write to a memory map would let pages pile up in the
process and turn a full disk into a crash. `EncodedLog` maps them for reading; a reader releases the
pages that it has read (`recmtl.memory.release_pages`).
"""

import errno
import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt
from rich.filesize import decimal

from recmtl.atomic import read_json
from recmtl.data.arrays.columns import JoinedColumns, PickedColumns
from recmtl.data.arrays.groups import group_numbers, units_of
from recmtl.data.columns.labels import LabelStatistics
from recmtl.data.columns.logical_type import LogicalType
from recmtl.data.encoding import Encoding
from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import DataError
from recmtl.schema import Schema, load_schema

if TYPE_CHECKING:
    from recmtl.data.batches import TableBatch
    from recmtl.ranks import Share

__all__ = [
    "ARRAYS",
    "NO_GROUP",
    "ArrayWriter",
    "EncodedLog",
    "LogSplit",
    "new_array",
    "refuse_full_disk",
    "row_bytes",
    "write_faults_as_data_error",
]

NO_GROUP = int(np.iinfo(np.int64).min)
"""Code of rows on which the column of the groups is missing."""


@dataclass(frozen=True)
class LogSplit:
    """The rows of one part of a log, read from disk as they are touched.

    Attributes:
        ids: int32 [R, I] rows of the embedding table.
        numeric: float32 [R, N], NaN where missing; those of vectors may be halves on disk.
        labels: float32 [R, T], NaN where a task is not defined.
        weight: float32 [R], above 0, with mean 1 on the train rows (as they stood in the column in
            logs of release 0.1).
        group: int64 [R], equal within a group, `NO_GROUP` on rows without one; all 0 without a
            group role.
        row: int64 [R], number of the row in the input.
        waits: float32 [R, 2 L], what is known of the L late labels: `waited` and `delay` of each,
            see `recmtl.data.labelled.windows.LateRows`; no columns in logs without.
        position: float32 [R, 1], the place at which a row was shown, NaN where missing; no column
            without the role.
        weights: float32 [R, T], what each row counts for each task: `weight` times the task's own;
            no columns where no task has one of its own.
        member: float32 [R, 1], the number of the row's group, or NaN; of `with_members` alone.
    """

    ids: npt.NDArray[np.int32]
    numeric: npt.NDArray[np.float32]
    labels: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float32]
    group: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    waits: npt.NDArray[np.float32] = field(default=None)  # type: ignore[arg-type] # see below
    position: npt.NDArray[np.float32] = field(default=None)  # type: ignore[arg-type] # see below
    weights: npt.NDArray[np.float32] = field(default=None)  # type: ignore[arg-type] # see below
    member: npt.NDArray[np.float32] = field(default=None)  # type: ignore[arg-type] # see below

    def __post_init__(self) -> None:
        """What only some logs have, the others have no columns of."""
        for name in ("waits", "position", "weights", "member"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, np.empty((len(self), 0), np.float32))

    def __len__(self) -> int:
        """Number of rows R."""
        return len(self.weight)

    def __repr__(self) -> str:
        ids, numeric, labels = (np.shape(part)[1] for part in (self.ids, self.numeric, self.labels))
        return (
            f"LogSplit: {len(self):,} rows of {ids} columns of ids, {numeric} of numbers, {labels} "
            f"labels"
        )

    @property
    def varying_weight(self) -> npt.NDArray[np.float32] | None:
        """The weights [R], or None where all rows weigh the same, as in a log without weights."""
        weight = np.asarray(self.weight)
        return weight if len(weight) and weight.min() < weight.max() else None

    @property
    def weight_by_task(self) -> npt.NDArray[np.float32]:
        """What rows count in losses and metrics: [R], or [R, T] where a task has its own weight."""
        return self.weights if self.weights.shape[1] else self.weight

    @property
    def varying_weight_by_task(self) -> npt.NDArray[np.float32] | None:
        """As `weight_by_task`, or None where all rows weigh the same."""
        return np.asarray(self.weights) if self.weights.shape[1] else self.varying_weight

    @property
    def largest_batch(self) -> int:
        """Rows of a batch without gradients that memory is sure to hold."""
        return 8192

    @property
    def units(self) -> npt.NDArray[np.int64] | None:
        """Codes `[R]` of rows that stay together where rows are divided; None for single rows."""
        return units_of(self.member[:, 0]) if self.member.shape[1] else None

    def take(self, rows: npt.NDArray[np.int64]) -> "LogSplit":
        """A copy of the rows of these numbers."""
        return LogSplit(**{n: np.asarray(getattr(self, n)[rows]) for n in LogSplit.__annotations__})

    def with_members(self) -> "LogSplit":
        """The same rows with the numbers of their groups, which stay whole in batches then."""
        return replace(self, member=group_numbers(self.group, NO_GROUP))

    def columns(self, ids: Sequence[int], numeric: Sequence[int]) -> "LogSplit":
        """The same rows with some columns of `ids` and of `numeric`, picked as rows are read."""
        picked: Any = PickedColumns(self.ids, ids), PickedColumns(self.numeric, numeric)
        return replace(self, ids=picked[0], numeric=picked[1])

    def batches(
        self,
        *,
        batch_size: int,
        seed: int | None,
        rows: npt.NDArray[np.integer] | None = None,
        start: int = 0,
        share: "Share | None" = None,
        block: int = 4096,
        buffer_blocks: int = 16,
    ) -> "Iterator[TableBatch]":
        """One pass over the rows: see `recmtl.data.batches.Rows` and `table_batches`."""
        # PyTorch is slow to import, and preparing and describing a log need none of it.
        from recmtl.data.batches import table_batches

        beside = [part for part in (self.position, self.waits, self.member) if part.shape[1]]
        return table_batches(
            (self.ids, self.numeric, self.labels, self.weight_by_task, *beside),
            batch_size=batch_size,
            seed=seed,
            rows=rows,
            start=start,
            share=share,
            block=block,
            buffer_blocks=buffer_blocks,
            member=self.member[:, 0] if self.member.shape[1] else None,
        )


class EncodedLog:
    """A folder that `prepare` wrote.

    Attributes:
        folder: the folder.
        manifest: what `manifest.json` holds: fingerprint, rows, label statistics, warnings.
    """

    def __init__(
        self, folder: Path, manifest: dict[str, Any], *, encoder: RowEncoder | None = None
    ) -> None:
        """Use `EncodedLog.open`."""
        self.folder = folder
        self.manifest = manifest
        self._written = encoder

    def __repr__(self) -> str:
        rows, tasks = self.manifest["rows"], ", ".join(task.name for task in self.schema.tasks)
        parts = ", ".join(f"{part} {count:,}" for part, count in rows.items())
        return f"EncodedLog {self.folder}: {sum(rows.values()):,} rows ({parts}), tasks {tasks}"

    @staticmethod
    def open(folder: str | Path, *, encoder: RowEncoder | None = None) -> "EncodedLog":
        """Open a prepared folder.

        Args:
            folder: the folder.
            encoder: the one that has just been written there, which is then not read.

        Raises:
            DataError: the folder was not written by `prepare`.
        """
        folder = Path(folder)
        if not (folder / "manifest.json").is_file():
            raise DataError(f"{folder}: not an encoded log; run prepare to make one")
        remedy = f"delete {folder} and run prepare again"
        manifest = read_json(folder / "manifest.json", remedy=remedy)
        return EncodedLog(folder, manifest, encoder=encoder)

    @cached_property
    def schema(self) -> Schema:
        """The schema with which the log was prepared."""
        return load_schema(self.folder / "schema.yaml", stored=True)

    @cached_property
    def encoding(self) -> Encoding:
        """What a model must know about the columns."""
        return Encoding.from_json((self.folder / "encoding.json").read_text(encoding="utf-8"))

    def encoder(self) -> RowEncoder:
        """The fitted encoder, which is read once."""
        return self._encoder

    @cached_property
    def _encoder(self) -> RowEncoder:
        return self._written or RowEncoder.load(self.folder / "encoder")

    def compared_types(self) -> dict[str, LogicalType]:
        """The types of the columns whose values are compared with those of days added later.

        Times, groups and weights mean something within one log only, whatever their unit.
        """
        encoder, tasks = self.encoder(), self.schema.tasks
        rules = [rule for task in tasks for rule in (task.label, task.rows) if rule is not None]
        compared = {*encoder.input_columns, *(rule.column for rule in rules)}
        return {column: kind for column, kind in encoder.types.items() if column in compared}

    @property
    def fingerprint(self) -> str:
        """Hash of the data and of the schema, in hex."""
        return str(self.manifest["fingerprint"])

    @cached_property
    def label_statistics(self) -> dict[str, LabelStatistics]:
        """What the train rows say about each task's label."""
        tasks = self.manifest["tasks"]
        return {name: LabelStatistics.from_json(raw) for name, raw in tasks.items()}

    def split(self, part: str) -> LogSplit:
        """The rows of `train`, `validation` or `test`."""
        if part not in self.manifest["rows"]:
            parts = ", ".join(self.manifest["rows"])
            raise DataError(f"{self.folder}: there is no part {part!r}; ask for one of {parts}")
        paths = {name: self.folder / part / f"{name}.npy" for name in ARRAYS}
        arrays = {
            name: _map(path)
            for name, path in paths.items()
            if name not in OPTIONAL or path.is_file()
        }
        vectors: Any = arrays.pop("vectors", None)
        if vectors is not None:
            joined: Any = JoinedColumns(arrays["numeric"], vectors)
            arrays["numeric"] = joined
        group = arrays["group"]
        if "counts" not in self.manifest and group.any():
            # In logs of 0.1, 0 says that the group is missing, or that the schema names none.
            arrays["group"] = np.where(group == 0, NO_GROUP, group)
        return LogSplit(**arrays)


def _map(path: Path) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as fault:
        with path.open("rb") as stream:
            np.lib.format.read_magic(stream)
            shape, _, kind = np.lib.format.read_array_header_1_0(stream)
        if 0 in shape:
            # The system maps no empty file.
            return np.empty(shape, kind)
        raise DataError(f"{path}: damaged ({fault}); run prepare again") from fault
    return array


ARRAYS: dict[str, Any] = {
    "ids": np.int32,
    "numeric": np.float32,
    "labels": np.float32,
    "weight": np.float32,
    "group": np.int64,
    "row": np.int64,
    "waits": np.float32,
    "position": np.float32,
    "weights": np.float32,
    "vectors": np.float32,
}
OPTIONAL = ("waits", "position", "weights", "vectors")
"""Arrays that are absent where they have no columns; `vectors` are the last ones of `numeric`."""


def row_bytes(widths: Mapping[str, int]) -> int:
    """Bytes of one row on disk; `widths` as for `ArrayWriter`."""
    columns = {**dict.fromkeys(ARRAYS, 1), **dict.fromkeys(OPTIONAL, 0), **widths}
    return sum(np.dtype(kind).itemsize * columns[name] for name, kind in ARRAYS.items())


def new_array(path: Path, kind: npt.DTypeLike, shape: tuple[int, ...]) -> BinaryIO:
    """A new .npy file, opened after its header; the bytes of an array of that shape follow."""
    stream = path.open("wb")
    header = {"descr": np.dtype(kind).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream


class ArrayWriter:
    """Writes batches of rows to `<folder>/<name>.npy`, for each name in `ARRAYS`."""

    def __init__(
        self, folder: Path, rows: int, *, widths: Mapping[str, int], vectors: Any = np.float32
    ) -> None:
        """Make the folder and the files, which `at` opens again to write rows at their place.

        Args:
            folder: the folder, which must not exist.
            rows: number of rows that will be written in all.
            widths: number of columns of each two-dimensional array; those in `OPTIONAL` may be 0.
            vectors: how numbers of vectors are written: as float32, or as halves.
        """
        folder.mkdir(parents=True)
        self._files: dict[str, BinaryIO] = {}
        self._kinds: dict[str, Any] = {}
        for name, kind in ARRAYS.items():
            if name in OPTIONAL and not widths.get(name):
                continue
            kind = vectors if name == "vectors" else kind
            shape = (rows, widths[name]) if name in widths else (rows,)
            self._files[name] = new_array(folder / f"{name}.npy", kind, shape)
            self._kinds[name] = kind

    @staticmethod
    @contextmanager
    def at(folder: Path, row: int) -> "Iterator[ArrayWriter]":
        """Open files that were made to write from a row on; rows may be written in any order."""
        writer = ArrayWriter.__new__(ArrayWriter)
        with ExitStack() as stack:
            paths = {name: folder / f"{name}.npy" for name in ARRAYS}
            writer._files = {
                name: stack.enter_context(path.open("r+b"))
                for name, path in paths.items()
                if name not in OPTIONAL or path.is_file()
            }
            writer._kinds = {}
            for name, stream in writer._files.items():
                np.lib.format.read_magic(stream)
                shape, _, kind = np.lib.format.read_array_header_1_0(stream)
                writer._kinds[name] = kind
                stream.seek(row * kind.itemsize * math.prod(shape[1:]), os.SEEK_CUR)
            yield writer

    def append(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Append one batch: for each name in `ARRAYS` an array, rows first."""
        for name, stream in self._files.items():
            stream.write(np.ascontiguousarray(arrays[name], dtype=self._kinds[name]).data)

    def __enter__(self) -> "ArrayWriter":
        """The writer; its files are open."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the files."""
        for stream in self._files.values():
            stream.close()


@contextmanager
def write_faults_as_data_error(folder: Path) -> Iterator[None]:
    """Turn what the file system reports into a `DataError` with a remedy."""
    try:
        yield
    except OSError as fault:
        remedy = "choose another folder"
        if fault.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(f"{folder}: the disk is full; free some space, or {remedy}") from fault
        raise DataError(f"{folder}: cannot be written ({fault}); {remedy}") from fault


def refuse_full_disk(folder: Path, needed: int) -> None:
    """Raise a `DataError` if `needed` bytes do not fit on the disk of a folder."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DataError(
            f"{folder.parent}: the encoded log needs {decimal(needed)} and {decimal(free)} are "
            f"free; free {decimal(needed - free)}, or choose another folder"
        )

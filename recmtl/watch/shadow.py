"""The scores of several bundles side by side in one Parquet file, written while they are made."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from recmtl.atomic import new_file
from recmtl.data.counted_log import CountedBatch
from recmtl.serve.bundle import Bundle
from recmtl.watch.day import OnBatch

__all__ = ["shadow_writer"]


@contextmanager
def shadow_writer(path: Path, bundles: Mapping[str, Bundle]) -> Iterator[OnBatch]:
    """Hands out an `OnBatch` that writes `<bundle>:<scored column>`, after `row` and the roles.

    Args:
        path: the file: whole at the end, or absent. `row` numbers the rows of the day.
        bundles: by the names that their columns get; the first one's schema names the roles.
    """
    roles = next(iter(bundles.values())).encoder.schema.roles
    kept = [name for name in (roles.row_id, roles.group, roles.time) if name is not None]
    columns = {name: tuple(bundle.model.columns) for name, bundle in bundles.items()}
    with new_file(path) as partial:
        file = _ShadowFile(partial, kept=kept, columns=columns)
        try:
            yield file.write
        finally:
            file.close()


class _ShadowFile:
    """A Parquet file whose columns are those of its first batch."""

    def __init__(
        self, path: Path, *, kept: Sequence[str], columns: Mapping[str, Sequence[str]]
    ) -> None:
        self._path, self._kept, self._columns = path, kept, columns
        self._writer: pq.ParquetWriter | None = None

    def write(self, batch: CountedBatch, scores: Mapping[str, npt.NDArray[np.float32]]) -> None:
        arrays = {"row": pa.array(batch.row)}
        present = batch.columns.schema.names
        arrays |= {name: batch.columns.column(name) for name in self._kept if name in present}
        for name, columns in self._columns.items():
            by_column = zip(columns, scores[name].T, strict=True)
            arrays |= {f"{name}:{column}": pa.array(values) for column, values in by_column}
        table = pa.table(arrays)
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

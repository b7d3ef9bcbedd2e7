"""Stream a simulated log and its truth to files: flat memory for any number of rows."""

import json
import os
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from recmtl.data.simulate.columns import chances_table, log_table
from recmtl.data.simulate.impressions import draw_blocks
from recmtl.data.simulate.truth import RELATED, Score, Truth
from recmtl.data.simulate.world import draw_world
from recmtl.errors import DataError

__all__ = ["simulate", "truth_path"]


def truth_path(path: str | Path) -> Path:
    """Where `simulate` puts the planted truth of the log at `path`."""
    return Path(path).with_suffix(".truth.json")


def simulate(
    path: str | Path,
    rows: int = 200_000,
    *,
    seed: int = 0,
    users: int = 12_000,
    items: int = 4_000,
    row_group_rows: int = 50_000,
    with_truth: bool = False,
) -> Truth:
    """Write `rows` impressions to the Parquet file `path` and their truth beside it; return that.

    The same arguments give the same rows, whatever `row_group_rows` is. `with_truth` also writes
    `<log>.truth.parquet` with one row an impression: both interests, the true probabilities and the
    true mean of log seconds. Raises `DataError` for sizes below one.
    """
    if min(rows, users, items, row_group_rows) < 1:
        raise DataError("simulate: rows, users, items and row_group_rows must be at least 1")
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    world = draw_world(seed, users=users, items=items)
    score = Score()
    parts = [(target, log_table)]
    if with_truth:
        parts.append((target.with_suffix(".truth.parquet"), chances_table))
    with ExitStack() as stack:
        writers = [stack.enter_context(GroupWriter(file, row_group_rows)) for file, _ in parts]
        for block in draw_blocks(world, rows=rows, seed=seed):
            score.add(block)
            for writer, (_, table) in zip(writers, parts, strict=True):
                writer.add(table(world, block))
    truth = Truth(rows, seed, RELATED, score.rates(), score.best(), score.correlation())
    write_text(truth_path(target), json.dumps(asdict(truth), indent=2) + "\n")
    return truth


class GroupWriter:
    """Writes a Parquet file in row groups of a fixed size; it appears when all is written."""

    def __init__(self, target: Path, group_rows: int) -> None:
        self._target = target
        self._partial = target.with_name(f"{target.name}.partial")
        self._group_rows = group_rows
        self._waiting: list[pa.Table] = []
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> "GroupWriter":
        return self

    def add(self, table: pa.Table) -> None:
        """Append rows; whole row groups go to the file at once."""
        self._waiting.append(table)
        while sum(part.num_rows for part in self._waiting) >= self._group_rows:
            joined = pa.concat_tables(self._waiting)
            self._write(joined.slice(0, self._group_rows))
            self._waiting = [joined.slice(self._group_rows)]

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            self._partial.unlink(missing_ok=True)

    def _finish(self) -> None:
        rest = pa.concat_tables(self._waiting)
        if rest.num_rows:
            self._write(rest)
        if self._writer is not None:
            self._writer.close()
        os.replace(self._partial, self._target)

    def _write(self, table: pa.Table) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._partial, table.schema)
        self._writer.write_table(table, row_group_size=self._group_rows)


def write_text(path: Path, text: str) -> None:
    """Write a small file at once or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)

"""Segments of a day: rows with one value of a column, or in one quarter of its numbers."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recmtl.data.columns.canonical import kind_of
from recmtl.data.columns.keys import category_keys
from recmtl.data.columns.numeric import numbers
from recmtl.data.counted_log import CountedBatch
from recmtl.watch.day import OnBatch

__all__ = ["Segment", "SegmentReader"]

MOST_VALUES = 8
"""Of a column, that are segments of their own: the most frequent ones."""
QUARTERS = ("lowest", "second", "third", "highest")


@dataclass(frozen=True)
class Segment:
    """Rows of a day that are judged apart.

    Attributes:
        name: `<column> = <value>`, or a quarter of its numbers.
        rows: bool `[R]`.
    """

    name: str
    rows: npt.NDArray[np.bool_]


class SegmentReader:
    """Collects columns of a day, batch by batch, and cuts them.

    Args:
        columns: of numbers, which are cut into quarters, or of values.
        on_batch: sees every batch, too.
    """

    def __init__(self, columns: Sequence[str], on_batch: OnBatch | None = None) -> None:
        self._columns, self._on_batch = tuple(columns), on_batch
        self._numbers: dict[str, list[npt.NDArray[np.float64]]] = {}
        self._values: dict[str, list[npt.NDArray[Any]]] = {}

    def read(self, batch: CountedBatch, scores: Mapping[str, npt.NDArray[np.float32]]) -> None:
        """Take a batch; raises `DataError` if a column holds no values of either kind."""
        for name in self._columns:
            column = batch.columns.column(name)
            if kind_of(column) == "float":
                self._numbers.setdefault(name, []).append(numbers(column, name, batch.place))
                continue
            keys = category_keys(column, name, batch.place)
            values = np.array([*map(str, keys.values.to_pylist()), "missing"], object)
            self._values.setdefault(name, []).append(values[keys.codes])
        if self._on_batch is not None:
            self._on_batch(batch, scores)

    def segments(self) -> list[Segment]:
        """The segments, column by column."""
        return [segment for name in self._columns for segment in self._cut(name)]

    def _cut(self, name: str) -> Iterator[Segment]:
        if name in self._numbers:
            values = np.concatenate(self._numbers[name])
            present = np.isfinite(values)
            edges = (
                np.quantile(values[present], (0.25, 0.5, 0.75)) if present.any() else np.zeros(3)
            )
            quarter = np.searchsorted(edges, values, side="left")
            for number, quarter_name in enumerate(QUARTERS):
                yield Segment(f"{name}: {quarter_name} quarter", present & (quarter == number))
            return
        values = np.concatenate(self._values.get(name, [np.empty(0, object)]))
        frequent = Counter(values.tolist()).most_common(MOST_VALUES)
        for value, _ in frequent:
            yield Segment(f"{name} = {value}", values == value)
        others = ~np.isin(values, [value for value, _ in frequent])
        if others.any():
            yield Segment(f"{name}: all other values", others)

"""What a person wants to know of a column's values: their range, the common ones, their shape."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["ColumnFacts", "column_facts"]

BARS, MOST_COMMON, LONGEST = 12, 5, 40
"""Bars of a histogram, values that are named, characters of each."""
FEW_VALUES = 1_000_000
"""Distinct values up to which they are counted."""


@dataclass(frozen=True)
class ColumnFacts:
    """Of the sampled values that are there; empty where it does not apply.

    Attributes:
        low: the least value, as text.
        high: the greatest.
        median: of a number.
        common: the most frequent values and their shares of the rows.
        bars: rows in equal steps from the 1st to the 99th percentile of a number.
        length: mean number of values in a list.
    """

    low: str = ""
    high: str = ""
    median: str = ""
    common: tuple[tuple[str, float], ...] = ()
    bars: tuple[int, ...] = ()
    length: float | None = None

    def __str__(self) -> str:
        """As a draft says it: `0 to 19.9, median 3.1`; empty if there is nothing to say.

        >>> str(ColumnFacts(low="0", high="19.9", median="3.1"))
        '0 to 19.9, median 3.1'
        """
        if self.length is not None:
            return f"{self.length:.1f} a row"
        if self.low:
            return f"{self.low} to {self.high}" + (f", median {self.median}" * bool(self.median))
        return self.most_common

    @property
    def most_common(self) -> str:
        """`40% are 'a'`, of a value that a fifth of the rows has or more."""
        if not self.common or self.common[0][1] < 0.2:
            return ""
        value, share = self.common[0]
        return f"{share:.0%} are {value!r}"


def column_facts(column: Any, shape: str) -> ColumnFacts:
    """The facts of a column in one form; see `ColumnProfile` for its shapes."""
    if shape == "list":
        lengths = pc.list_value_length(column)
        return ColumnFacts(length=float(pc.mean(lengths).as_py() or 0.0))
    if shape in ("int", "float"):
        return _of_numbers(column)
    if shape == "time":
        return _of_times(column.drop_null())
    return ColumnFacts(common=_common(column)) if shape in ("text", "bool") else ColumnFacts()


def _of_times(values: Any) -> ColumnFacts:
    try:
        ends = pc.min_max(values)
        texts = [pc.cast(ends[name], pa.string()).as_py() for name in ("min", "max")]
    except pa.ArrowException:
        return ColumnFacts()  # durations have neither an order nor a text
    return ColumnFacts(*texts) if None not in texts else ColumnFacts()


def _of_numbers(column: Any) -> ColumnFacts:
    try:
        floats = np.asarray(column.drop_null().cast(pa.float64(), safe=False))
    except pa.ArrowException:
        return ColumnFacts()  # digits beyond 64 bits
    floats = floats[np.isfinite(floats)]
    if not len(floats):
        return ColumnFacts()
    low, first, middle, last, high = np.quantile(floats, [0, 0.01, 0.5, 0.99, 1])
    return ColumnFacts(
        low=_number(low),
        high=_number(high),
        median=_number(middle),
        common=_common(column),
        bars=_bars(floats, first, last),
    )


def _bars(values: npt.NDArray[np.float64], first: float, last: float) -> tuple[int, ...]:
    """Numbers of values in equal steps, those beyond the ends at the ends; none of one value."""
    if not first < last < float("inf") or not np.isfinite(last - first):
        return ()
    steps = ((np.clip(values, first, last) - first) / (last - first) * BARS).astype(np.int64)
    return tuple(np.bincount(np.minimum(steps, BARS - 1), minlength=BARS).tolist())


def _common(column: Any) -> tuple[tuple[str, float], ...]:
    counts = pc.value_counts(column.drop_null())
    if not len(counts) or len(counts) > FEW_VALUES:
        return ()
    order = pc.array_sort_indices(counts.field("counts"), order="descending")
    top = counts.take(order.slice(0, MOST_COMMON)).to_pylist()
    return tuple((_short(entry["values"]), entry["counts"] / len(column)) for entry in top)


def _number(value: float) -> str:
    """A number with four digits or so, whole ones in full."""
    if abs(value) < 1e15 and value == int(value):
        return f"{int(value)}"
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.9g}"


def _short(value: object) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"

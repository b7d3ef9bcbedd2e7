"""How much a distribution has moved: histograms of features and scores, and their distance.

The distance is the population stability index, the sum over bins of `(p - q) * log(p / q)`
(Siddiqi, Credit Risk Scorecards, 2006): below 0.1 little has changed, above 0.25 much. Bins of
numbers and of lengths of lists are tenths of the rows on which they were made, those of categories
the most frequent values; missing and unknown values have a bin of their own.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from recmtl.data.row_encoder import RowEncoder

__all__ = ["Bins", "FeatureValues", "Histogram", "feature_values"]

BINS = 10
Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Kind = Literal["category", "list", "number", "score"]


@dataclass(frozen=True)
class FeatureValues:
    """A feature of encoded rows as one value a row.

    Attributes:
        name: the feature.
        kind: how it is binned.
        values: ids of a category, lengths of lists, numbers, and means of the numbers of a vector,
            as float64 with NaN where missing.
        unknown: id of a category's unknown values; -1 of other kinds.
    """

    name: str
    kind: Kind
    values: npt.NDArray[Any]
    unknown: int = -1


def feature_values(
    encoder: RowEncoder, ids: npt.NDArray[np.int32], numeric: npt.NDArray[np.float32]
) -> Iterator[FeatureValues]:
    """Every feature of rows `ids` `[R, I]`, `numeric` `[R, N]`, as `encoder` encodes them."""
    encoding = encoder.encoding
    for column, name in enumerate(encoding.single):
        unknown = encoder.vocabulary_of(name).first
        yield FeatureValues(name, "category", np.asarray(ids[:, column]), unknown)
    for field in encoding.lists:
        lengths = (np.asarray(ids[:, field.columns]) != 0).sum(1)
        yield FeatureValues(field.name, "list", np.where(lengths > 0, lengths, np.nan))
    for column, number in enumerate(encoding.numeric[: numeric.shape[1]]):
        values = np.asarray(numeric[:, column], np.float64)
        yield FeatureValues(number.name, "number", values)
    for name, columns in encoding.vector_columns().items():
        values = np.asarray(numeric[:, columns], np.float64).mean(1)
        yield FeatureValues(name, "number", values)


@dataclass(frozen=True)
class Bins:
    """Bins of one feature: 0 of what is missing or unknown, then those of the cuts.

    Attributes:
        kind: of the feature.
        cuts: the most frequent ids, sorted, of a category, whose bin 1 is that of rarer ones;
            otherwise the upper ends of all bins but the last.
        unknown: see `FeatureValues`.
    """

    kind: Kind
    cuts: tuple[float, ...]
    unknown: int = -1

    @staticmethod
    def of(feature: FeatureValues) -> "Bins":
        """Bins in which the values of these rows are as even as they can be."""
        if feature.kind == "category":
            ids = feature.values[feature.values != feature.unknown]
            values, counts = np.unique(ids, return_counts=True)
            cuts = np.sort(values[np.argsort(-counts, kind="stable")[: BINS - 2]])
        else:
            present = feature.values[np.isfinite(feature.values)]
            inner = np.linspace(0, 1, BINS + 1)[1:-1]
            cuts = np.unique(np.quantile(present, inner)) if len(present) else np.empty(0)
        return Bins(feature.kind, tuple(cuts.tolist()), feature.unknown)

    def __len__(self) -> int:
        """Number of bins."""
        return len(self.cuts) + 2

    def codes(self, values: npt.NDArray[Any]) -> Codes:
        """The bin of each value, int64 `[R]`."""
        cuts = np.array(self.cuts)
        if self.kind == "category":
            at, is_frequent = np.searchsorted(cuts, values), np.isin(values, cuts)
            others = np.where(values == self.unknown, 0, 1)
            return np.where(is_frequent, at + 2, others).astype(np.int64)
        inside = 1 + np.searchsorted(cuts, values, side="left")
        return np.where(np.isnan(values), 0, inside).astype(np.int64)

    def histogram(self, values: npt.NDArray[Any], weight: npt.NDArray[Any] | None) -> "Histogram":
        """How the values fall into the bins."""
        counts = np.bincount(self.codes(values), weight, len(self)).astype(np.float64)
        return Histogram(self, tuple(counts.tolist()), len(values))


@dataclass(frozen=True)
class Histogram:
    """How rows fall into bins.

    Attributes:
        bins: the bins.
        counts: weight of the rows of each.
        rows: number of rows.
    """

    bins: Bins
    counts: tuple[float, ...]
    rows: int

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of each bin; 0 without a row."""
        total = sum(self.counts)
        return tuple(count / total if total else 0.0 for count in self.counts)

    @property
    def missing(self) -> float:
        """Share of rows that are missing or unknown; 0 without a row."""
        return self.shares[0]

    def plus(self, other: "Histogram") -> "Histogram":
        """The histogram of the rows of both, which have the same bins."""
        counts = (a + b for a, b in zip(self.counts, other.counts, strict=True))
        return Histogram(self.bins, tuple(counts), self.rows + other.rows)

    def distance(self, other: "Histogram") -> float:
        """The population stability index of two histograms of the same bins."""
        return _index(*(h._in_rows() for h in (self, other)))

    def chance(self, other: "Histogram") -> tuple[float, float]:
        """Mean and standard deviation of the distance if nothing has changed.

        That of n and m rows in k bins is about (1 / n + 1 / m) times chi-square of k - 1 degrees.
        """
        pairs = zip(self.counts, other.counts, strict=True)
        free = max(sum(a + b > 0 for a, b in pairs) - 1, 0)
        scale = 1 / max(self.rows, 1) + 1 / max(other.rows, 1)
        return free * scale, math.sqrt(2 * free) * scale

    def _in_rows(self) -> Floats:
        """The counts in rows of mean weight."""
        counts = np.array(self.counts)
        return counts * (self.rows / total) if (total := counts.sum()) > 0 else counts

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        bins: dict[str, Any] = {"kind": self.bins.kind, "cuts": list(self.bins.cuts)}
        bins |= {"unknown": self.bins.unknown} if self.bins.kind == "category" else {}
        return {**bins, "counts": list(self.counts), "rows": self.rows}

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> "Histogram":
        """Read what `to_json` gave.

        Raises:
            ValueError: it is no histogram.
        """
        bins = Bins(raw["kind"], tuple(map(float, raw["cuts"])), int(raw.get("unknown", -1)))
        counts = tuple(map(float, raw["counts"]))
        is_right = len(counts) == len(bins) and list(bins.cuts) == sorted(bins.cuts)
        if not is_right or not all(math.isfinite(x) and x >= 0 for x in counts):
            raise ValueError("its cuts and counts are no histogram")
        return Histogram(bins, counts, int(raw["rows"]))


def _index(before: Floats, after: Floats) -> float:
    """Half a row is added to every bin, so that an empty one does not make it infinite."""
    p, q = ((counts + 0.5) / (counts + 0.5).sum() for counts in (before, after))
    return float(np.sum((p - q) * np.log(p / q)))

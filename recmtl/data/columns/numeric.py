"""Numbers -> one float32 each: standardised, or their position among quantiles of the train rows.

Memory is bounded: moments are merged batch by batch, quantiles come from a uniform sample of the
rows, those with the smallest hashes of their numbers. Everything is fitted and scaled in float64. A
number beyond what float32 holds (3.4e38, often a stand-in for "none") takes no part in the fit, and
is scaled as the farthest value.
Columns are canonical, see `recmtl.data.columns.logical_type`.
"""

import math
from array import array
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.data.columns.canonical import AnyArray, kind_of
from recmtl.data.columns.keys import stable_hash
from recmtl.data.columns.logical_type import value_type_name
from recmtl.errors import SourceLocation
from recmtl.schema import Numeric

__all__ = ["SAMPLE", "Moments", "NumericFit", "Scaler", "finite_numbers", "numbers", "row_hashes"]

Floats = npt.NDArray[np.float64]
Hashes = npt.NDArray[np.uint64]
SAMPLE, SAMPLE_SEED = 200_000, 17
"""Rows that quantiles are taken of, and the seed of the hashes by which they are drawn."""
TERMS = 6
FARTHEST = 1e6
LARGEST_FITTED = float(np.finfo(np.float32).max)


def numbers(array: AnyArray, name: str, place: SourceLocation) -> Floats:
    """A canonical column as float64 [rows], NaN where null.

    Raises:
        DataError: it holds no numbers.

    >>> numbers(pa.array([True, None]), "is_click", SourceLocation()).tolist()
    [1.0, nan]
    """
    kind = kind_of(array)
    if kind == "null":
        return np.full(len(array), np.nan)
    if kind == "boolean":
        array = array.cast(pa.uint8())
    elif kind not in ("integer", "float"):
        remedy = "store numbers there, or use the column as categorical or in a rule (equals)"
        fault = f"holds {value_type_name(array.type)}, not numbers"
        raise place.error(fault, remedy, column=name)
    # Unsafe means only that integers beyond 2^53 are rounded, as any float64 must.
    values = array if pa.types.is_float64(array.type) else array.cast(pa.float64(), safe=False)
    return np.asarray(values.to_numpy(zero_copy_only=False))


def finite_numbers(array: AnyArray, name: str, place: SourceLocation) -> Floats:
    """A numeric feature's column as `numbers`; an infinite value is a `DataError`."""
    values = numbers(array, name, place)
    infinite = np.isinf(values)
    if infinite.any():
        fault = f"{int(infinite.sum())} values are infinite"
        raise place.error(fault, "replace them by null, or by a finite limit", column=name)
    return values


class Moments:
    """Count, mean and variance of a stream, merged without cancellation (Chan et al. 1983).

    The terms of every batch (six numbers, 48 bytes) are kept and folded in the order of the stream
    when they are asked for, so that streams that follow one another can be added up apart.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._terms = array("d")

    def add(self, values: Floats, weights: Floats | None = None) -> None:
        """Take one batch of finite values of at most 1e150; weights None count each once."""
        if len(values) == 0:
            return
        if weights is None:
            mass, mean = float(len(values)), float(values.mean())
            squares = float(np.square(values - mean).sum())
        else:
            mass = float(weights.sum())
            mean = float((values * weights).sum()) / mass
            squares = float((np.square(values - mean) * weights).sum())
        spread = float(values.min()), float(values.max())
        self._terms.extend((len(values), mass, mean, squares, *spread))

    def merge(self, later: "Moments") -> None:
        """Take the batches of a stream that follows this one."""
        self._terms.extend(later._terms)

    @property
    def count(self) -> int:
        """Number of values."""
        return int(sum(self._terms[::TERMS]))

    @property
    def mean(self) -> float:
        """Weighted mean; 0 of an empty stream."""
        return self._folded()[0]

    @property
    def std(self) -> float:
        """Population standard deviation; 0 for an empty or constant stream, whatever rounds."""
        low, high = min(self._terms[4::TERMS], default=0.0), max(self._terms[5::TERMS], default=0.0)
        _, mass, squares = self._folded()
        return math.sqrt(squares / mass) if low < high else 0.0

    def _folded(self) -> tuple[float, float, float]:
        """Mean, mass and sum of squared distances of the stream."""
        mean, mass, squares = 0.0, 0.0, 0.0
        columns = (self._terms[i::TERMS] for i in (1, 2, 3))
        for mass_of_batch, mean_of_batch, squares_of_batch in zip(*columns, strict=True):
            total, step = mass + mass_of_batch, mean_of_batch - mean
            squares += squares_of_batch + step * step * (mass / total) * mass_of_batch
            mean += step * (mass_of_batch / total)
            mass = total
        return mean, mass, squares


def row_hashes(first: int, rows: int) -> Hashes:
    """uint64 [rows] hashes of consecutive row numbers, no two alike: the keys of samples."""
    return stable_hash(pa.array(np.arange(first, first + rows)), SAMPLE_SEED)


class _Sample:
    """A uniform sample of at most `size` rows: those with the smallest hashes."""

    def __init__(self, size: int = SAMPLE) -> None:
        self._size = size
        self._limit: np.uint64 | None = None
        self._hashes: list[Hashes] = []
        self._rows: list[Floats] = []
        self._held = 0

    def add(self, hashes: Hashes, rows: Floats) -> None:
        """Offer rows `[rows, columns]`."""
        if self._limit is not None:
            near = hashes <= self._limit
            hashes, rows = hashes[near], rows[near]
        self._hashes.append(hashes)
        self._rows.append(rows)
        self._held += len(rows)
        if self._held > 2 * self._size:
            self._cut()

    def merge(self, later: "_Sample") -> None:
        """Offer the rows of another sample."""
        for hashes, rows in zip(later._hashes, later._rows, strict=True):
            self.add(hashes, rows)

    def _cut(self) -> None:
        hashes, rows = np.concatenate(self._hashes), np.concatenate(self._rows)
        if len(hashes) > self._size:
            kept = np.argpartition(hashes, self._size)[: self._size]
            hashes, rows = hashes[kept], rows[kept]
            self._limit = hashes.max()
        self._hashes, self._rows, self._held = [hashes], [rows], len(hashes)

    def rows(self) -> Floats:
        """The sample `[rows, columns]`: all rows in their order, or some in that of the hashes."""
        if not self._rows:
            return np.zeros((0, 2))
        self._cut()
        rows = self._rows[0]
        return rows if self._limit is None else rows[np.argsort(self._hashes[0])]


@dataclass(frozen=True)
class Scaler:
    """The fitted map of one numeric feature.

    Attributes:
        name: the feature.
        encoding: `standard`, `quantile`, `piecewise` or `buckets`.
        log: whether sign(x) * log(1 + |x|) is applied first.
        mean: of the (logged) train values.
        std: of the same, never 0.
        edges: at least two increasing quantiles of the same; empty for `standard`; the given ones
            of `buckets`.
        clip: the least and the greatest value that is told apart, before the logarithm.
    """

    name: str
    encoding: str
    log: bool
    mean: float
    std: float
    edges: tuple[float, ...]
    clip: tuple[float | None, float | None] | None = None

    @property
    def bins(self) -> int:
        """Number of intervals between edges; 1 for `standard`; of `buckets` steps between them."""
        return len(self.edges) if self.encoding == "buckets" else max(len(self.edges) - 1, 1)

    @property
    def field_encoding(self) -> str:
        """How a network reads the scaled number: of bucket k the first k ramps, each whole."""
        return "piecewise" if self.encoding == "buckets" else self.encoding

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads; `clip` is left out where there is none."""
        document = asdict(self)
        if self.clip is None:
            del document["clip"]
        return document

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> "Scaler":
        """Read what `to_json` gave, in this release or an earlier one."""
        clip = document.get("clip")
        edges = tuple(document["edges"])
        return Scaler(**{**document, "edges": edges, "clip": clip and tuple(clip)})

    @cached_property
    def _corners(self) -> tuple[Floats, Floats]:
        return np.array(self.edges), np.arange(len(self.edges), dtype=np.float64)

    def transform(self, values: Floats) -> npt.NDArray[np.float32]:
        """float32 [rows] of float64 [rows]; NaN stays NaN.

        A standardised value ends at a million: products of much larger ones leave float32.
        """
        values = prepared(values, self.clip, log=self.log)
        if self.encoding == "buckets":
            passed = np.searchsorted(self._corners[0], values, side="right").astype(np.float32)
            return np.where(np.isnan(values), np.float32(np.nan), passed)
        if self.encoding == "standard":
            with np.errstate(over="ignore"):  # what leaves float64 is clipped, too
                scaled = (values - self.mean) / self.std
            return np.clip(scaled, -FARTHEST, FARTHEST).astype(np.float32)
        at = np.interp(values, *self._corners)
        return (at / self.bins if self.encoding == "quantile" else at).astype(np.float32)


def prepared(
    values: Floats, clip: tuple[float | None, float | None] | None, *, log: bool
) -> Floats:
    """Numbers within the limits, on the scale of logarithms if that is asked for."""
    if clip is not None:
        low, high = clip
        values = np.clip(values, -np.inf if low is None else low, np.inf if high is None else high)
    return signed_log(values) if log else values


def signed_log(values: Floats) -> Floats:
    """sign(x) * log(1 + |x|): logarithmic far from 0, the identity near it."""
    return np.sign(values) * np.log1p(np.abs(values))


class NumericFit:
    """Collects moments and a sample of one numeric feature's train values."""

    def __init__(self, feature: Numeric) -> None:
        """Start without values.

        Args:
            feature: its schema entry.
        """
        self.feature = feature
        self.moments = Moments()
        self._sample = _Sample()
        self._rows = 0

    def add(
        self, values: Floats, weights: Floats | None = None, *, hashes: Hashes | None = None
    ) -> None:
        """Merge float64 train values of one batch; NaN is left out.

        Args:
            values: of the rows.
            weights: of the rows, above 0; None counts each once.
            hashes: `row_hashes` of the rows; None numbers them in the order in which they come.
        """
        if hashes is None and self.is_sampled:
            hashes = row_hashes(self._rows, len(values))
            self._rows += len(values)
        values = prepared(values, self.feature.clip, log=self.feature.log)
        fitted = np.abs(values) <= LARGEST_FITTED
        values, weights = values[fitted], None if weights is None else weights[fitted]
        self.moments.add(values, weights)
        if self.is_sampled and hashes is not None:
            of_rows = np.ones(len(values)) if weights is None else weights
            self._sample.add(hashes[fitted], np.stack([values, of_rows], 1))

    @property
    def is_sampled(self) -> bool:
        """Whether the encoding needs quantiles."""
        return self.feature.encoding != "standard" and not self.feature.buckets

    def merge(self, later: "NumericFit") -> None:
        """Take the values of rows that follow, whose hashes were given."""
        self.moments.merge(later.moments)
        self._sample.merge(later._sample)

    def finish(self) -> Scaler:
        """The scaler fitted on what was added."""
        feature, moments = self.feature, self.moments
        edges = self._edges() if self.is_sampled else feature.buckets
        encoding = "buckets" if feature.buckets else feature.encoding
        return Scaler(
            feature.name,
            encoding,
            feature.log,
            moments.mean,
            moments.std or 1.0,
            edges,
            feature.clip,
        )

    def _edges(self) -> tuple[float, ...]:
        values, weights = self._sample.rows().T
        if len(values) == 0:
            return (0.0, 1.0)
        edges = _spread(values, weights, self.feature.bins)
        if len(edges) == 1:
            # A constant column: values above it still move, towards one unit away.
            return (float(edges[0]), float(np.nextafter(edges[0] + 1.0, math.inf)))
        return tuple(float(edge) for edge in edges)


def _spread(values: Floats, weights: Floats, bins: int) -> Floats:
    """At most `bins` + 1 edges: every value that fills a bin alone, and quantiles of the rest.

    Quantiles of all values would spend nearly all edges on a value that most rows share (no
    capital gains, no fans) and leave none to tell the others apart.
    """
    distinct, place = np.unique(values, return_inverse=True)
    heavy: Floats = distinct[np.bincount(place, weights) * bins > weights.sum() * (1 + 1e-12)]
    light = ~np.isin(values, heavy)
    if not light.any():
        return heavy
    shares = np.linspace(0.0, 1.0, max(bins + 1 - len(heavy), 2))
    # The smallest weight stands for a value once: equal weights are none, and a factor is nothing.
    rest = repeated_quantiles(values[light], weights[light] / weights.min(), shares)
    edges: Floats = np.unique(np.concatenate([heavy, rest]))
    return edges


def repeated_quantiles(values: Floats, times: Floats, shares: Floats) -> Floats:
    """Quantiles of values that are repeated so many times, at least 1 and not necessarily whole.

    >>> repeated_quantiles(np.array([1.0, 2.0]), np.array([1, 3]), np.array([0, 1 / 6, 0.5, 1]))
    array([1. , 1.5, 2. , 2. ])
    """
    if times.max() == 1.0:
        return np.asarray(np.quantile(values, shares))
    order = np.argsort(values, kind="stable")
    ends = np.cumsum(times[order])
    first = np.append(0.0, ends[:-1])
    ranks = np.stack([first, np.maximum(first, ends - 1.0)], 1).ravel()
    return np.asarray(np.interp(shares * ranks[-1], ranks, np.repeat(values[order], 2)))

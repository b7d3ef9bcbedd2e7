"""Numbers -> one float32 each: standardised, or their position among quantiles of the train rows.

Memory is bounded: moments are merged batch by batch, quantiles come from a uniform sample of the
rows. Everything is fitted and scaled in float64. A number beyond what float32 holds (3.4e38, often
a stand-in for "none") takes no part in the fit, and is scaled as the farthest value.
Columns are canonical, see `recmtl.data.columns.logical_type`.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.data.columns.canonical import AnyArray, kind_of
from recmtl.data.columns.logical_type import value_type_name
from recmtl.errors import SourceLocation
from recmtl.schema import Numeric

__all__ = ["Moments", "NumericFit", "Scaler", "finite_numbers", "numbers"]

Floats = npt.NDArray[np.float64]
SAMPLE = 200_000
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

    Attributes:
        count: number of values.
        mean: weighted mean.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.count = 0
        self.mean = 0.0
        self._mass = 0.0
        self._squares = 0.0
        self._range = math.inf, -math.inf

    def add(self, values: Floats, weights: Floats | None = None) -> None:
        """Merge one batch of finite values of at most 1e150; weights None count each once."""
        if len(values) == 0:
            return
        if weights is None:
            mass, mean = float(len(values)), float(values.mean())
            squares = float(np.square(values - mean).sum())
        else:
            mass = float(weights.sum())
            mean = float((values * weights).sum()) / mass
            squares = float((np.square(values - mean) * weights).sum())
        total = self._mass + mass
        step = mean - self.mean
        self._squares += squares + step * step * (self._mass / total) * mass
        self.mean += step * (mass / total)
        self._mass, self.count = total, self.count + len(values)
        low, high = self._range
        self._range = min(low, float(values.min())), max(high, float(values.max()))

    @property
    def std(self) -> float:
        """Population standard deviation; 0 for an empty or constant stream, whatever rounds."""
        low, high = self._range
        return math.sqrt(self._squares / self._mass) if low < high else 0.0


class _Sample:
    """A uniform sample of at most `size` rows: those with the smallest random keys."""

    def __init__(self, seed: int, size: int = SAMPLE) -> None:
        self._random = np.random.default_rng(seed)
        self._size = size
        self._limit = math.inf
        self._keys: list[Floats] = []
        self._rows: list[Floats] = []
        self._held = 0

    def add(self, rows: Floats) -> None:
        """Offer rows `[rows, columns]`."""
        keys = self._random.random(len(rows))
        if self._limit < math.inf:
            near = keys < self._limit
            keys, rows = keys[near], rows[near]
        self._keys.append(keys)
        self._rows.append(rows)
        self._held += len(rows)
        if self._held > 2 * self._size:
            self.rows()

    def rows(self) -> Floats:
        """The sample `[rows, columns]`."""
        if not self._rows:
            return np.zeros((0, 2))
        keys, rows = np.concatenate(self._keys), np.concatenate(self._rows)
        if len(keys) > self._size:
            kept = np.argpartition(keys, self._size)[: self._size]
            keys, rows = keys[kept], rows[kept]
            self._limit = float(keys.max())
        self._keys, self._rows, self._held = [keys], [rows], len(keys)
        return rows


@dataclass(frozen=True)
class Scaler:
    """The fitted map of one numeric feature.

    Attributes:
        name: the feature.
        encoding: `standard`, `quantile` or `piecewise`.
        log: whether sign(x) * log(1 + |x|) is applied first.
        mean: of the (logged) train values.
        std: of the same, never 0.
        edges: at least two increasing quantiles of the same; empty for `standard`.
    """

    name: str
    encoding: str
    log: bool
    mean: float
    std: float
    edges: tuple[float, ...]

    @property
    def bins(self) -> int:
        """Number of intervals between edges; 1 for `standard`."""
        return max(len(self.edges) - 1, 1)

    @cached_property
    def _corners(self) -> tuple[Floats, Floats]:
        return np.array(self.edges), np.arange(len(self.edges), dtype=np.float64)

    def transform(self, values: Floats) -> npt.NDArray[np.float32]:
        """float32 [rows] of float64 [rows]; NaN stays NaN.

        A standardised value ends at a million: products of much larger ones leave float32.
        """
        if self.log:
            values = signed_log(values)
        if self.encoding == "standard":
            with np.errstate(over="ignore"):  # what leaves float64 is clipped, too
                scaled = (values - self.mean) / self.std
            return np.clip(scaled, -FARTHEST, FARTHEST).astype(np.float32)
        at = np.interp(values, *self._corners)
        return (at / self.bins if self.encoding == "quantile" else at).astype(np.float32)


def signed_log(values: Floats) -> Floats:
    """sign(x) * log(1 + |x|): logarithmic far from 0, the identity near it."""
    return np.sign(values) * np.log1p(np.abs(values))


class NumericFit:
    """Collects moments and a sample of one numeric feature's train values."""

    def __init__(self, feature: Numeric, *, seed: int = 0) -> None:
        """Start without values.

        Args:
            feature: its schema entry.
            seed: of the sample.
        """
        self.feature = feature
        self.moments = Moments()
        self._sample = _Sample(seed)

    def add(self, values: Floats, weights: Floats | None = None) -> None:
        """Merge float64 train values of one batch; NaN is left out, weights None count once."""
        if self.feature.log:
            values = signed_log(values)
        fitted = np.abs(values) <= LARGEST_FITTED
        values, weights = values[fitted], None if weights is None else weights[fitted]
        self.moments.add(values, weights)
        if self.feature.encoding != "standard":
            of_rows = np.ones(len(values)) if weights is None else weights
            self._sample.add(np.stack([values, of_rows], 1))

    def finish(self) -> Scaler:
        """The scaler fitted on what was added."""
        edges: tuple[float, ...] = ()
        if self.feature.encoding != "standard":
            edges = self._edges()
        feature, moments = self.feature, self.moments
        std = moments.std or 1.0
        return Scaler(feature.name, feature.encoding, feature.log, moments.mean, std, edges)

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

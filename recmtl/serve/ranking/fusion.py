"""Learns a ranking formula: the exponents of a product of columns, for a stated target.

The target is the NDCG@k of a weighted label, by group, on rows that no network was fitted to. It
is constant almost everywhere, so nothing is differentiated: seeded random exponents, then compass
search (Kolda, Lewis and Torczon, SIAM Review 2003) from the best of them. A ranking does not
change when all exponents are multiplied by one number; the largest is 1 or -1 here. Everything that
was tried is kept, so the trade between the labels (the Pareto front) comes for free.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.errors import DataError
from recmtl.evaluate.ranking_metrics import GroupedRanking
from recmtl.serve.arguments import as_array, as_mapping, as_whole_number, short_repr
from recmtl.serve.ranking.formula import Formula

__all__ = ["Fused", "Fusion", "fuse", "non_dominated"]

Floats = npt.NDArray[np.float64]
Exponents = tuple[float, ...]
FLOOR = "1e-9"
DECIMALS = 3
FIRST_STEP, LAST_STEP = 0.5, 0.004
STARTS = 3


@dataclass(frozen=True)
class Fused:
    """One formula: its text, its exponents by column, NDCG@k by label and of the target."""

    formula: str
    exponents: dict[str, float]
    ndcg: dict[str, float]
    target: float


@dataclass(frozen=True)
class Fusion:
    """What `fuse` found.

    Attributes:
        best: the formula with the best target.
        product: the plain product of all columns, to compare with.
        front: formulas that no other one beats in one label without losing in another, best in the
            first label first.
        k: ranks that count.
        tried: formulas that were measured.
    """

    best: Fused
    product: Fused
    front: tuple[Fused, ...]
    k: int | None
    tried: int

    @property
    def formula(self) -> str:
        """The best formula's text, as `Ranker.rank` takes it."""
        return self.best.formula

    def table(self) -> pa.Table:
        """The front as a table: formula, target, and NDCG by label."""
        labels = {f"ndcg_{name}": [one.ndcg[name] for one in self.front] for name in self.best.ndcg}
        columns = {
            "formula": [one.formula for one in self.front],
            "target": [one.target for one in self.front],
        }
        return pa.table(columns | labels)

    def __str__(self) -> str:
        """Best, plain product and front as lines for people."""
        at = "" if self.k is None else f" at {self.k}"
        lines = [f"NDCG{at}, {self.tried} formulas tried"]
        named = [
            ("best", self.best),
            ("product", self.product),
            *(("front", f) for f in self.front),
        ]
        for name, one in named:
            by_label = ", ".join(f"{label} {value:.4f}" for label, value in one.ndcg.items())
            lines.append(f"{name:<8}{one.target:.4f}  {one.formula}  ({by_label})")
        return "\n".join(lines)


def fuse(
    columns: Mapping[str, npt.NDArray[Any]],
    labels: Mapping[str, npt.NDArray[Any]],
    *,
    target: Mapping[str, float],
    group: npt.NDArray[Any],
    k: int | None = 10,
    seed: int = 0,
    tries: int = 100,
) -> Fusion:
    """Learn the exponents of `column ** a * other ** b * ...`.

    Columns that are no probabilities, and those with a negative exponent, stand as
    `max(column, 1e-9)` in the formula, so that it is finite on every row.

    Args:
        columns: what the formula multiplies, by name, `[R]` each.
        labels: what happened, 0 or more, by name, `[R]` each.
        target: weight of each label in the gain of a row, 0 or more; weight 0 only looks at it.
        group: which rows compete, `[R]`.
        k: ranks that count; all without it.
        seed: of the exponents drawn.
        tries: exponents drawn at random before the search.

    Raises:
        DataError: nothing to multiply or to aim at, values that are missing, infinite or (labels,
            weights) negative, lengths that differ, no group with anything good in it.
        ConfigError: a seed, k or number of tries that is none.
    """
    for name, value in {"columns": columns, "labels": labels, "target": target}.items():
        as_mapping(name, value)
    columns = {name: as_array(f"column {name!r}", values) for name, values in columns.items()}
    labels = {name: as_array(f"label {name!r}", values) for name, values in labels.items()}
    as_whole_number("seed", seed, least=0, most=2**63)
    as_whole_number("tries", tries, least=0, most=1_000_000)
    if k is not None:
        as_whole_number("k", k, least=1, most=2**63)
    _check(columns, labels, target)
    group = as_array("group", group)
    if len(group) != len(next(iter(columns.values()))):
        raise DataError(f"there are {len(group)} groups for the rows of the columns; give a pair")
    search = _Search(columns, labels, target=target, group=group, k=k)
    number = len(columns)
    ones = (1.0,) * number
    random = np.random.default_rng(seed)
    units = [tuple(row) for row in np.eye(number)]
    drawn = [tuple(row) for row in random.uniform(-1.0, 1.0, (tries, number))]
    for exponents in (ones, *units, *drawn):
        search.measure(exponents)
    for goal in range(-1, len(labels)):
        starts = sorted(search.found, key=lambda e: -search.value(e, goal))
        for start in starts[: STARTS if goal < 0 else 1]:
            search.climb(start, goal)
    best = max(search.found, key=lambda e: search.value(e, -1))
    values = np.array([search.found[e][:-1] for e in search.found])
    front = [e for e, alone in zip(search.found, non_dominated(values), strict=True) if alone]
    front.sort(key=lambda e: -search.value(e, 0))
    return Fusion(
        best=search.told(best),
        product=search.told(ones),
        front=tuple(search.told(e) for e in front),
        k=k,
        tried=len(search.found),
    )


def non_dominated(values: Floats) -> npt.NDArray[np.bool_]:
    """Which rows of `[N, L]` no other row equals or beats everywhere, and beats somewhere.

    Of equal rows the first one stays.
    """
    alone = np.ones(len(values), dtype=bool)
    for number, row in enumerate(values):
        better = (values >= row).all(1) & (values > row).any(1)
        equal_before = (values[:number] == row).all(1)
        alone[number] = not (better.any() or equal_before.any())
    return alone


class _Search:
    """Every exponents tuple that was measured, and what it scored: NDCG by label, then target."""

    def __init__(
        self,
        columns: Mapping[str, npt.NDArray[Any]],
        labels: Mapping[str, npt.NDArray[Any]],
        *,
        target: Mapping[str, float],
        group: npt.NDArray[Any],
        k: int | None,
    ) -> None:
        self.columns = {name: np.asarray(v, dtype=np.float64) for name, v in columns.items()}
        self.names = list(labels)
        gains = [np.asarray(labels[name], dtype=np.float64) for name in self.names]
        weights = [target[name] for name in self.names]
        gains.append(np.sum([w * gain for w, gain in zip(weights, gains, strict=True)], axis=0))
        self.group, self.k, self.gains = group, k, gains
        self.ideal = [GroupedRanking(gain, group, k=k).dcg(gain) for gain in gains]
        self.plain = {
            name: bool(v.min() >= float(FLOOR) and v.max() <= 1.0)
            for name, v in self.columns.items()
        }
        for name, ideal in zip([*self.names, "the target"], self.ideal, strict=True):
            if not (ideal > 0).any():
                raise DataError(f"no group has anything good in {name}; give other rows or labels")
        self.found: dict[Exponents, tuple[float, ...]] = {}

    def value(self, exponents: Exponents, goal: int) -> float:
        return self.found[exponents][goal]

    def measure(self, exponents: Sequence[float]) -> Exponents | None:
        """Bring exponents to their standard form and score them; None if all are zero."""
        largest = max(map(abs, exponents))
        if largest == 0.0:
            return None
        standard = tuple(round(e / largest, DECIMALS) + 0.0 for e in exponents)
        if standard not in self.found:
            scores = Formula(self.text(standard)).evaluate(self.columns, rows=len(self.gains[0]))
            ranking = GroupedRanking(scores, self.group, k=self.k)
            self.found[standard] = tuple(
                float((ranking.dcg(gain)[ideal > 0] / ideal[ideal > 0]).mean())
                for gain, ideal in zip(self.gains, self.ideal, strict=True)
            )
        return standard

    def climb(self, start: Exponents, goal: int) -> None:
        """Go to better neighbours along the axes; halve the step where there is none."""
        here, step = start, FIRST_STEP
        while step >= LAST_STEP:
            around = [found for e in _around(here, step) if (found := self.measure(e)) is not None]
            best = max(around, key=lambda e: self.value(e, goal))
            if self.value(best, goal) > self.value(here, goal):
                here = best
            else:
                step /= 2

    def told(self, exponents: Exponents) -> Fused:
        *by_label, target = self.found[exponents]
        return Fused(
            self.text(exponents),
            dict(zip(self.columns, exponents, strict=True)),
            dict(zip(self.names, by_label, strict=True)),
            target,
        )

    def text(self, exponents: Exponents) -> str:
        factors = []
        for (name, plain), exponent in zip(self.plain.items(), exponents, strict=True):
            if exponent == 0.0:
                continue
            factor = name if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) else f"`{name}`"
            if exponent < 0.0 or not plain:
                factor = f"max({factor}, {FLOOR})"
            factors.append(factor if exponent == 1.0 else f"{factor} ** {exponent:g}")
        return " * ".join(factors)


def _around(exponents: Exponents, step: float) -> Iterator[Exponents]:
    for place, value in enumerate(exponents):
        for moved in (value + step, value - step):
            yield (*exponents[:place], moved, *exponents[place + 1 :])


def _check(
    columns: Mapping[str, npt.NDArray[Any]],
    labels: Mapping[str, npt.NDArray[Any]],
    target: Mapping[str, float],
) -> None:
    if set(target) != set(labels):
        raise DataError(f"fuse weighs {', '.join(target)} but has labels {', '.join(labels)}")
    numbers = {n: w for n, w in target.items() if isinstance(w, Real) and 0.0 <= w < np.inf}
    wrong = [name for name in target if name not in numbers]
    if wrong:
        raise DataError(
            f"the weight of label {wrong[0]!r} is {short_repr(target[wrong[0]])}, no number of 0 "
            "or more: leave it out, and let the column that predicts it take a negative exponent"
        )
    if not columns or not any(numbers.values()):
        raise DataError("fuse needs at least one column and one label with a weight above 0")
    lengths = {len(values) for values in (*columns.values(), *labels.values())}
    if len(lengths) > 1 or lengths == {0}:
        raise DataError("columns and labels differ in length, or have no rows")
    for name, values in (*columns.items(), *labels.items()):
        if values.dtype.kind not in "fiub" or not np.isfinite(values.astype(np.float64)).all():
            raise DataError(f"column {name!r} has values that are missing or no numbers; fill them")
        if name in labels and (values < 0).any():
            raise DataError(f"label {name!r} is negative on some row; NDCG has no negative gains")

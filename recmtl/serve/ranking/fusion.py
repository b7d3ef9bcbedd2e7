"""Learns a ranking formula: the exponents of a product of columns, for a stated target.

The target is the NDCG@k of a weighted sum of labels, by group, on rows that no network was fitted
to. It is constant almost everywhere, so it has no useful gradient: the search draws seeded random
exponents, then runs a compass search (Kolda, Lewis and Torczon, SIAM Review 2003) from the best of
them. Multiplying all exponents by one positive number does not change a ranking, so the largest is
1 or -1 here. Every formula that was measured is kept, so the trade-off between the labels (the
Pareto front) costs nothing more.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.errors import DataError
from recmtl.evaluate.groups import grouped_rows
from recmtl.evaluate.ranking_metrics import GroupedRanking
from recmtl.formula import Formula, quoted_name
from recmtl.serve.arguments import as_array, as_mapping, as_whole_number, short_repr

__all__ = ["FusedFormula", "FusionResult", "fuse", "non_dominated"]

Floats = npt.NDArray[np.float64]
Exponents = tuple[float, ...]
FLOOR = "1e-9"
DECIMALS = 3
FIRST_STEP, LAST_STEP = 0.5, 0.004
STARTS = 3
TARGET = -1
"""Position of the target among the measured values, which hold a value for every label first."""


@dataclass(frozen=True)
class FusedFormula:
    """One formula: its text, its exponents by column, its NDCG@k by label and of the target."""

    formula: str
    exponents: dict[str, float]
    ndcg: dict[str, float]
    target: float


@dataclass(frozen=True)
class FusionResult:
    """The outcome of `fuse`.

    Attributes:
        best: the formula with the best target.
        product: the plain product of all columns, for comparison.
        front: the Pareto front: formulas that no other one equals or beats in every label; best in
            the first label first.
        k: ranks that count.
        tried: number of formulas that were measured.
    """

    best: FusedFormula
    product: FusedFormula
    front: tuple[FusedFormula, ...]
    k: int | None
    tried: int

    @property
    def formula(self) -> str:
        """The best formula's text, as `Ranker.rank` takes it."""
        return self.best.formula

    def table(self) -> pa.Table:
        """The front as a table: formula, target, and NDCG by label."""
        columns: dict[str, list[str] | list[float]] = {
            "formula": [fused.formula for fused in self.front],
            "target": [fused.target for fused in self.front],
        }
        for label in self.best.ndcg:
            columns[f"ndcg_{label}"] = [fused.ndcg[label] for fused in self.front]
        return pa.table(columns)

    def __str__(self) -> str:
        """Best, plain product and front as lines for people."""
        at = "" if self.k is None else f" at {self.k}"
        lines = [f"NDCG{at}, {self.tried} formulas tried"]
        front = [("front", fused) for fused in self.front]
        for name, fused in [("best", self.best), ("product", self.product), *front]:
            by_label = ", ".join(f"{label} {value:.4f}" for label, value in fused.ndcg.items())
            lines.append(f"{name:<8}{fused.target:.4f}  {fused.formula}  ({by_label})")
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
) -> FusionResult:
    """Learn the exponents of `column ** a * other ** b * ...`.

    A column outside 1e-9..1, or with a negative exponent, appears as `max(column, 1e-9)` in the
    formula, so that the formula is finite on every row.

    Args:
        columns: the factors by name, `[R]` each.
        labels: outcomes by name, 0 or more, `[R]` each.
        target: weight of each label in the gain of a row, 0 or more; a label of weight 0 is
            reported but does not steer the search.
        group: which rows compete, `[R]`; rows without a group (see `grouped_rows`) are left out.
        k: ranks that count; None counts all of them.
        seed: of the random exponents.
        tries: random exponents drawn before the search.

    Raises:
        DataError: there is no column or no label with a weight; values are missing or infinite, a
            label or weight is negative, lengths differ, or a label or the target is 0 everywhere.
        ConfigError: `seed`, `k` or `tries` is no whole number in its bounds.
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
    has_group = grouped_rows(group)
    if not has_group.any():
        raise DataError("no row has a group, so that nothing can be ranked; give their groups")
    if not has_group.all():
        columns = {name: values[has_group] for name, values in columns.items()}
        labels = {name: values[has_group] for name, values in labels.items()}
        group = group[has_group]
    search = _Search(columns, labels, target=target, group=group, k=k)
    search.run(np.random.default_rng(seed), tries)
    front = search.front()
    return FusionResult(
        best=search.fused(search.best_first(TARGET)[0]),
        product=search.fused((1.0,) * len(columns)),
        front=tuple(search.fused(exponents) for exponents in front),
        k=k,
        tried=len(search.measured),
    )


def non_dominated(values: Floats) -> npt.NDArray[np.bool_]:
    """Which rows of `[N, L]` no other row dominates: none is as good everywhere and better once.

    The first of several equal rows stays.

    >>> non_dominated(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.5], [1.0, 0.0]]))
    array([ True,  True, False, False])
    """
    stays = np.ones(len(values), dtype=bool)
    for number, row in enumerate(values):
        better = (values >= row).all(1) & (values > row).any(1)
        equal_before = (values[:number] == row).all(1)
        stays[number] = not (better.any() or equal_before.any())
    return stays


class _Search:
    """The search over exponents.

    Attributes:
        measured: NDCG by label, then of the target, of every tuple of exponents measured so far.
    """

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
        # Columns that are positive and finite without a floor under any exponent from 0 to 1.
        self.plain = {
            name: bool(v.min() >= float(FLOOR) and v.max() <= 1.0)
            for name, v in self.columns.items()
        }
        for name, ideal in zip([*self.names, "the target"], self.ideal, strict=True):
            if not (ideal > 0).any():
                raise DataError(
                    f"{name} is 0 on every row, so no order is better than another; give other "
                    "rows or labels"
                )
        self.measured: dict[Exponents, tuple[float, ...]] = {}

    def run(self, random: np.random.Generator, tries: int) -> None:
        """Measure fixed and random exponents, then climb for the target and for every label."""
        number = len(self.columns)
        self.measure((1.0,) * number)
        for exponents in (*np.eye(number), *random.uniform(-1.0, 1.0, (tries, number))):
            self.measure(tuple(exponents))
        for goal in range(TARGET, len(self.names)):
            for start in self.best_first(goal)[: STARTS if goal == TARGET else 1]:
                self.climb(start, goal)

    def best_first(self, goal: int) -> list[Exponents]:
        """All measured exponents, best in the goal first; equals in the order of measurement."""
        return sorted(self.measured, key=lambda exponents: -self.value(exponents, goal))

    def front(self) -> list[Exponents]:
        """The Pareto front over the labels, best in the first label first."""
        by_label = np.array([values[:TARGET] for values in self.measured.values()])
        stays = non_dominated(by_label)
        front = [e for e, on_front in zip(self.measured, stays, strict=True) if on_front]
        return sorted(front, key=lambda exponents: -self.value(exponents, 0))

    def value(self, exponents: Exponents, goal: int) -> float:
        return self.measured[exponents][goal]

    def measure(self, exponents: Sequence[float]) -> Exponents | None:
        """Scale exponents to their standard form and measure them; None if all are zero."""
        largest = max(map(abs, exponents))
        if largest == 0.0:
            return None
        standard = tuple(round(e / largest, DECIMALS) + 0.0 for e in exponents)
        if standard not in self.measured:
            scores = Formula(self.text(standard)).evaluate(self.columns, rows=len(self.gains[0]))
            ranking = GroupedRanking(scores, self.group, k=self.k)
            self.measured[standard] = tuple(
                float((ranking.dcg(gain)[ideal > 0] / ideal[ideal > 0]).mean())
                for gain, ideal in zip(self.gains, self.ideal, strict=True)
            )
        return standard

    def climb(self, start: Exponents, goal: int) -> None:
        """Move to the best neighbour along an axis; halve the step if none is better."""
        here, step = start, FIRST_STEP
        while step >= LAST_STEP:
            measured = [self.measure(exponents) for exponents in _neighbours(here, step)]
            around = [exponents for exponents in measured if exponents is not None]
            best = max(around, key=lambda exponents: self.value(exponents, goal))
            if self.value(best, goal) > self.value(here, goal):
                here = best
            else:
                step /= 2

    def fused(self, exponents: Exponents) -> FusedFormula:
        *by_label, target = self.measured[exponents]
        return FusedFormula(
            self.text(exponents),
            dict(zip(self.columns, exponents, strict=True)),
            dict(zip(self.names, by_label, strict=True)),
            target,
        )

    def text(self, exponents: Exponents) -> str:
        """The formula with these exponents."""
        factors = []
        for (name, plain), exponent in zip(self.plain.items(), exponents, strict=True):
            if exponent == 0.0:
                continue
            factor = quoted_name(name)
            if exponent < 0.0 or not plain:
                factor = f"max({factor}, {FLOOR})"
            factors.append(factor if exponent == 1.0 else f"{factor} ** {exponent:g}")
        return " * ".join(factors)


def _neighbours(exponents: Exponents, step: float) -> Iterator[Exponents]:
    for place, value in enumerate(exponents):
        for moved in (value + step, value - step):
            yield (*exponents[:place], moved, *exponents[place + 1 :])


def _check(
    columns: Mapping[str, npt.NDArray[Any]],
    labels: Mapping[str, npt.NDArray[Any]],
    target: Mapping[str, float],
) -> None:
    if set(target) != set(labels):
        raise DataError(
            f"the target weighs {', '.join(target)} but the labels are {', '.join(labels)}; give "
            "every label one weight"
        )
    numbers = {n: w for n, w in target.items() if isinstance(w, Real) and 0.0 <= w < np.inf}
    wrong = [name for name in target if name not in numbers]
    if wrong:
        raise DataError(
            f"the weight of label {wrong[0]!r} is {short_repr(target[wrong[0]])}; give a number "
            "of 0 or more, or leave the label out: the column that predicts it may still take a "
            "negative exponent"
        )
    if not columns or not any(numbers.values()):
        raise DataError("fuse needs at least one column and one label with a weight above 0")
    lengths = {len(values) for values in (*columns.values(), *labels.values())}
    if len(lengths) > 1 or lengths == {0}:
        raise DataError(
            "columns and labels differ in length, or have no rows; give one value a row"
        )
    for name, values in (*columns.items(), *labels.items()):
        if values.dtype.kind not in "fiub" or not np.isfinite(values.astype(np.float64)).all():
            raise DataError(f"column {name!r} has values that are missing or no numbers; fill them")
        if name in labels and (values < 0).any():
            raise DataError(f"label {name!r} is negative on some row; NDCG has no negative gains")

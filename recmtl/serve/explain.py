"""Why a row got its scores: the route each task took, and what each feature added.

A feature's contribution is measured from a row about which nothing is known: unknown ids, empty
lists, missing numbers. It is the change of the network's own prediction (log odds of a
probability, or a regression's value), before calibration, see `recmtl.serve.attribution`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from recmtl.data.encoder import Encoder
from recmtl.errors import DataError
from recmtl.grid import expert_names
from recmtl.heads import HeadSpec
from recmtl.serve.arguments import told, whole
from recmtl.serve.attribution import Attribution
from recmtl.serve.scorer import Scorer
from recmtl.strict import did_you_mean

__all__ = ["Explanation", "explain"]

Floats = npt.NDArray[np.float64]
ROWS_AT_ONCE = 256
MOST_STEPS = 10_000
SHORTEST, LONGEST = 18, 40


@dataclass(frozen=True)
class Explanation:
    """The reasons of R rows' scores for T tasks; `print` it, or take its tables.

    Attributes:
        tasks: names of the tasks.
        columns: for each row and task the scored column that is explained, `[R][T]`: of a
            multiclass task that of the most probable class.
        scores: what the scorer says in those columns (calibrated, if the bundle is) `[R, T]`.
        predicted: the network's prediction, on the scale in which contributions add up `[R, T]`.
        base: the same where nothing is known `[R, T]`.
        contributions: what each feature adds `[R, T, F]`.
        features: their names.
        values: their raw values, a column a feature.
        shares: of each expert in a task's route `[R, T, E]`.
        skipped: of what a task carries past each layer unchanged `[R, T, L]`.
        experts: (layer, number) of each expert, counting layers from 1.
    """

    tasks: tuple[str, ...]
    columns: tuple[tuple[str, ...], ...]
    scores: Floats
    predicted: Floats
    base: Floats
    contributions: Floats
    features: tuple[str, ...]
    values: pa.Table
    shares: Floats
    skipped: Floats
    experts: tuple[tuple[int, int], ...]

    @property
    def gap(self) -> Floats:
        """What contributions fail to add up to `[R, T]`: it falls as `steps` rise."""
        gap: Floats = self.predicted - self.base - self.contributions.sum(2)
        return gap

    def table(self, k: int | None = None) -> pa.Table:
        """The k largest contributions of every row and task, largest size first; all without k.

        Columns: row, task, column, score, rank, feature, value (as text), contribution.

        Raises:
            ConfigError: k is no whole number of at least 1.
        """
        if k is not None:
            k = whole("k", k, least=1, most=2**62)
        order = np.argsort(-np.abs(self.contributions), axis=2, kind="stable")[:, :, :k]
        row, task, rank = (index.reshape(-1) for index in np.indices(order.shape))
        feature = order.reshape(-1)
        return pa.table(
            {
                "row": row,
                "task": [self.tasks[t] for t in task],
                "column": [self.columns[int(r)][t] for r, t in zip(row, task, strict=True)],
                "score": self.scores[row, task],
                "rank": rank + 1,
                "feature": [self.features[f] for f in feature],
                "value": [self._value(int(r), int(f)) for r, f in zip(row, feature, strict=True)],
                "contribution": self.contributions[row, task, feature],
            }
        )

    def routes(self) -> pa.Table:
        """Every expert and skip on the route of every row and task, and its share.

        Columns: row, task, layer (from 1), expert (null: the layer is skipped), share.
        """
        skips = [(layer + 1, None) for layer in range(self.skipped.shape[2])]
        steps: list[tuple[int, int | None]] = [*self.experts, *skips]
        upward = sorted(range(len(steps)), key=lambda step: steps[step][0])
        steps = [steps[step] for step in upward]
        shares = np.concatenate([self.shares, self.skipped], axis=2)[:, :, upward]
        row, task, step = np.nonzero(shares)
        return pa.table(
            {
                "row": row,
                "task": [self.tasks[t] for t in task],
                "layer": [steps[s][0] for s in step],
                "expert": pa.array([steps[s][1] for s in step], pa.int64()),
                "share": shares[row, task, step],
            }
        )

    def text(self, row: int = 0, *, k: int = 5) -> str:
        """One row's reasons as lines for people: routes, then the k largest contributions.

        Raises:
            ConfigError: there is no such row, or k is no whole number of at least 1.
        """
        row = whole("row", row, least=0, most=len(self.scores) - 1)
        k = whole("k", k, least=1, most=2**62)
        return "\n".join(line for t in range(len(self.tasks)) for line in self._lines(row, t, k))

    def __str__(self) -> str:
        """The first rows as text."""
        shown = range(min(3, len(self.scores)))
        rest = len(self.scores) - len(shown)
        parts = [f"row {row}\n{self.text(row)}" for row in shown]
        return "\n\n".join([*parts, f"and {rest} more rows"] if rest else parts)

    def _lines(self, row: int, task: int, k: int) -> Iterator[str]:
        column, added = self.columns[row][task], self.contributions[row, task]
        yield f"{self.tasks[task]}: {column} = {self.scores[row, task]:.4g}"
        for layer, route in self._route(row, task):
            yield f"  layer {layer}: {route}"
        scale = "log odds" if column.startswith("p_") else "value as trained"
        yield (
            f"  {scale} {self.predicted[row, task]:+.3f} = {self.base[row, task]:+.3f} where "
            f"nothing is known {added.sum():+.3f} by its features"
        )
        order = np.argsort(-np.abs(added), kind="stable")
        width = max(SHORTEST, *(len(self._told(row, f)) for f in order[:k]))
        for feature in order[:k]:
            yield f"    {self._told(row, feature):<{width}} {added[feature]:+.3f}"
        if len(order) > k:
            others = f"{len(order) - k} other features"
            yield f"    {others:<{width}} {added[order[k:]].sum():+.3f}"

    def _route(self, row: int, task: int) -> Iterator[tuple[int, str]]:
        for layer in range(self.skipped.shape[2]):
            heard = [
                f"expert {number} ({share:.0%})"
                for (depth, number), share in zip(self.experts, self.shares[row, task], strict=True)
                if depth == layer + 1 and share
            ]
            passed = self.skipped[row, task, layer]
            if passed:
                heard.append("skipped" if not heard else f"skipped ({passed:.0%})")
            if heard:
                yield layer + 1, ", ".join(heard)

    def _told(self, row: int, feature: int) -> str:
        told = f"{self.features[feature]} = {self._value(row, feature)}"
        return told if len(told) <= LONGEST else f"{told[: LONGEST - 3]}..."

    def _value(self, row: int, feature: int) -> str:
        value = self.values[self.features[feature]][row].as_py()
        return "missing" if value is None else str(value)


def explain(
    scorer: Scorer, table: pa.Table, *, tasks: Sequence[str] = (), steps: int = 64
) -> Explanation:
    """Explain rows of an Arrow table that has the scorer's input columns.

    Args:
        scorer: whose scores are explained.
        table: the rows.
        tasks: which tasks; all if empty.
        steps: of the integral behind the contributions; the work is steps x tasks passes.

    Raises:
        DataError: a task is not there, no row, no step, or the rows cannot be encoded.
    """
    if not isinstance(steps, Integral) or not 1 <= steps <= MOST_STEPS or table.num_rows == 0:
        wanted = f"give at least one of each, and at most {MOST_STEPS} steps"
        raise DataError(f"{table.num_rows} rows, {told(steps)} steps: {wanted}")
    encoder, model = scorer.bundle.encoder, scorer.bundle.model
    positions = _positions(model.heads.specs, tasks)
    heads = [model.heads.specs[position] for position in positions]
    attribution = Attribution(model, positions, unknown=_unknown(encoder))
    encoded = encoder.encode(table)
    ids, numeric = torch.from_numpy(encoded.ids), torch.from_numpy(encoded.numeric)
    parts = [
        attribution.explained(ids[first:last], numeric[first:last], steps=steps)
        for first in range(0, len(ids), ROWS_AT_ONCE)
        for last in [first + ROWS_AT_ONCE]
    ]
    whole = {
        name: torch.cat([getattr(part, name) for part in parts]).double().numpy()
        for name in ("predicted", "base", "contributions", "shares", "skipped")
    }
    chosen = torch.cat([part.chosen for part in parts])
    columns = tuple(
        tuple(head.columns[int(n)] for head, n in zip(heads, row, strict=True)) for row in chosen
    )
    at = {name: position for position, name in enumerate(scorer.columns)}
    where = np.array([[at[name] for name in row] for row in columns], np.int64)
    scores = scorer.scores(table).astype(np.float64)
    features = encoder.encoding.fields
    experts = (name.split(".") for name in expert_names(model.grid.layout))
    return Explanation(
        tasks=tuple(head.name for head in heads),
        columns=columns,
        scores=np.take_along_axis(scores, where.reshape(len(scores), len(heads)), axis=1),
        features=features,
        values=pa.table({name: table[encoder.schema.feature(name).column] for name in features}),
        experts=tuple((int(layer), int(number)) for layer, number in experts),
        **whole,
    )


def _positions(heads: Sequence[HeadSpec], tasks: Sequence[str]) -> list[int]:
    names = [head.name for head in heads]
    for name in tasks:
        if name not in names:
            hint = did_you_mean(str(name), names) or f"; there are {', '.join(names)}"
            raise DataError(f"there is no task {name!r}{hint}")
    return [names.index(name) for name in tasks or names]


def _unknown(encoder: Encoder) -> Tensor:
    """The encoded ids `[1, I]` of a row about which nothing is known: lists are empty."""
    rows = encoder.unknown_rows()[1].copy()
    rows[len(encoder.encoding.single) :] = 0
    return torch.from_numpy(rows).unsqueeze(0)

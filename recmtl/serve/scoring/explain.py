"""Why a row got its scores: the route that each task took, and what each feature added.

What a feature added is measured from a row about which nothing is known (unknown ids, empty lists,
missing numbers), by integrated gradients. It is a change of the network's own prediction, before
calibration: of the log odds of a probability, of a regression's value, or, where that is modelled
by its logarithm, a factor of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from recmtl.data.row_encoder import Encoded, RowEncoder
from recmtl.errors import DataError, did_you_mean
from recmtl.grid import expert_names
from recmtl.model import TabularModel
from recmtl.model.heads import HeadSpec
from recmtl.schema import Numeric, Text, Vector
from recmtl.serve.arguments import as_whole_number, short_repr
from recmtl.serve.bundle.bundle import Bundle, Rows
from recmtl.serve.scoring.attribution import Attribution
from recmtl.serve.scoring.scorer import Scorer

__all__ = ["Explanation", "explain"]

Floats = npt.NDArray[np.float64]
ROWS_AT_ONCE = 256
MOST_STEPS = 10_000
SHORTEST_LABEL, LONGEST_LABEL = 18, 40
"""Characters of `feature = value` in the text for people."""
LOG = "log of "
LARGEST_LOG = 700.0
"""Whose exponential a float64 holds."""


def explain(
    scorer: Scorer, table: pa.Table, *, tasks: Sequence[str] = (), steps: int = 64
) -> "Explanation":
    """Explain rows of an Arrow table that has the scorer's input columns.

    Args:
        scorer: whose scores are explained.
        table: the rows.
        tasks: which tasks; all if empty.
        steps: of the integral behind the contributions; the work is steps x tasks passes.

    Raises:
        DataError: an unknown task, no rows, too few or too many steps, or rows that cannot be
            encoded.
    """
    if not isinstance(steps, Integral) or not 1 <= steps <= MOST_STEPS or table.num_rows == 0:
        remedy = f"give at least one of each, and at most {MOST_STEPS} steps"
        raise DataError(f"{table.num_rows} rows, {short_repr(steps)} steps: {remedy}")
    encoder, model = scorer.bundle.encoder, scorer.bundle.model
    positions = _positions(model.heads.specs, tasks)
    heads = [model.heads.specs[position] for position in positions]
    unknown, base = map(torch.from_numpy, scorer.bundle.network_input(*_unknown_row(encoder)))
    forests = scorer.bundle.forests
    of_forest = () if forests is None else [field.name for field in forests.fields]
    attribution = Attribution(model, positions, unknown=unknown, base=base, forest=of_forest)
    encoded = encoder.encode(table)
    ids, numeric = map(torch.from_numpy, scorer.bundle.network_input(encoded.ids, encoded.numeric))
    batches = [
        attribution.attribute(ids[first:last], numeric[first:last], steps=int(steps))
        for first in range(0, len(ids), ROWS_AT_ONCE)
        for last in [first + ROWS_AT_ONCE]
    ]
    chosen = torch.cat([batch.chosen for batch in batches]).tolist()
    columns = tuple(
        tuple(head.columns[number] for head, number in zip(heads, row, strict=True))
        for row in chosen
    )
    features = attribution.features
    experts = (name.split(".") for name in expert_names(model.grid.layout))
    return Explanation(
        tasks=tuple(head.name for head in heads),
        columns=columns,
        scores=_scores_of(scorer, table, columns),
        features=features,
        values=_raw_values(scorer.bundle, table, encoded),
        experts=tuple((int(layer), int(number)) for layer, number in experts),
        scales=tuple(_scale(model, position) for position in positions),
        **{
            name: torch.cat([getattr(batch, name) for batch in batches]).double().numpy()
            for name in ("predicted", "base", "contributions", "shares", "skipped")
        },
    )


@dataclass(frozen=True)
class Explanation:
    """The reasons of R rows' scores for T tasks. Print it, or take its tables.

    Attributes:
        tasks: names of the tasks.
        columns: for each row and task the scored column that is explained, `[R][T]`; for a
            multiclass task the column of the most probable class.
        scores: the scorer's values in those columns `[R, T]`, calibrated if the bundle is.
        predicted: the network's prediction `[R, T]`, on the scale on which contributions add up.
        base: the prediction for a row about which nothing is known `[R, T]`.
        contributions: what each feature adds `[R, T, F]`.
        features: names of the features.
        values: their raw values, one column per feature.
        shares: share of each expert in a task's route `[R, T, E]`.
        skipped: share that a task carries past each layer unchanged `[R, T, L]`.
        experts: (layer, number) of each expert; layers count from 1.
        scales: of each task the scale on which contributions add up, such as `log odds`. On one of
            `log of` a number the exponential of a contribution is a factor of that number.
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
    scales: tuple[str, ...]

    @property
    def gap(self) -> Floats:
        """Prediction minus base minus the sum of contributions `[R, T]`; falls as `steps` rise."""
        gap: Floats = self.predicted - self.base - self.contributions.sum(2)
        return gap

    def table(self, k: int | None = None) -> pa.Table:
        """The contributions of every row and task, largest size first; at most k of them.

        Columns: row, task, column, score, rank, feature, value (as text), contribution, scale.

        Raises:
            ConfigError: k is not a whole number of at least 1.
        """
        if k is not None:
            k = as_whole_number("k", k, least=1, most=2**62)
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
                "scale": [self.scales[t] for t in task],
            }
        )

    def routes(self) -> pa.Table:
        """Each expert and each skip on the route of every row and task, with its share.

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
            ConfigError: there is no such row, or k is not a whole number of at least 1.
        """
        row = as_whole_number("row", row, least=0, most=len(self.scores) - 1)
        k = as_whole_number("k", k, least=1, most=2**62)
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
        scale = self.scales[task]
        is_factor = scale.startswith(LOG)
        changed = _factor if is_factor else _difference
        number = _exponential if is_factor else _difference
        yield (
            f"  {scale.removeprefix(LOG)} {number(self.predicted[row, task])} = "
            f"{number(self.base[row, task])} where nothing is known "
            f"{changed(added.sum())} by its features"
        )
        order = np.argsort(-np.abs(added), kind="stable")
        width = max(SHORTEST_LABEL, *(len(self._label(row, f)) for f in order[:k]))
        for feature in order[:k]:
            yield f"    {self._label(row, feature):<{width}} {changed(added[feature])}"
        if len(order) > k:
            others = f"{len(order) - k} other features"
            yield f"    {others:<{width}} {changed(added[order[k:]].sum())}"

    def _route(self, row: int, task: int) -> Iterator[tuple[int, str]]:
        for layer in range(self.skipped.shape[2]):
            parts = [
                f"expert {number} ({share:.0%})"
                for (depth, number), share in zip(self.experts, self.shares[row, task], strict=True)
                if depth == layer + 1 and share
            ]
            passed = self.skipped[row, task, layer]
            if passed:
                parts.append("skipped" if not parts else f"skipped ({passed:.0%})")
            if parts:
                yield layer + 1, ", ".join(parts)

    def _label(self, row: int, feature: int) -> str:
        text = f"{self.features[feature]} = {self._value(row, feature)}"
        return text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 3]}..."

    def _value(self, row: int, feature: int) -> str:
        value = self.values[self.features[feature]][row].as_py()
        return "missing" if value is None else str(value)


def _difference(value: float) -> str:
    return f"{value:+.3f}"


def _exponential(log: float) -> str:
    return f"{np.exp(np.clip(log, -LARGEST_LOG, LARGEST_LOG)):.4g}"


def _factor(log: float) -> str:
    return f"x {_exponential(log)}"


def _scale(model: TabularModel, position: int) -> str:
    """The scale on which contributions to a task add up."""
    label_model = model.heads.label_model(position)
    return "log odds" if label_model is None else label_model.scale


def _positions(heads: Sequence[HeadSpec], tasks: Sequence[str]) -> list[int]:
    names = [head.name for head in heads]
    for name in tasks:
        if name not in names:
            hint = did_you_mean(str(name), names) or f"; there are {', '.join(names)}"
            raise DataError(f"there is no task {name!r}{hint}")
    return [names.index(name) for name in tasks or names]


def _raw_values(bundle: Bundle, table: pa.Table, encoded: Encoded) -> pa.Table:
    """What each feature read, one column a feature; of a tree's field its logit."""
    encoder = bundle.encoder
    if encoder.schema.derived:
        table = encoder.with_numbers(table)
    schema, fields = encoder.schema, encoder.encoding.fields
    columns = {name: schema.feature(name).column for name in fields}
    # Ids of exact values, n-grams and vectors of lists are shown as what they were made of.
    made = (d for d in schema.computed if isinstance(d.source, Numeric | Text | Vector))
    columns |= {derived.feature.name: derived.columns[0] for derived in made}
    values = {name: table[column] for name, column in columns.items()}
    if bundle.forests is not None:
        logits = bundle.forests.logits(encoded.ids, encoded.numeric)
        names = [field.name for field in bundle.forests.fields]
        values |= dict(zip(names, map(pa.array, logits.T), strict=True))
    return pa.table(values)


def _unknown_row(encoder: RowEncoder) -> Rows:
    """The encoded row of which nothing is known: lists are empty, numbers missing or defaults."""
    ids = encoder.unknown_rows()[1].copy()
    ids[len(encoder.encoding.single) :] = 0
    nothing = np.full((1, encoder.encoding.numeric_columns), np.nan, np.float32)
    numbers = (f for f in encoder.schema.encoded_features if isinstance(f, Numeric))
    for column, number in enumerate(numbers):
        if number.default is not None:
            scaler = encoder.scalers[number.name]
            nothing[0, column] = scaler.transform(np.array([number.default]))[0]
    return ids[None], nothing


def _scores_of(scorer: Scorer, table: pa.Table, columns: Sequence[Sequence[str]]) -> Floats:
    """What the scorer says in the columns `[R][T]` that are explained, `[R, T]`."""
    position = {name: number for number, name in enumerate(scorer.columns)}
    chosen = np.array([[position[name] for name in row] for row in columns], np.int64)
    scores: Floats = np.take_along_axis(scorer.scores(table).astype(np.float64), chosen, axis=1)
    return scores

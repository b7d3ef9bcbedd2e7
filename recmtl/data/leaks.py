"""Warn of features that give a label away, from a sample of the encoded train rows.

A feature is suspect if it tells nearly every label, in every class that is common enough to prove
something. What is asked of a feature depends on its kind:

- of any feature: does the value of a row tell its class, by the rows of the other half of the
  sample with the same value? That finds copies under any names, hashes, and codes of classes;
- of a number: does it order the rows as the label does, up or down? Are the classes unbroken
  stretches in its order?
- of any feature: is it missing nearly where the label is one class, or where it is not?
- of a list: is there a value that it holds nearly in the rows of one class, and nearly in no other?
  Does its length order the rows?
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recmtl.data.columns.funnel import defined_rows
from recmtl.data.encoded_log import LogSplit
from recmtl.data.encoding import Encoding
from recmtl.memory import release_pages
from recmtl.schema import Schema, TaskSpec

__all__ = ["SAMPLE_ROWS", "SampledColumn", "leak_warnings", "mean_ranks", "tells"]

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
SAMPLE_ROWS = 20_000
BLOCK_ROWS = 500
NEARLY = 0.999
"""Share of the rows of each common class that a suspect feature tells; of a regression the rank
correlation, up or down."""
MOSTLY = 0.9
"""Share of the rows of a class whose value must occur in the other half of the sample, too."""
FEWEST = 20
"""Rows of a class below which it proves nothing."""
MOST_STRETCHES = 3
"""Of a class in the order of a number that is a copy of it, by any formula."""
COPY, GAPS, LIST = (
    "nearly equals the label",
    "is missing, or has one value, nearly exactly where one class is the label",
    "holds a value, or a number of values, that tells the label",
)


@dataclass(frozen=True)
class SampledColumn:
    """A feature of the sampled rows.

    Attributes:
        name: the feature.
        codes: number of the value of each row among the distinct values.
        ranks: of each row by its value, gaps lowest; None where values have no order.
        missing: where the value is missing; of a category where it has the first table row.
        members: of a list its table rows `[R, length]`, 0 for none.
    """

    name: str
    codes: Ints
    missing: Bools
    ranks: Floats | None = None
    members: npt.NDArray[np.int32] | None = None


def leak_warnings(schema: Schema, encoding: Encoding, train: LogSplit) -> Iterator[str]:
    """One line for every feature that nearly gives a label away.

    Args:
        schema: names the features and tasks in the warnings.
        encoding: the columns of `train`.
        train: the rows to sample.
    """
    blocks = _blocks(len(train))
    labels = _read(train.labels, blocks).astype(np.float64)
    for t, task in enumerate(schema.tasks):
        # Most rows of a child are 0 because its parent is: a copy shows where the parent happened.
        labels[~defined_rows(labels, schema.tasks, task), t] = np.nan
    sources = {derived.feature.name: derived.source.name for derived in schema.computed}
    warned: set[tuple[str, str]] = set()
    for column in _columns(encoding, _read(train.ids, blocks), _read(train.numeric, blocks)):
        feature = sources.get(column.name, column.name)
        for t, task in enumerate(schema.tasks):
            if (feature, task.name) in warned:
                continue
            defined = ~np.isnan(labels[:, t])
            how = tells(column, task, labels[defined, t], defined)
            if how is not None:
                warned.add((feature, task.name))
                yield _warning(schema, feature, task, how)


def _columns(
    encoding: Encoding, ids: npt.NDArray[np.int32], numbers: npt.NDArray[np.float32]
) -> Iterator[SampledColumn]:
    for i, name in enumerate(encoding.single):
        codes = np.unique(ids[:, i], return_inverse=True)[1]
        yield SampledColumn(
            name, codes, missing=codes == 0
        )  # the unknown row is the first of its block
    for field in encoding.lists:
        members = np.sort(ids[:, field.columns], axis=1)
        lengths = (members != 0).sum(axis=1)
        codes = np.unique(members, axis=0, return_inverse=True)[1].reshape(-1)
        yield SampledColumn(field.name, codes, lengths == 0, mean_ranks(lengths), members)
    for i, number in enumerate(encoding.numeric):
        missing = np.isnan(numbers[:, i])
        values = np.where(missing, -np.inf, numbers[:, i])
        codes = np.unique(values, return_inverse=True)[1]
        yield SampledColumn(number.name, codes, missing, mean_ranks(values))


def mean_ranks(values: npt.NDArray[Any]) -> Floats:
    """The mean rank of each value, from 1."""
    _, codes, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(counts) - (counts - 1) / 2)[codes]
    return ranks


def _blocks(rows: int) -> list[slice]:
    """Evenly spaced blocks of rows; single rows would touch every page of the map."""
    if rows <= SAMPLE_ROWS:
        return [slice(0, rows)]
    firsts = np.linspace(0, rows - BLOCK_ROWS, SAMPLE_ROWS // BLOCK_ROWS).astype(np.int64)
    return [slice(first, first + BLOCK_ROWS) for first in firsts.tolist()]


def _read(column: npt.NDArray[Any], blocks: list[slice]) -> npt.NDArray[Any]:
    parts = []
    for block in blocks:
        parts.append(np.array(column[block]))
        release_pages(column)  # the system maps far more than the block
    return np.concatenate(parts)


def _warning(schema: Schema, feature: str, task: TaskSpec, how: str) -> str:
    column = schema.feature(feature).column
    return (
        f"feature {feature!r} (column {column!r}) {how} of task {task.name!r}; "
        "drop it unless it is known before the outcome"
    )


def tells(column: SampledColumn, task: TaskSpec, label: Floats, defined: Bools) -> str | None:
    """How a feature gives the label of the rows on which it is `defined` away, if it does.

    Args:
        column: the feature, on all rows.
        task: the task.
        label: on the rows where it is defined.
        defined: which these are, bool, one a row.
    """
    classes = np.unique(label, return_inverse=True)[1]
    common = np.flatnonzero(np.bincount(classes, minlength=1) >= FEWEST)
    ranks = None if column.ranks is None else mean_ranks(column.ranks[defined])
    if task.kind == "regression":
        follows = ranks is not None and column.members is None and _orders(ranks, label)
        copies = len(common) > 1 and _told(column.codes[defined], classes, common)
        return COPY if follows or copies else None
    if len(common) < 2:
        return None
    gaps = _gaps_tell(column.missing[defined], classes, common)
    if gaps and ranks is not None:
        return GAPS
    if column.members is not None:
        by_length = ranks is not None and _separates(ranks, classes, common)
        by_member = _member_tells(column.members[defined], classes, common)
        return LIST if by_length or by_member else None
    if _told(column.codes[defined], classes, common):
        return COPY
    if gaps:
        return GAPS
    return COPY if ranks is not None and _separates(ranks, classes, common) else None


def _told(codes: Ints, classes: Ints, common: Ints) -> bool:
    """Whether the other half of the rows tells the class of nearly all rows by their code."""
    base, odd = int(classes.max()) + 1, np.arange(len(codes)) % 2 == 1
    predicted = np.full(len(codes), -1)
    for half in (odd, ~odd):
        pairs, counts = np.unique(codes[~half] * base + classes[~half], return_counts=True)
        pairs = pairs[np.argsort(counts, kind="stable")]
        likeliest = np.full(int(codes.max()) + 1, -1)
        likeliest[pairs // base] = pairs % base  # the last, most frequent class of a code stays
        predicted[half] = likeliest[codes[half]]
    # Shares of each common class: over all rows, any feature would match a rare class.
    counted = (None, predicted >= 0, predicted == classes)
    rows, seen, right = (np.bincount(classes, weights)[common] for weights in counted)
    return bool((seen > MOSTLY * rows).all() and (right > NEARLY * seen).all())


def _gaps_tell(missing: Bools, classes: Ints, common: Ints) -> bool:
    """Whether gaps are nearly all rows of one common class, or of all others."""
    return any(_alike(missing, classes == k) for k in common.tolist())


def _alike(one: Bools, other: Bools) -> bool:
    """Whether two conditions hold nearly on the same rows, or nearly on opposite ones."""
    inside, outside = float(one[other].mean()), float(one[~other].mean())
    return min(inside, 1 - outside) > NEARLY or min(1 - inside, outside) > NEARLY


def _member_tells(members: npt.NDArray[np.int32], classes: Ints, common: Ints) -> bool:
    """Whether a value stands in the lists of nearly all rows of a class, and nearly no other."""
    ids, codes = np.unique(members, return_inverse=True)
    codes = np.sort(codes.reshape(members.shape), axis=1)
    is_first = np.ones(codes.shape, np.bool_)
    is_first[:, 1:] = codes[:, 1:] != codes[:, :-1]  # a value counts once a row
    row_classes = np.broadcast_to(classes[:, None], codes.shape)
    held = is_first & (ids[codes] != 0)
    totals = np.bincount(codes[held], minlength=len(ids))
    for k in common.tolist():
        of_class = held & (row_classes == k)
        inside = np.bincount(codes[of_class], minlength=len(ids))
        rows = int((classes == k).sum())
        shares, others = inside / rows, (totals - inside) / (len(classes) - rows)
        if ((shares > NEARLY) & (others < 1 - NEARLY)).any():
            return True
        if ((shares < 1 - NEARLY) & (others > NEARLY)).any():
            return True
    return False


def _separates(ranks: Floats, classes: Ints, common: Ints) -> bool:
    """Whether the classes are few unbroken stretches in the order of the values.

    Where values repeat they have no such order, and AUC alone decides, between two classes.
    """
    if len(common) == 2 and _auc(ranks, classes, common) > NEARLY:
        return True
    if len(np.unique(ranks)) < len(ranks) / 2:
        return False
    ordered = classes[np.argsort(ranks, kind="stable")]
    starts = ordered[np.append(True, ordered[1:] != ordered[:-1])]
    stretches, rows = np.bincount(starts)[common], np.bincount(classes)[common]
    return bool((stretches <= MOST_STRETCHES + (1 - NEARLY) * rows).all())


def _auc(ranks: Floats, classes: Ints, common: Ints) -> float:
    """AUC of the ranks between two classes, whichever is above."""
    rows = np.isin(classes, common)
    ranks, upper = mean_ranks(ranks[rows]), classes[rows] == common[1]
    positives, negatives = int(upper.sum()), int((~upper).sum())
    above = ranks[upper].sum() - positives * (positives + 1) / 2
    auc = float(above / (positives * negatives))
    return max(auc, 1 - auc)


def _orders(ranks: Floats, label: Floats) -> bool:
    """Whether the rank correlation with a regression label is nearly 1 or -1."""
    if len(label) < FEWEST or len(np.unique(ranks)) < 3 or len(np.unique(label)) < 3:
        return False
    return bool(abs(np.corrcoef(ranks, mean_ranks(label))[0, 1]) > NEARLY)

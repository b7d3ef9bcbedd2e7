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
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from recmtl.data.columns.funnel import defined_rows
from recmtl.data.encoded_log import LogSplit
from recmtl.data.encoding import Encoding
from recmtl.memory import release_pages
from recmtl.schema import Schema, TaskSpec

__all__ = ["SAMPLE_ROWS", "SampledColumn", "SampledLabel", "leak_warnings", "tells"]

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
        codes: number of the value of each row among the distinct values; of a list its length.
        missing: where the value is missing; of a category where it has the first table row.
        order: numbers of the rows' values that grow with them, gaps lowest; None where values have
            no order. Of a list its length.
        members: of a list its table rows `[R, length]`, sorted, 0 for none.
    """

    name: str
    codes: Ints
    missing: Bools
    order: Ints | None = None
    members: npt.NDArray[np.int32] | None = None

    @cached_property
    def values(self) -> Ints:
        """Number of the value of each row, whole lists included, among the distinct values."""
        if self.members is None:
            return self.codes
        return np.unique(self.members, axis=0, return_inverse=True)[1].reshape(-1)

    @cached_property
    def held(self) -> tuple[Ints, Ints]:
        """The row of every value of a list, once a row, and the value's number."""
        members = np.empty((0, 0), np.int32) if self.members is None else self.members
        is_first = members != 0
        is_first[:, 1:] &= members[:, 1:] != members[:, :-1]
        return is_first.nonzero()[0], np.unique(members[is_first], return_inverse=True)[1]


@dataclass(frozen=True)
class SampledLabel:
    """The label of a task on the sampled rows.

    Attributes:
        kind: of the task.
        defined: the rows on which it is, bool `[R]`.
        classes: number of the label of those rows among its distinct values, in their order.
        common: the classes with enough rows to prove something.
    """

    kind: str
    defined: Bools
    classes: Ints
    common: Ints

    @classmethod
    def of(cls, kind: str, label: Floats, defined: Bools) -> "SampledLabel":
        """Take the label of the rows on which it is `defined`."""
        classes = np.unique(label, return_inverse=True)[1]
        common = np.flatnonzero(np.bincount(classes, minlength=1) >= FEWEST)
        return cls(kind, defined, classes, common)


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
    tasks = []
    for t, task in enumerate(schema.tasks):
        defined = ~np.isnan(labels[:, t])
        tasks.append((task, SampledLabel.of(task.kind, labels[defined, t], defined)))
    sources = {derived.feature.name: derived.source.name for derived in schema.computed}
    warned: set[tuple[str, str]] = set()
    for column in _columns(encoding, _read(train.ids, blocks), _read(train.numeric, blocks)):
        feature = sources.get(column.name, column.name)
        for task, label in tasks:
            if (feature, task.name) in warned:
                continue
            how = tells(column, label)
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
        yield SampledColumn(field.name, lengths, lengths == 0, lengths, members)
    for i, number in enumerate(encoding.numeric):
        missing = np.isnan(numbers[:, i])
        codes = np.unique(np.where(missing, -np.inf, numbers[:, i]), return_inverse=True)[1]
        yield SampledColumn(number.name, codes, missing, codes)


def mean_ranks(order: Ints) -> Floats:
    """The mean rank of each value, from 1; equal numbers of an order are equal values."""
    counts = np.bincount(order)
    ranks: Floats = (np.cumsum(counts) - (counts - 1) / 2)[order]
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


def tells(column: SampledColumn, label: SampledLabel) -> str | None:
    """How a feature gives a label away, if it does."""
    classes, common, defined = label.classes, label.common, label.defined
    order = None if column.order is None else column.order[defined]
    if label.kind == "regression":
        follows = order is not None and column.members is None and _orders(order, classes)
        copies = len(common) > 1 and _told(column.values[defined], classes, common)
        return COPY if follows or copies else None
    if len(common) < 2:
        return None
    gaps = _gaps_tell(column.missing[defined], classes, common)
    if gaps and order is not None:
        return GAPS
    if column.members is not None:
        by_length = order is not None and _separates(order, classes, common)
        return LIST if by_length or _member_tells(column, label) else None
    if _told(column.codes[defined], classes, common):
        return COPY
    if gaps:
        return GAPS
    return COPY if order is not None and _separates(order, classes, common) else None


def _told(codes: Ints, classes: Ints, common: Ints) -> bool:
    """Whether the other half of the rows tells the class of nearly all rows by their code."""
    predicted, count = np.full(len(codes), -1), int(codes.max()) + 1
    halves = slice(0, None, 2), slice(1, None, 2)
    for half, other in (halves, halves[::-1]):
        predicted[half] = _likeliest(codes[other], classes[other], count)[codes[half]]
    # Shares of each common class: over all rows, any feature would match a rare class.
    counted = (None, predicted >= 0, predicted == classes)
    rows, seen, right = (np.bincount(classes, weights)[common] for weights in counted)
    return bool((seen > MOSTLY * rows).all() and (right > NEARLY * seen).all())


def _likeliest(codes: Ints, classes: Ints, count: int) -> Ints:
    """The most frequent class of each of so many codes, of equals the last; -1 without a row."""
    likeliest, most = np.full(count, -1), np.ones(count, np.int64)
    for k in range(int(classes.max(initial=-1)) + 1):
        rows = np.bincount(codes[classes == k], minlength=count)
        ahead = rows >= most
        likeliest[ahead], most[ahead] = k, rows[ahead]
    return likeliest


def _gaps_tell(missing: Bools, classes: Ints, common: Ints) -> bool:
    """Whether gaps are nearly all rows of one common class, or of all others."""
    return any(_alike(missing, classes == k) for k in common.tolist())


def _alike(one: Bools, other: Bools) -> bool:
    """Whether two conditions hold nearly on the same rows, or nearly on opposite ones."""
    inside, outside = float(one[other].mean()), float(one[~other].mean())
    return min(inside, 1 - outside) > NEARLY or min(1 - inside, outside) > NEARLY


def _member_tells(column: SampledColumn, label: SampledLabel) -> bool:
    """Whether a value stands in the lists of nearly all rows of a class, and nearly no other."""
    of_row = np.full(len(label.defined), -1)
    of_row[label.defined] = label.classes
    rows, codes = column.held
    classes, count = of_row[rows], int(codes.max(initial=-1)) + 1
    totals = np.bincount(codes[classes >= 0], minlength=count)
    sizes = np.bincount(label.classes)
    for k in label.common.tolist():
        inside = np.bincount(codes[classes == k], minlength=count)
        shares = inside / sizes[k]
        others = (totals - inside) / (len(label.classes) - sizes[k])
        if ((shares > NEARLY) & (others < 1 - NEARLY)).any():
            return True
        if ((shares < 1 - NEARLY) & (others > NEARLY)).any():
            return True
    return False


def _separates(order: Ints, classes: Ints, common: Ints) -> bool:
    """Whether the classes are few unbroken stretches in the order of the values.

    Where values repeat they have no such order, and AUC alone decides, between two classes.
    """
    if len(common) == 2 and _auc(order, classes, common) > NEARLY:
        return True
    if np.count_nonzero(np.bincount(order)) < len(order) / 2:
        return False
    ordered = classes[np.argsort(order, kind="stable")]
    starts = ordered[np.append(True, ordered[1:] != ordered[:-1])]
    stretches, rows = np.bincount(starts)[common], np.bincount(classes)[common]
    return bool((stretches <= MOST_STRETCHES + (1 - NEARLY) * rows).all())


def _auc(order: Ints, classes: Ints, common: Ints) -> float:
    """AUC of the order between two classes, whichever is above."""
    size = int(order.max()) + 1
    lower, upper = (np.bincount(order[classes == k], minlength=size) for k in common)
    below = np.cumsum(lower) - lower / 2
    auc = float((upper * below).sum() / (upper.sum() * lower.sum()))
    return max(auc, 1 - auc)


def _orders(order: Ints, label: Ints) -> bool:
    """Whether the rank correlation with the order of a regression's labels is nearly 1 or -1."""
    distinct = (np.count_nonzero(np.bincount(values, minlength=1)) for values in (order, label))
    if len(label) < FEWEST or min(distinct) < 3:
        return False
    return bool(abs(np.corrcoef(mean_ranks(order), mean_ranks(label))[0, 1]) > NEARLY)

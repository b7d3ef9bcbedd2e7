"""The pass that checks a log and fits on its train rows."""

import functools
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from recmtl.data.columns.labels import LabelFit, Labels
from recmtl.data.counted_log import CountedBatch, CountedLog
from recmtl.data.encoded_log import EncodedLog
from recmtl.data.labelled.sampling import NegativeSample
from recmtl.data.labelled.windows import with_known_times
from recmtl.data.passes.encoder_fit import EncoderFit
from recmtl.data.row_encoder import RowEncoder
from recmtl.data.split import PARTS, Assign, plan_split
from recmtl.data.statistics.past import PastState, count_past
from recmtl.data.vocabulary_drift import refuse_other_classes
from recmtl.errors import DataError, SourceLocation
from recmtl.schema import Schema, refuse_same_columns

__all__ = ["Fitted", "fit", "past_of"]

Parts = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Fitted:
    """What the first passes give.

    Attributes:
        assign: gives each row its part.
        encoder: of the features.
        labels: of the tasks.
        rows: of each part.
        rows_before: by the number of a batch's first row, the rows of each part before it.
        mean_weight: of the train rows.
        left_out: negative rows of each part that are not in the sample.
    """

    assign: Assign
    encoder: RowEncoder
    labels: Labels
    rows: list[int]
    rows_before: Mapping[int, Sequence[int]]
    mean_weight: float
    left_out: Sequence[int] = (0, 0, 0)


def fit(log: CountedLog, schema: Schema, like: EncodedLog | None) -> Fitted:
    """Check and fit in one pass, after those that the split and the statistics need.

    The encoder of added days is the earlier one: of them only the labels are checked and counted.

    Raises:
        DataError: the data is not what the schema says, or a part has no row.
    """
    assign = plan_split(schema, log)
    earlier = None if like is None else like.encoder()
    resolved = with_known_times(schema, log.batches, SourceLocation(log.data))
    past = past_of(log, resolved, assign, earlier)
    sample = NegativeSample(schema)

    def view(batch: CountedBatch) -> tuple[CountedBatch, Parts, Parts]:
        every = assign(batch)
        if past is not None and like is None:
            batch = past.with_numbers(batch, every)
        return *sample.kept(batch, every), every

    fits = schema if like is None else replace(schema, features=(), statistics=())
    encoder_fit = EncoderFit(fits, log.logical_types(schema.columns()))
    empty = _FitPass(LabelFit(resolved, log.data), encoder_fit)
    fitted = log.fold(empty, fits.columns(), view, stage="fit")
    rows = fitted.rows
    _refuse_empty_parts(rows, log)
    labels = fitted.labels.finish()
    classes = {name: label.classes for name, label in labels.statistics.items()}
    if like is not None:
        refuse_other_classes(classes, like)
    else:
        refuse_same_columns(schema, classes, SourceLocation(log.data))
    encoder = (fitted.encoder.finish() if earlier is None else earlier).going_on(past)
    mean_weight = fitted.train_weight / rows[0]
    return Fitted(
        assign, encoder, labels, rows, fitted.rows_before(), mean_weight, fitted.left_out.tolist()
    )


def past_of(
    log: CountedLog, schema: Schema, assign: Assign, earlier: RowEncoder | None
) -> PastState | None:
    """The statistics of the past, if the schema has any; they go on from an earlier encoder's."""
    if not schema.statistics:
        return None
    state = None if earlier is None else earlier.past
    return count_past(log, schema, assign, earlier=state)


class _FitPass:
    """What the fit counts: labels, features, rows of each part, weight of the train rows.

    Attributes:
        labels: of all rows.
        encoder: of the train rows; without features if an earlier encoder is used.
        left_out: rows of each part that are not in the sample.
    """

    def __init__(self, labels: LabelFit, encoder: EncoderFit) -> None:
        self.labels, self.encoder = labels, encoder
        self._firsts: list[int] = []
        self._counts: list[list[int]] = []
        self._weights: list[float] = []
        self.left_out = np.zeros(len(PARTS), np.int64)

    def add(self, batch: CountedBatch, parts: Parts, every: Parts) -> None:
        train, weight = parts == 0, batch.weight
        counts = [np.bincount(of, minlength=len(PARTS)) for of in (every, parts)]
        self.left_out += counts[0] - counts[1]
        self._firsts.append(batch.first)
        self._counts.append(np.bincount(parts, minlength=len(PARTS)).tolist())
        of_train = np.count_nonzero(train) if weight is None else weight[train].sum()
        self._weights.append(float(of_train))
        self.encoder.add(batch.columns, train, batch.place, weight=weight, first=batch.first)
        self.labels.add(batch.columns, train, batch.place, row=batch.row, weight=weight)

    def merge(self, later: "_FitPass") -> None:
        self._firsts += later._firsts
        self._counts += later._counts
        self._weights += later._weights
        self.left_out += later.left_out
        self.encoder.merge(later.encoder)
        self.labels.merge(later.labels)

    @property
    def rows(self) -> list[int]:
        """Rows of each part."""
        return [sum(counts) for counts in zip(*self._counts, strict=True)]

    @property
    def train_weight(self) -> float:
        """Sum of the weights of the train rows, batch by batch in the order of the rows."""
        return functools.reduce(operator.add, self._weights, 0.0)

    def rows_before(self) -> dict[int, list[int]]:
        """By a batch's first row, the rows of each part before it."""
        counts = np.array(self._counts)
        return dict(zip(self._firsts, (counts.cumsum(0) - counts).tolist(), strict=True))


def _refuse_empty_parts(rows: list[int], log: CountedLog) -> None:
    for part, count in zip(PARTS, rows, strict=True):
        if count == 0:
            zero = f" ({log.left_out} rows have weight 0)" if log.left_out else ""
            remedy = f"correct {log.column} or split" if log.left_out else "correct split"
            raise DataError(f"{log.data}: no row falls into {part}{zero}; {remedy} in the schema")

"""Features of a draft that give one of its tasks away, which are set aside."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recmtl.data.draft.placing import Draft
from recmtl.data.draft.profile import ColumnProfile, in_one_form
from recmtl.data.draft.sample import Sample
from recmtl.data.leaks import SAMPLE_ROWS, SampledColumn, SampledLabel, tells

__all__ = ["set_leaks_aside"]


def set_leaks_aside(draft: Draft, sample: Sample) -> None:
    """Move features that nearly give a label of the draft away into `ignore`, with the reason.

    It asks before anything is encoded what `prepare` asks of the encoded log (`recmtl.data.leaks`).
    """
    tasks = [column for column, _ in draft.tasks.values() if column.event is not None]
    names = [name for name in draft.features if name not in draft.tasks]
    if not tasks or not names:
        return
    types = sample.logical_types(names)
    batches = [batch.columns for batch in sample.batches(names)]
    for i, name in enumerate(names):
        parts = [batch.column(i) for batch in batches]
        column = _sampled(name, in_one_form(types[name], parts)[:SAMPLE_ROWS])
        for task in tasks:
            how = None if column is None else _how(column, task, tasks)
            if how is not None:
                draft.features.pop(name, None)
                draft.categorical = [c for c in draft.categorical if c.name != name]
                draft.ignore[name] = f"{how} of {task.name!r}: known only afterwards?"
                break


def _how(column: SampledColumn, task: ColumnProfile, tasks: Sequence[ColumnProfile]) -> str | None:
    rows = len(column.codes)
    defined = np.ones(rows, np.bool_)
    for parent in tasks:
        if task.positive < parent.positive:  # a copy shows where the parent happened
            defined &= _marked(parent.positive, rows)
    label = _marked(task.positive, rows)[defined].astype(np.float64)
    return tells(column, SampledLabel.of("binary", label, defined))


def _marked(rows: frozenset[int], count: int) -> npt.NDArray[np.bool_]:
    marks = np.zeros(count, np.bool_)
    marks[[row for row in rows if row < count]] = True
    return marks


def _sampled(name: str, column: Any) -> SampledColumn | None:
    """A column that is no list as `leaks` looks at it; lists are left to `prepare`."""
    if pa.types.is_nested(column.type) or not len(column):
        return None
    missing = np.asarray(pc.is_null(column, nan_is_null=True).combine_chunks())
    codes = column.combine_chunks().dictionary_encode(null_encoding="encode").indices
    order = None
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        values = np.asarray(column.cast(pa.float64(), safe=False).fill_null(-np.inf))
        order = np.unique(np.where(missing, -np.inf, values), return_inverse=True)[1]
    return SampledColumn(name, np.asarray(codes).astype(np.int64), missing, order)

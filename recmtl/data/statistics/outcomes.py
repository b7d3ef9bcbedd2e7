"""What happened in each row -> integers that can be added up in any order.

An event gives the rows where it is defined, and those where it happened. A number gives those rows,
its whole part and its fraction in units of 2^-32, so that sums of it are exact to that step.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.data.columns.funnel import funnel_path, joint_labels
from recmtl.data.columns.numeric import finite_numbers
from recmtl.data.columns.rules import satisfied
from recmtl.data.labelled.reading import read_label
from recmtl.errors import SourceLocation
from recmtl.schema import Outcome, Schema, TaskSpec

__all__ = ["LARGEST", "ROWS", "outcome_sums", "outcome_totals", "sum_names"]

ROWS = "rows"
LARGEST = 2.0**40
STEP = 2.0**-32
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def sum_names(outcomes: tuple[Outcome, ...]) -> tuple[str, ...]:
    """Names of the sums: the rows, then `.n` and `.sum`, of numbers `.fraction`, an outcome."""
    names = [ROWS]
    for outcome in outcomes:
        names += [f"{outcome.name}.n", f"{outcome.name}.sum"]
        names += [] if outcome.is_event else [f"{outcome.name}.fraction"]
    return tuple(names)


def outcome_sums(
    schema: Schema, outcomes: tuple[Outcome, ...], columns: pa.RecordBatch, place: SourceLocation
) -> Ints:
    """What each row adds to the sums, int64 [rows, S]; a missing outcome adds nothing.

    Raises:
        DataError: a label or column holds something else than its task or rule says, or a number
            beyond 2^40.
    """
    sums = [np.ones(columns.num_rows, np.int64)]
    for outcome in outcomes:
        values = _values(schema, outcome, columns, place)
        defined = ~np.isnan(values)
        values = np.where(defined, values, 0.0)
        whole = np.floor(values)
        sums += [defined.astype(np.int64), whole.astype(np.int64)]
        if not outcome.is_event:
            sums.append(np.rint((values - whole) / STEP).astype(np.int64))
    return np.stack(sums, axis=1)


def _values(
    schema: Schema, outcome: Outcome, columns: pa.RecordBatch, place: SourceLocation
) -> Floats:
    """The outcome of each row, NaN where it is missing or not defined."""
    if outcome.column is None:
        values = _label(schema, schema.task(outcome.name), columns, place)
    elif outcome.column.is_rule:
        holds, missing = satisfied(outcome.column, columns.column(outcome.name), place)
        values = np.where(missing, np.nan, holds.astype(np.float64))
    else:
        values = finite_numbers(columns.column(outcome.name), outcome.name, place)
    if not outcome.is_event and np.nanmax(np.abs(values), initial=0.0) > LARGEST:
        fault = f"holds numbers beyond {LARGEST:.3g}, of which no exact sum is kept"
        raise place.error(fault, "count it in a larger unit", column=outcome.name)
    return values


def _label(
    schema: Schema, task: TaskSpec, columns: pa.RecordBatch, place: SourceLocation
) -> Floats:
    """A task's label as the network learns it: in a funnel, that of the joint event."""
    path = funnel_path(schema.tasks, task)
    labels = [read_label(event, schema, columns, place) for event in path]
    return joint_labels(np.stack(labels, axis=1), path, task)


def outcome_totals(
    sums: Ints, names: tuple[str, ...], outcome: Outcome
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """From sums [..., S] the rows with an outcome and the sum of it, both float64 [...]."""
    first = names.index(f"{outcome.name}.n")
    total = sums[..., first + 1].astype(np.float64)
    if not outcome.is_event:
        total += sums[..., first + 2] * STEP
    return sums[..., first].astype(np.float64), total

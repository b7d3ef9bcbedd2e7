"""Places at which rows were shown, checked: whole numbers from 0, NaN where they are missing."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.data.columns.numeric import numbers
from recmtl.errors import SourceLocation
from recmtl.schema import Schema

__all__ = ["read_positions"]


def read_positions(
    schema: Schema, columns: pa.RecordBatch, place: SourceLocation
) -> npt.NDArray[np.float32]:
    """The place of each row, float32 [rows, 1]; [rows, 0] where the schema names no column of it.

    Raises:
        DataError: the column holds no whole numbers from 0.
    """
    role = schema.roles.position
    if role is None:
        return np.empty((columns.num_rows, 0), np.float32)
    values = numbers(columns.column(role.column), role.column, place)
    values = np.where(np.isfinite(values), values, np.nan)
    wrong = values[(values < 0) | (values != np.floor(values)) & ~np.isnan(values)]
    if len(wrong):
        fault = f"holds the position {wrong[0]:g}, and positions are whole numbers from 0"
        remedy = "number the places, or drop roles.position"
        raise place.error(fault, remedy, column=role.column)
    return values[:, np.newaxis].astype(np.float32)

"""One view of the frames that callers hold: pandas, Arrow or a dict of arrays, same kind back.

pandas is imported only when a caller hands in a pandas frame, which means that it is loaded.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.errors import DataError
from recmtl.strict import did_you_mean

__all__ = [
    "Frame",
    "Scores",
    "column_names",
    "require",
    "row_count",
    "scored_frame",
    "taken",
    "to_arrow",
]

Frame: TypeAlias = Any  # pandas.DataFrame | pa.Table | pa.RecordBatch | Mapping[str, array]
Scores: TypeAlias = Mapping[str, npt.NDArray[Any]]


def column_names(frame: Frame) -> list[str]:
    """Return the names of a frame's columns; DataError for anything that is not a frame."""
    if isinstance(frame, pa.Table | pa.RecordBatch):
        return list(frame.schema.names)
    if isinstance(frame, Mapping) or _is_pandas(frame):
        names = list(frame) if isinstance(frame, Mapping) else list(frame.columns)
        wrong = next((name for name in names if not isinstance(name, str)), None)
        if wrong is not None:
            kind = type(wrong).__name__
            raise DataError(f"input: column {wrong!r} has a {kind} for a name; rename it to text")
        return names
    raise DataError(
        f"cannot read rows from a {type(frame).__name__}: give a pandas DataFrame, an Arrow table "
        "or record batch, or a dict of arrays"
    )


def row_count(frame: Frame) -> int:
    """Rows of a frame."""
    if isinstance(frame, pa.Table | pa.RecordBatch):
        return int(frame.num_rows)
    if isinstance(frame, Mapping):
        return len(next(iter(frame.values()), ()))
    return len(frame)


def require(names: Iterable[str], present: Sequence[str], *, source: str) -> None:
    """Raise a DataError that names the first column of `names` that is not `present` once."""
    for name in names:
        if present.count(name) > 1:
            raise DataError(f"{source}: column {name!r} stands twice; rename one of the two")
        if name not in present:
            remedy = did_you_mean(str(name), present) or "; add it, or rename the one meant"
            raise DataError(f"{source}: has no column {name!r}{remedy}")


def to_arrow(frame: Frame, columns: Sequence[str], *, source: str = "input") -> pa.Table:
    """Select `columns` of a frame as an Arrow table; NaN outside Arrow becomes null."""
    require(columns, column_names(frame), source=source)
    if isinstance(frame, pa.RecordBatch):
        frame = pa.Table.from_batches([frame])
    if isinstance(frame, pa.Table):
        return frame.select(list(columns))
    arrays = [_array(frame, name, source) for name in columns]
    try:
        return pa.table(arrays, names=list(columns))
    except pa.ArrowInvalid:
        raise DataError(f"{source}: its columns differ in length; give one value a row") from None


def _array(frame: Frame, name: str, source: str) -> Any:
    values = frame[name]
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    if type(getattr(values, "dtype", None)).__name__ == "DatetimeTZDtype":
        values = getattr(values, "dt", values).tz_convert(None)  # Arrow's own way to do so warns
    try:
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"{source}: column {name!r} mixes types ({reason}); give all its values one type"
        ) from None


def scored_frame(frame: Frame, scores: Scores) -> Frame:
    """Return the scores alone, in the kind of frame (and with the pandas index) that came in."""
    if _is_pandas(frame):
        import pandas

        return pandas.DataFrame(dict(scores), index=frame.index)
    return dict(scores) if isinstance(frame, Mapping) else pa.table(dict(scores))


def taken(frame: Frame, rows: npt.NDArray[np.int64], keep: Sequence[str], scores: Scores) -> Frame:
    """Return rows `rows` of columns `keep` and of `scores`, in the kind of frame that came in."""
    if _is_pandas(frame):
        chosen = frame[list(keep)].iloc[rows]
        return chosen.assign(**{name: values[rows] for name, values in scores.items()})
    if isinstance(frame, Mapping):
        count = len(next(iter(scores.values())))
        kept = {name: _values(frame, name, count)[rows] for name in keep}
        return kept | {name: values[rows] for name, values in scores.items()}
    table = frame if isinstance(frame, pa.Table) else pa.Table.from_batches([frame])
    columns = [*table.select(list(keep)).take(pa.array(rows)).columns] if keep else []
    columns += [pa.array(values[rows]) for values in scores.values()]
    return pa.table(columns, names=[*keep, *scores])


def _values(frame: Mapping[str, Any], name: str, rows: int) -> npt.NDArray[Any]:
    values = frame[name]
    try:
        array = np.asarray(values)
    except ValueError:  # lists of several lengths
        array = np.empty(len(values), dtype=object)
        array[:] = values
    if array.shape[:1] != (rows,):
        raise DataError(f"input: column {name!r} has not one value a row; leave it out with keep")
    return array


def _is_pandas(frame: Frame) -> bool:
    kind = type(frame)
    return kind.__module__.split(".")[0] == "pandas" and hasattr(frame, "columns")

"""Frames that callers hold: pandas, polars, Arrow, or a dict of arrays. The same kind goes back.

Any other object that hands on Arrow data by its PyCapsule interface (a DuckDB relation, a cuDF
frame, a reader of record batches) is read as an Arrow table, which goes back. pandas and polars are
imported only once a caller has passed such a frame, so they are loaded already.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.errors import DataError, did_you_mean, first_line

__all__ = [
    "Frame",
    "Scores",
    "arrow_stream",
    "column_names",
    "readable",
    "require_columns",
    "row_count",
    "scores_as_frame",
    "take_rows",
    "to_arrow",
]

Frame: TypeAlias = Any
"""pandas.DataFrame | polars.DataFrame | pa.Table | pa.RecordBatch | Mapping[str, array]."""
Scores: TypeAlias = Mapping[str, npt.NDArray[Any]]


KINDS = "a pandas or polars DataFrame, an Arrow table or record batch, or a dict of arrays"


def readable(frame: Frame) -> Frame:
    """The frame, or the Arrow table of an object that only hands on Arrow data, perhaps once.

    >>> batches = pa.table({"price": [1.0, 2.0]}).to_reader()
    >>> readable(batches).num_rows
    2
    """
    is_stream = hasattr(frame, "__arrow_c_stream__") and not _is_known(frame)
    return _read(pa.table, frame) if is_stream else frame


def arrow_stream(frame: Frame) -> Any:
    """A frame as a reader of Arrow record batches, which holds no copy of a stream.

    Raises:
        DataError: as for `column_names` and `to_arrow`.
    """
    if hasattr(frame, "__arrow_c_stream__") and not _is_known(frame):
        return _read(pa.RecordBatchReader.from_stream, frame)
    return to_arrow(frame, column_names(frame)).to_reader()


def column_names(frame: Frame) -> list[str]:
    """The names of a frame's columns.

    Raises:
        DataError: it is not a frame, or a column's name is not a string.
    """
    if isinstance(frame, pa.Table | pa.RecordBatch):
        return list(frame.schema.names)
    if isinstance(frame, Mapping) or _is_pandas(frame) or _is_polars(frame):
        names = list(frame) if isinstance(frame, Mapping) else list(frame.columns)
        for name in names:
            if not isinstance(name, str):
                kind = type(name).__name__
                raise DataError(
                    f"input: the name of column {name!r} is of type {kind}; rename it to text"
                )
        return names
    remedy = "collect it first" if hasattr(frame, "collect") else f"give {KINDS}"
    raise DataError(f"cannot read rows from a {type(frame).__name__}: {remedy}")


def row_count(frame: Frame) -> int:
    """The number of rows of a frame."""
    if isinstance(frame, pa.Table | pa.RecordBatch):
        return int(frame.num_rows)
    if isinstance(frame, Mapping):
        return len(next(iter(frame.values()), ()))
    return len(frame)


def require_columns(names: Iterable[str], present: Sequence[str], *, source: str) -> None:
    """Check that each of `names` is in `present`, and only once.

    Args:
        names: the columns that are needed.
        present: the columns that are there.
        source: where they are, for the message.

    Raises:
        DataError: names the first column that is absent or stands twice.

    >>> require_columns(["item"], ["item", "price"], source="input")
    """
    for name in names:
        if present.count(name) > 1:
            raise DataError(f"{source}: column {name!r} stands twice; rename one of the two")
        if name not in present:
            remedy = did_you_mean(str(name), present) or "; add it, or rename the one meant"
            raise DataError(f"{source}: has no column {name!r}{remedy}")


def to_arrow(frame: Frame, columns: Sequence[str], *, source: str = "input") -> pa.Table:
    """Select columns of a frame as an Arrow table. NaN in pandas or NumPy becomes null.

    Raises:
        DataError: a column is absent, mixes types, or differs from the others in length.

    >>> to_arrow({"price": [1.0, float("nan")], "item": ["a", "b"]}, ["price"]).to_pydict()
    {'price': [1.0, None]}
    """
    require_columns(columns, column_names(frame), source=source)
    if isinstance(frame, pa.RecordBatch):
        frame = pa.Table.from_batches([frame])
    if _is_polars(frame):
        frame = _read(pa.table, frame.select(list(columns)))
    if isinstance(frame, pa.Table):
        return frame.select(list(columns))
    arrays = [_arrow_column(frame, name, source) for name in columns]
    try:
        return pa.table(arrays, names=list(columns))
    except pa.ArrowInvalid:
        raise DataError(f"{source}: its columns differ in length; give one value a row") from None


def scores_as_frame(frame: Frame, scores: Scores) -> Frame:
    """The scores alone, as the kind of frame that came in; pandas keeps its index."""
    if _is_pandas(frame):
        import pandas  # the caller has loaded it

        return pandas.DataFrame(dict(scores), index=frame.index)
    if _is_polars(frame):
        return type(frame)(dict(scores))
    return dict(scores) if isinstance(frame, Mapping) else pa.table(dict(scores))


def take_rows(
    frame: Frame, rows: npt.NDArray[np.int64], keep: Sequence[str], scores: Scores
) -> Frame:
    """Take rows of some of a frame's columns and of the scores beside them.

    Args:
        frame: what came in; the same kind is returned.
        rows: positions of the rows, in the order of the output.
        keep: columns of the frame to return.
        scores: columns over all rows of the frame, to return after those.

    Raises:
        DataError: a kept column of a dict does not have one value per row.
    """
    if _is_pandas(frame):
        chosen = frame[list(keep)].iloc[rows]
        return chosen.assign(**{name: values[rows] for name, values in scores.items()})
    if _is_polars(frame):
        added = type(frame)({name: values[rows] for name, values in scores.items()})
        return frame.select(list(keep))[rows].hstack(added) if keep else added
    if isinstance(frame, Mapping):
        count = len(next(iter(scores.values())))
        kept = {name: _numpy_column(frame, name, count)[rows] for name in keep}
        return kept | {name: values[rows] for name, values in scores.items()}
    table = frame if isinstance(frame, pa.Table) else pa.Table.from_batches([frame])
    columns = [*table.select(list(keep)).take(pa.array(rows)).columns] if keep else []
    columns += [pa.array(values[rows]) for values in scores.values()]
    return pa.table(columns, names=[*keep, *scores])


def _arrow_column(frame: Frame, name: str, source: str) -> Any:
    values = frame[name]
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    try:
        if type(getattr(values, "dtype", None)).__name__ == "DatetimeTZDtype":
            # Arrow reads pandas' zone, but pandas warns of how it does.
            times = pa.array(getattr(values, "dt", values).tz_convert(None), from_pandas=True)
            return times.cast(pa.timestamp(times.type.unit, "UTC"))
        return pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        reason = first_line(error)
        raise DataError(
            f"{source}: column {name!r} mixes types ({reason}); give all its values one type"
        ) from None


def _numpy_column(frame: Mapping[str, Any], name: str, rows: int) -> npt.NDArray[Any]:
    values = frame[name]
    try:
        column = np.asarray(values)
    except ValueError:  # lists of several lengths
        column = np.empty(len(values), dtype=object)
        column[:] = values
    if column.shape[:1] != (rows,):
        raise DataError(f"input: column {name!r} has not one value a row; leave it out with keep")
    return column


def _read(read: Callable[[Any], Any], frame: Frame) -> Any:
    try:
        return read(frame)
    except (pa.ArrowException, TypeError, ValueError) as error:
        kind = type(frame).__name__
        raise DataError(
            f"cannot read rows from a {kind} ({first_line(error)}); give {KINDS}"
        ) from None


def _is_known(frame: Frame) -> bool:
    """Whether a frame is of a kind that goes back."""
    is_arrow = isinstance(frame, pa.Table | pa.RecordBatch)
    return is_arrow or isinstance(frame, Mapping) or _is_pandas(frame) or _is_polars(frame)


def _is_pandas(frame: Frame) -> bool:
    return _is_frame_of("pandas", frame)


def _is_polars(frame: Frame) -> bool:
    return _is_frame_of("polars", frame)


def _is_frame_of(package: str, frame: Frame) -> bool:
    kind = type(frame)
    is_of_it = kind.__module__.split(".")[0] == package
    return is_of_it and kind.__name__ not in ("Series", "LazyFrame") and hasattr(frame, "columns")

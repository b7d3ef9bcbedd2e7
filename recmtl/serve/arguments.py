"""What callers pass, checked where it comes in: one line that names the argument and its value.

One view of the frames that callers hold: pandas, Arrow or a dict of arrays, same kind back.

pandas is imported only when a caller hands in a pandas frame, which means that it is loaded.
"""

from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.errors import ConfigError, DataError, did_you_mean

__all__ = [
    "Frame",
    "Scores",
    "array",
    "column_names",
    "mapping",
    "names",
    "of_kind",
    "path_like",
    "require",
    "row_count",
    "scored_frame",
    "share",
    "taken",
    "to_arrow",
    "told",
    "whole",
]

T = TypeVar("T")


def told(value: object) -> str:
    """A value of any kind, fit for one line of a message."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."


def whole(name: str, value: Any, *, least: int, most: int) -> int:
    """A whole number within bounds, or a ConfigError."""
    number = isinstance(value, Integral) and not isinstance(value, bool | np.bool_)
    if not number or not least <= value <= most:
        raise ConfigError(f"{name} is {told(value)}; give a whole number from {least} to {most:,}")
    return int(value)


def share(name: str, value: Any) -> float:
    """A number in 0..1, or a ConfigError."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    if not number or not 0.0 <= value <= 1.0:
        raise ConfigError(f"{name} is {told(value)}; give a share in 0..1")
    return float(value)


def names(name: str, value: Any) -> list[str]:
    """A list of column names, or a DataError: one text alone would be taken letter by letter."""
    if isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping):
        found = list(value)
        if all(isinstance(one, str) for one in found):
            return found
    raise DataError(f"{name} is {told(value)}; give a list of column names")


def mapping(name: str, value: Any) -> Mapping[str, Any]:
    """A mapping with texts for keys, or a DataError."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise DataError(f"{name} is {told(value)}, no mapping; give a dict of names to values")
    return value


def array(name: str, value: Any) -> npt.NDArray[Any]:
    """A column of values, or a DataError."""
    try:
        found = np.asarray(value)
    except (ValueError, TypeError):
        found = np.zeros(())
    if found.ndim != 1:
        raise DataError(f"{name} is {told(value)}; give one value a row")
    return found


def path_like(name: str, value: Any) -> str | Path:
    """A path or URL in one line, or a ConfigError."""
    text = str(value) if isinstance(value, str | Path) else ""
    if not text or not set(text).isdisjoint("\0\r\n"):
        raise ConfigError(f"{name} is {told(value)}; give a path")
    return value  # type: ignore[no-any-return]


def of_kind(name: str, value: Any, kind: type[T]) -> T:
    """A value of a class, or a ConfigError."""
    if not isinstance(value, kind):
        raise ConfigError(f"{name} is {told(value)}; give a {kind.__name__}")
    return value


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

"""Features of a time: the parts of a calendar, and how long before another time it was."""

import re
import zoneinfo
from collections.abc import Iterator
from datetime import date
from typing import Annotated, Any, Literal

from recmtl.errors import SchemaError
from recmtl.schema.kinds.single import Categorical, Missing, Numeric
from recmtl.schema.settings import SIZE, settings

__all__ = ["Datetime", "check_time_zone"]

Part = Literal["hour", "weekday", "day", "week", "month"]
_EVERY_YEAR = re.compile(r"\d\d-\d\d")
_LEAP_YEAR = 2000
"""A year that has every day that some year has."""


@settings(SchemaError)
class Datetime:
    """When something happened: parts of the calendar, and its age at another time.

    Each part is a categorical feature `<name>.<part>`; the age is a number, `<name>.age`.

    Attributes:
        name: the feature.
        column: the column of times; by default it has the feature's name.
        parts: `hour` 0 to 23, `weekday` 0 (Monday) to 6, `day` of the month 1 to 31, `week` of the
            year 1 to 53 (ISO 8601), `month` 1 to 12.
        cyclic: whether a part is two numbers in place of an id, the sine and the cosine of how much
            of its day (`hour`), week (`weekday`), month (`day`) or year (`week`, `month`) is over,
            so that 23:59 is near 0:00: `<name>.<part>.sin` and `<name>.<part>.cos`.
        holidays: days, `2024-12-25`, or `12-25` for every year; `<name>.holiday` is then 1 on them
            and 0 on others.
        until: another column of times; the age is the seconds from this time to that, on the scale
            of logarithms, and below 0 where that is earlier.
        time_zone: whose clock and calendar count, for times with a zone and for plain numbers;
            times without a zone are taken as they stand.
        unit: of columns of plain numbers, which count from 1970 in UTC.
        missing: whether missing times are kept, as of categories and numbers, or one is an error.
        dim: features that each part, and the age, has in a lane; None for `sizes.embedding`.
    """

    name: str = ""
    column: str = ""
    parts: tuple[Part, ...] = ("hour", "weekday")
    cyclic: bool = False
    holidays: tuple[str, ...] = ()
    until: str | None = None
    time_zone: str = "UTC"
    unit: Literal["s", "ms", "us", "ns"] | None = None
    missing: Missing = "keep"
    dim: Annotated[int, SIZE] | None = None

    def __post_init__(self) -> None:
        """Refuse what gives no feature, days that no calendar has, and zones that do not exist."""
        object.__setattr__(self, "column", self.column or self.name)
        if not self.parts and not self.holidays and self.until is None:
            raise ValueError("parts: name at least one, or give holidays or until")
        if len(set(self.parts)) < len(self.parts):
            raise ValueError(f"parts: {', '.join(self.parts)}: name each once")
        if self.cyclic and {"week", "month"} <= set(self.parts):
            raise ValueError("parts: week and month are one place in the year; drop one of them")
        for day in self.holidays:
            _check_day(day)
        check_time_zone(self.time_zone)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return (self.column,) if self.until is None else (self.column, self.until)

    def derived(self) -> Iterator[tuple[Categorical | Numeric, tuple[str, ...]]]:
        """The features of its parts and its age, with the columns by which each is computed."""
        shared: dict[str, Any] = {"missing": self.missing, "dim": self.dim}
        for part in self.parts:
            name = f"{self.name}.{part}"
            if self.cyclic:
                for wave in (f"{name}.sin", f"{name}.cos"):
                    number = Numeric(wave, wave, encoding="standard", **shared)
                    yield number, (self.column,)
            else:
                yield Categorical(name, name, **shared), (self.column,)
        if self.holidays:
            name = f"{self.name}.holiday"
            yield Categorical(name, name, **shared), (self.column,)
        if self.until is not None:
            name = f"{self.name}.age"
            yield Numeric(name, name, log=True, **shared), (self.column, self.until)


def check_time_zone(zone: str) -> None:
    """Raise a `ValueError` if there is no such time zone."""
    try:
        zoneinfo.ZoneInfo(zone)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError):
        raise ValueError(f"there is no time_zone {zone!r}") from None


def _check_day(day: str) -> None:
    try:
        date.fromisoformat(f"{_LEAP_YEAR}-{day}" if _EVERY_YEAR.fullmatch(day) else day)
    except ValueError:
        text = "is no day: write 2024-12-25, or 12-25 for every year"
        raise ValueError(f"holidays: {day!r} {text}") from None

"""A column, a rule that turns it into true and false, labels, and columns that formulas compute."""

import re
from dataclasses import fields
from functools import cached_property
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from recmtl.errors import SchemaError
from recmtl.formula import Formula
from recmtl.schema.settings import FINITE, settings

__all__ = [
    "RULES",
    "SECONDS",
    "AColumn",
    "ALabel",
    "ComputedColumn",
    "Condition",
    "Label",
    "Value",
    "seconds_of",
]

Value = str | int | float | bool
Bound = Annotated[float, FINITE]


@settings(SchemaError)
class Condition:
    """The value of a column, or a rule that turns it into true and false.

    A missing value meets no rule but `is_missing`; a label or a row by a rule is then missing, too.

    Attributes:
        column: the column.
        equals: true where the value equals this.
        one_of: true where the value is among these.
        at_least: true where the value is not smaller than this.
        at_most: true where the value is not greater than this.
        between: true where the value is neither smaller than the first nor greater than the second.
        not_: true where the value is none of these; in YAML `not`, and a single one needs no list.
        is_missing: true where the value is missing; with false, where it is not.
        contains: of a column of lists: true where the list holds this, or one of these.
    """

    column: str
    equals: Value | None = None
    one_of: tuple[Value, ...] | None = None
    at_least: Bound | None = None
    at_most: Bound | None = None
    between: tuple[Bound, Bound] | None = None
    not_: Annotated[tuple[Value, ...] | Value | None, Field(alias="not")] = None
    is_missing: bool | None = None
    contains: tuple[Value, ...] | Value | None = None

    def __post_init__(self) -> None:
        """Refuse two rules, and a rule that nothing meets."""
        if len(self.rules) > 1:
            raise ValueError(f"give only one of {', '.join(RULES)}")
        if () in (self.one_of, self.not_, self.contains):
            raise ValueError(f"{self.rules[0]} must not be empty; name at least one value")
        if self.between is not None and self.between[0] > self.between[1]:
            raise ValueError("between needs the smaller number first")
        if self.not_ is not None and not isinstance(self.not_, tuple):
            object.__setattr__(self, "not_", (self.not_,))
        if self.contains is not None and not isinstance(self.contains, tuple):
            object.__setattr__(self, "contains", (self.contains,))

    @property
    def rules(self) -> tuple[str, ...]:
        """The keys of the rules that it has: at most one."""
        values = {field.name: getattr(self, field.name) for field in fields(Condition)[1:]}
        return tuple(name.rstrip("_") for name, value in values.items() if value is not None)

    @property
    def is_rule(self) -> bool:
        """Whether this turns the column into true and false."""
        return bool(self.rules)

    @property
    def options(self) -> tuple[Value, ...]:
        """The values that `equals`, `one_of`, `not` or `contains` compare with."""
        if self.equals is not None:
            return (self.equals,)
        several = (self.one_of, self.not_, self.contains)
        return next((values for values in several if isinstance(values, tuple)), ())


RULES = tuple(field.name.rstrip("_") for field in fields(Condition)[1:])
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_DURATION = re.compile(r"([1-9]\d{0,8}|0)([smhdw])")


def seconds_of(duration: str) -> int:
    """The seconds of a length of time.

    Raises:
        ValueError: it is no number and unit.

    >>> seconds_of("2h")
    7200
    """
    parts = _DURATION.fullmatch(duration)
    if parts is None:
        raise ValueError(f"{duration!r} is no duration: write a number and s, m, h, d or w")
    return int(parts[1]) * SECONDS[parts[2]]


@settings(SchemaError)
class Label(Condition):
    """What a task predicts: a column, or a rule on one; its event may be late.

    The event of a late label counts if it happens within `window` after the row. Until then the
    window of the row is open and its label is unknown, whether or not the event has been seen.

    Attributes:
        time: the column of when the event happened; missing where it did not.
        window: how long after the row the event counts: a number and one of s, m, h, d, w; where
            roles.time holds plain numbers, a whole number of its unit.
        known_until: the time up to which the log knows of events, as roles.time is written; the
            latest time of a row or of an event if None.
    """

    time: str | None = None
    window: str | Annotated[int, Field(ge=1, le=2**60)] | None = None
    known_until: int | float | str | None = None

    def __post_init__(self) -> None:
        """Refuse a window without a time, and a time without a window."""
        super().__post_init__()
        if (self.time is None) != (self.window is None):
            raise ValueError("a late label needs both: time (its column) and window (7d)")
        if self.known_until is not None and self.window is None:
            raise ValueError("known_until is for a late label; give time and window")
        if isinstance(self.window, str) and seconds_of(self.window) == 0:
            raise ValueError("window must be above 0")

    @property
    def is_late(self) -> bool:
        """Whether the event may happen after the row."""
        return self.window is not None


def _of_column(value: Any) -> Any:
    """The short form of a condition that is a column's value."""
    return {"column": value} if isinstance(value, str) else value


def _as_label(value: Any) -> Any:
    """A label of a column or of a rule alone."""
    return Label(**vars(value)) if type(value) is Condition else _of_column(value)


AColumn = Annotated[Condition, BeforeValidator(_of_column)]
ALabel = Annotated[Label, BeforeValidator(_as_label)]


@settings(SchemaError)
class ComputedColumn:
    """A column of numbers that arithmetic on columns of the log gives.

    A row has none where one of them is missing, or where the value is not finite: x / 0.

    Attributes:
        name: the column that tasks and numeric features may read.
        formula: in the grammar of `recmtl.formula`: `watch_s / max(duration_s, 1)`.
    """

    name: str
    formula: str

    def __post_init__(self) -> None:
        """Refuse what is no formula, and one that reads nothing."""
        if not self.parsed.names:
            raise ValueError(f"formula {self.formula!r} names no column")

    @cached_property
    def parsed(self) -> Formula:
        """The formula, and the names of the columns that it reads."""
        return Formula(self.formula)

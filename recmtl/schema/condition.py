"""A column, a rule that turns it into true and false, and columns that formulas compute."""

from dataclasses import fields
from functools import cached_property
from typing import Annotated

from pydantic import Field

from recmtl.errors import SchemaError
from recmtl.formula import Formula
from recmtl.schema.settings import FINITE, settings

__all__ = ["RULES", "ComputedColumn", "Condition", "Value"]

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
    """

    column: str
    equals: Value | None = None
    one_of: tuple[Value, ...] | None = None
    at_least: Bound | None = None
    at_most: Bound | None = None
    between: tuple[Bound, Bound] | None = None
    not_: Annotated[tuple[Value, ...] | Value | None, Field(alias="not")] = None
    is_missing: bool | None = None

    def __post_init__(self) -> None:
        """Refuse two rules, and a rule that nothing meets."""
        if len(self.rules) > 1:
            raise ValueError(f"give only one of {', '.join(RULES)}")
        if self.one_of == () or self.not_ == ():
            raise ValueError(f"{self.rules[0]} must not be empty; name at least one value")
        if self.between is not None and self.between[0] > self.between[1]:
            raise ValueError("between needs the smaller number first")
        if self.not_ is not None and not isinstance(self.not_, tuple):
            object.__setattr__(self, "not_", (self.not_,))

    @property
    def rules(self) -> tuple[str, ...]:
        """The keys of the rules that it has: at most one."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        del values["column"]
        return tuple(name.rstrip("_") for name, value in values.items() if value is not None)

    @property
    def is_rule(self) -> bool:
        """Whether this turns the column into true and false."""
        return bool(self.rules)

    @property
    def options(self) -> tuple[Value, ...]:
        """The values that `equals`, `one_of` or `not` compare with."""
        if self.equals is not None:
            return (self.equals,)
        return self.one_of or (self.not_ if isinstance(self.not_, tuple) else ())


RULES = tuple(field.name.rstrip("_") for field in fields(Condition)[1:])


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

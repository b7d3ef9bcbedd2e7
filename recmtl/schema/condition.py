"""A column, or a rule that turns it into true and false."""

from typing import Annotated

from recmtl.errors import SchemaError
from recmtl.schema.settings import FINITE, settings

__all__ = ["Condition", "Value"]

Value = str | int | float | bool


@settings(SchemaError)
class Condition:
    """The value of a column, or a rule that turns it into true and false.

    Attributes:
        column: the column.
        equals: true where the value equals this.
        one_of: true where the value is among these.
        at_least: true where the value is not smaller than this.
    """

    column: str
    equals: Value | None = None
    one_of: tuple[Value, ...] | None = None
    at_least: Annotated[float, FINITE] | None = None

    def __post_init__(self) -> None:
        """Refuse two rules, and a rule that nothing meets."""
        rules = (self.equals, self.one_of, self.at_least)
        if sum(rule is not None for rule in rules) > 1:
            raise ValueError("give only one of equals, one_of, at_least")
        if self.one_of is not None and not self.one_of:
            raise ValueError("one_of must not be empty; name at least one value")

    @property
    def is_rule(self) -> bool:
        """Whether this turns the column into true and false."""
        return any(rule is not None for rule in (self.equals, self.one_of, self.at_least))

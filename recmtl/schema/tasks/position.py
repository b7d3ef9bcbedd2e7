"""Where on a page a row was shown: what training knows, and serving does not."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from recmtl.errors import SchemaError
from recmtl.schema.settings import settings

__all__ = ["APosition", "Position"]


@settings(SchemaError)
class Position:
    """The column of the place at which a row was shown, as whole numbers from 0.

    Attributes:
        column: the column.
        at: the place for which rows are scored; None for the mean over the train rows. With
            `product` rows are scored as if they were surely seen.
        form: `additive`: a bias of each place is added to the log odds; `product`: the probability
            that a place is seen times that of the event if it is (PAL).
    """

    column: str
    at: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    form: Literal["additive", "product"] = "additive"

    def __post_init__(self) -> None:
        """Refuse a place where none is needed."""
        if self.form == "product" and self.at is not None:
            raise ValueError("at is for form: additive; a product scores rows as if they were seen")


def _of_column(value: Any) -> Any:
    """The short form of a position that says only its column."""
    return {"column": value} if isinstance(value, str) else value


APosition = Annotated[Position, BeforeValidator(_of_column)]

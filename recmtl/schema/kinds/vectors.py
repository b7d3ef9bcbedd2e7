"""Features of vectors that another model made."""

from typing import Literal

from recmtl.errors import SchemaError
from recmtl.schema.settings import settings

__all__ = ["Vector"]


@settings(SchemaError)
class Vector:
    """A vector that another model made of content: of a text, an image, a sound.

    All of its vectors have the size of those in the train rows. Networks map it linearly to the
    width of an embedding, which they learn; the vector itself stays what it is.

    Attributes:
        name: the feature.
        column: the column that holds lists of floats, all of one length; null where there is none.
        normalise: `unit` divides a vector by its length, `none` leaves it.
        precision: of the numbers in the log, in training and in scoring: `half` (float16), or
            `single` (float32).
    """

    name: str = ""
    column: str = ""
    normalise: Literal["unit", "none"] = "unit"
    precision: Literal["half", "single"] = "half"

    def __post_init__(self) -> None:
        """A column has the feature's name unless it says otherwise."""
        object.__setattr__(self, "column", self.column or self.name)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return (self.column,)

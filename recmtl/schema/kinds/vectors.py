"""Features of vectors that another model made."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Annotated, Literal

from recmtl.errors import SchemaError
from recmtl.schema.kinds.lists import ListOf
from recmtl.schema.settings import SIZE, settings

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
        of: the categorical feature whose values have these vectors. Each list that shares its
            vocabulary is then read through them as well: `<list>.<vector>` is the mean of the
            vectors of its values, as the first train rows with these values brought them.
        dim: features that it is mapped to in a lane; None for `sizes.embedding`.
    """

    name: str = ""
    column: str = ""
    normalise: Literal["unit", "none"] = "unit"
    precision: Literal["half", "single"] = "half"
    of: str | None = None
    dim: Annotated[int, SIZE] | None = None

    def __post_init__(self) -> None:
        """A column has the feature's name unless it says otherwise."""
        object.__setattr__(self, "column", self.column or self.name)

    def derived(self, lists: Iterable[ListOf]) -> Iterator[tuple["Vector", tuple[str, ...]]]:
        """The vectors of the lists that are read through these, with the column of each."""
        for source in lists:
            if self.of is not None and source.table == self.of:
                name = f"{source.name}.{self.name}"
                yield replace(self, name=name, column=name, of=None), (source.column,)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return (self.column,)

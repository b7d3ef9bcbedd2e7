"""Which negative rows are kept."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from recmtl.errors import SchemaError
from recmtl.schema.features import fields_of
from recmtl.schema.settings import settings

__all__ = ["ASample", "SampledNegatives"]


@settings(SchemaError)
class SampledNegatives:
    """A share of the rows on which the event of a task is known not to have happened.

    Attributes:
        name: the task; of a funnel's child the event with all before it.
        negatives: the share of its negative rows that are kept, by a hash of the row's number.
        seed: of the hash, the same for all tasks.
    """

    name: str
    negatives: Annotated[float, Field(gt=0, le=1)]
    seed: Annotated[int, Field(ge=0, le=2**32)] = 0


def _of_entry(value: Any) -> Any:
    """Sampled negatives, or the entry of a task as the values of their fields."""
    return fields_of(*value) if isinstance(value, tuple) else value


ASample = Annotated[SampledNegatives, BeforeValidator(_of_entry)]

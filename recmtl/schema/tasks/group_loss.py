"""A loss that compares the rows of a group with one another, beside that of each row alone."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from recmtl.errors import SchemaError
from recmtl.schema.settings import settings

__all__ = ["AGroupLoss", "GroupLoss", "GroupLossKind"]

GroupLossKind = Literal["pairwise", "listwise", "jrc"]


@settings(SchemaError)
class GroupLoss:
    """What a binary task learns from the order within a group; see `recmtl.model.heads.group_loss`.

    Attributes:
        kind: `pairwise` (RankNet), `listwise` (softmax cross-entropy) or `jrc` (joint optimisation
            of ranking and calibration).
        share: of this loss in the task's; the rest is the cross-entropy of each row, by which the
            scores stay probabilities.
    """

    kind: GroupLossKind
    share: Annotated[float, Field(gt=0, lt=1)] = 0.5


def _of_kind(value: Any) -> Any:
    """The short form of a loss that says only its kind."""
    return {"kind": value} if isinstance(value, str) else value


AGroupLoss = Annotated[GroupLoss, BeforeValidator(_of_kind)]

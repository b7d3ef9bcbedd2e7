"""What a task's head predicts of its label, where that is no plain class or value."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from recmtl.errors import SchemaError
from recmtl.schema.settings import settings

__all__ = ["FITTING_KINDS", "AHead", "Head", "HeadKind"]

HeadKind = Literal["ordinal", "ziln", "cread", "d2q", "poisson", "negative_binomial", "rank"]
FITTING_KINDS: Mapping[str, str] = {
    "ordinal": "multiclass",
    "ziln": "regression",
    "cread": "regression",
    "d2q": "regression",
    "poisson": "regression",
    "negative_binomial": "regression",
    "rank": "regression",
}
"""The kind of task that each head is for."""


@settings(SchemaError)
class Head:
    """A model of the label, whose parameters the head gives.

    Attributes:
        kind: for `multiclass` the `ordinal` one of cumulative logits; for `regression` `ziln`
            (zero-inflated log-normal), `cread` (classes of values), `d2q` (quantiles among rows
            of like duration), `poisson`, `negative_binomial`, or `rank`, the order within a group
            alone; see `recmtl.model.heads.labels`.
        quantiles: of `ziln`: the quantiles that are scored beside the mean, ascending.
        bins: of `cread`: the most thresholds.
        skew: of `cread`: 0 puts equally many rows between two thresholds; the larger it is, the
            more thresholds lie among large labels (alpha of the paper).
        duration: of `d2q`: the numeric feature that holds the duration.
        groups: of `d2q`: the most groups into which durations are divided.
        loss: of `rank`: `listwise`, in which the label is the gain of a row, or `pairwise`, in
            which only the order of the labels counts.
    """

    kind: HeadKind
    quantiles: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    bins: Annotated[int, Field(ge=2, le=512)] = 32
    skew: Annotated[float, Field(ge=0, le=50)] = 1.0
    duration: str | None = None
    groups: Annotated[int, Field(ge=1, le=512)] = 32
    loss: Literal["listwise", "pairwise"] = "listwise"

    def __post_init__(self) -> None:
        """Refuse options of another head, and quantiles in no order."""
        if self.quantiles and self.kind != "ziln":
            raise ValueError("quantiles are for kind: ziln only")
        if self.kind != "cread" and (self.bins, self.skew) != (32, 1.0):
            raise ValueError("bins and skew are for kind: cread only")
        if self.kind != "d2q" and (self.duration, self.groups) != (None, 32):
            raise ValueError("duration and groups are for kind: d2q only")
        if self.kind == "d2q" and self.duration is None:
            raise ValueError("kind: d2q needs duration: the numeric feature that holds it")
        if self.kind != "rank" and self.loss != "listwise":
            raise ValueError("loss is for kind: rank only")
        if list(self.quantiles) != sorted(set(self.quantiles)):
            raise ValueError("quantiles must ascend")


def _of_kind(value: Any) -> Any:
    """The short form of a head that says only its kind."""
    return {"kind": value} if isinstance(value, str) else value


AHead = Annotated[Head, BeforeValidator(_of_kind)]

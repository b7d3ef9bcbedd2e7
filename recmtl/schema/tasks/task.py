"""A task of the schema: one label to predict, on which rows, and how."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from recmtl.errors import SchemaError
from recmtl.schema.condition import RULES, AColumn, ALabel
from recmtl.schema.features import fields_of, renamed
from recmtl.schema.settings import settings
from recmtl.schema.tasks.group_loss import AGroupLoss
from recmtl.schema.tasks.head import FITTING_KINDS, AHead

__all__ = ["ATask", "TaskSpec"]

_TASK_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@settings(SchemaError)
class TaskSpec:
    """A task: one label to predict.

    Attributes:
        name: the task; an identifier, since it names the scored columns.
        kind: `binary`, `regression` or `multiclass`.
        label: the column that holds the label, or the rule that makes it, late or not.
        rows: the rows on which the label is defined; all if None.
        parent: the parent in a funnel: this label can be 1 only where the parent's is 1.
        weight: factor of this task's loss.
        transform: how the label of a regression is transformed before the loss.
        missing: what happens to a null, NaN or infinite label: an error, or the row is not used.
        focal: of a binary or multiclass task: exponent by which rows that are predicted well count
            less, `(1 - p)^focal` times the loss, p the probability of what happened; 0 for none.
        label_smoothing: of the same: share of a label that is spread evenly over all classes.
        sample_weight: the column that says what a row counts for this task, in its loss and its
            metrics, beside `roles.sample_weight`; 0 leaves the row out.
        group_loss: of a binary task: a loss that compares the rows of a group with one another.
        head: how the label is modelled; None for a class as it is, or a value by squared error.
    """

    name: str
    kind: Literal["binary", "regression", "multiclass"]
    label: ALabel
    rows: AColumn | None = None
    parent: str | None = None
    weight: Annotated[float, Field(gt=0, le=1e9)] = 1.0
    transform: Literal["none", "log1p"] = "none"
    missing: Literal["refuse", "ignore"] = "refuse"
    head: AHead | None = None
    focal: Annotated[float, Field(ge=0, le=10)] = 0.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    sample_weight: str | None = None
    group_loss: AGroupLoss | None = None

    def __post_init__(self) -> None:
        """Check what concerns this task alone."""
        if not _TASK_NAME.fullmatch(self.name):
            raise ValueError(
                "a task name is letters, digits and _, and does not begin with a digit"
            )
        if self.kind != "binary" and self.label.is_rule and not self.ranks:
            raise ValueError(f"a rule in label gives 0 and 1; kind: {self.kind} needs the value")
        if self.kind != "binary" and self.label.is_late:
            raise ValueError("only the label of a binary task can be late; drop time and window")
        if self.kind != "regression" and self.transform != "none":
            raise ValueError("transform is for kind: regression only")
        if self.head is not None and FITTING_KINDS[self.head.kind] != self.kind:
            kind = FITTING_KINDS[self.head.kind]
            raise ValueError(f"head {self.head.kind} is for kind: {kind}, not {self.kind}")
        if self.head is not None and self.transform != "none":
            raise ValueError(f"head {self.head.kind} models the label itself; drop transform")
        if self.focal or self.label_smoothing:
            self._check_loss()
        if self.group_loss is not None:
            self._check_group_loss()
        if self.kind != "binary" and self.parent is not None:
            raise ValueError("only a binary task can have a parent; drop parent")
        if self.parent is not None and self.rows is not None:
            raise ValueError("parent already says on which rows the task is defined; drop rows")
        if self.rows is not None and not self.rows.is_rule:
            raise ValueError(f"rows needs one of {', '.join(RULES)}")

    def _check_loss(self) -> None:
        if self.kind == "regression":
            raise ValueError("focal and label_smoothing are for binary and multiclass tasks")
        if self.focal and self.label_smoothing:
            raise ValueError("give focal or label_smoothing: one sharpens what the other blurs")
        if self.label.is_late:
            raise ValueError("a late label has a loss of its own; drop focal and label_smoothing")

    def _check_group_loss(self) -> None:
        if self.kind != "binary":
            raise ValueError("group_loss is for binary tasks")
        if self.label.is_late:
            raise ValueError("a late label has a loss of its own; drop group_loss")

    @property
    def ranks(self) -> bool:
        """Whether only the order of the scores within a group has a meaning."""
        return self.head is not None and self.head.kind == "rank"

    @property
    def judged_as(self) -> str:
        """The kind by which metrics are chosen: that of the task, or `rank`."""
        return "rank" if self.ranks else self.kind

    @property
    def quantiles(self) -> tuple[float, ...]:
        """The quantiles that are scored beside the value."""
        return () if self.head is None else self.head.quantiles


def _task(value: Any) -> Any:
    """A task, or the entry of one as the values of its fields."""
    if not isinstance(value, tuple):
        return value
    name, entry = value
    return fields_of(name, entry) if isinstance(entry, Mapping) else renamed(name, entry, TaskSpec)


ATask = Annotated[TaskSpec, BeforeValidator(_task)]

"""A task as its head sees it: kind, parent, and the label statistics that scale loss and bias."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from recmtl.data.columns.funnel import funnel_path
from recmtl.data.columns.labels import LabelStatistics
from recmtl.schema import GroupLoss, Head, Position, TaskSpec
from recmtl.schema.names import scored_columns

__all__ = ["HeadSpec", "head_specs", "output_columns"]


@dataclass(frozen=True)
class HeadSpec:
    """What a head needs to know of its task.

    Attributes:
        name: the task's name, part of its columns' names.
        kind: binary, regression or multiclass.
        parent: the task whose event comes before this one's in a funnel, or None.
        weight: factor of the task's loss.
        transform: `none`, or `log1p` of a regression label before it is standardised.
        mean: mean of the transformed label on train rows. For a binary label this is its rate; for
            a funnel child it is the rate of the joint event on the rows on which that is known.
        std: standard deviation of the transformed label on train rows.
        classes: names of a multiclass task's classes, in the order of the class indices.
        is_late: whether the event may come after the row, see `recmtl.schema.Label`.
        head: the model of the label, where it is no plain class or value.
        focal: exponent of the focal loss, see `focal_loss`.
        label_smoothing: share of a label that is spread over all classes in the loss.
        group_loss: of a binary task, the loss that compares the rows of a group.
        position: of a binary task without a parent, how places explain its label.
        numbers: what models of labels and biases of places start from, see
            `recmtl.model.heads.fit`.
        start_loss: mean loss on train rows of the constants at which that model starts.
    """

    name: str
    kind: Literal["binary", "regression", "multiclass"]
    parent: str | None = None
    weight: float = 1.0
    transform: str = "none"
    mean: float = 0.0
    std: float = 1.0
    classes: tuple[str, ...] = ()
    is_late: bool = False
    head: Head | None = None
    focal: float = 0.0
    label_smoothing: float = 0.0
    group_loss: GroupLoss | None = None
    position: Position | None = None
    numbers: Mapping[str, tuple[float, ...]] = field(default_factory=dict, hash=False)
    start_loss: float | None = None

    @property
    def size(self) -> int:
        """Number of logits."""
        if self.kind == "multiclass":
            return len(self.classes)
        kind = "" if self.head is None else self.head.kind
        sizes = {"ziln": 3, "negative_binomial": 2, "d2q": 2}
        return len(self.numbers["thresholds"]) if kind == "cread" else sizes.get(kind, 1)

    @property
    def products(self) -> int:
        """Numbers that the head's last product makes of a row, from which logits follow."""
        return 1 if self.head is not None and self.head.kind in ("ordinal", "d2q") else self.size

    @property
    def duration(self) -> str | None:
        """The numeric feature that the model of the label reads."""
        return None if self.head is None else self.head.duration

    @property
    def is_plain_value(self) -> bool:
        """Whether the only logit is the value itself, on the scale on which it was trained."""
        return self.kind == "regression" and self.head is None

    @property
    def loss_unit(self) -> float:
        """The loss of the best constant in the unit of this head's own loss."""
        if self.within is None:
            return self._unit_of_rows
        (_, share), (constant,) = self.within, self.numbers.get("group_loss", (1.0,))
        return (1.0 - share) * self._unit_of_rows + share * constant

    @property
    def ranks(self) -> bool:
        """Whether only the order of the scores within a group has a meaning."""
        return self.head is not None and self.head.kind == "rank"

    @property
    def within(self) -> tuple[str, float] | None:
        """The kind of the loss that compares the rows of a group, and its share; None without."""
        if self.head is not None and self.ranks:
            return self.head.loss, 1.0
        return None if self.group_loss is None else (self.group_loss.kind, self.group_loss.share)

    @property
    def _unit_of_rows(self) -> float:
        """The same of the loss of each row alone, which may be focal."""
        if not self.focal:
            return self.constant_loss
        if self.kind == "multiclass":
            return _focal(self.constant_loss, self.focal)
        rate = min(max(self.mean, 1e-6), 1.0 - 1e-6)
        shares = (rate, 1.0 - rate)
        return sum(share * _focal(-math.log(share), self.focal) for share in shares)

    @property
    def is_averaged(self) -> bool:
        """Whether a blend averages its logits: not the parameters of a distribution."""
        return self.kind != "regression" or self.is_plain_value

    @property
    def constant_loss(self) -> float:
        """Loss of the best constant prediction; 1 for a standardised regression label.

        Of a model that the schema names, the loss at which it starts.

        >>> round(HeadSpec("click", "binary", mean=0.5).constant_loss, 4)  # log 2
        0.6931
        """
        if self.start_loss is not None:
            return self.start_loss
        if self.kind == "regression":
            return 1.0
        if self.kind == "multiclass":
            return math.log(len(self.classes))
        rate = min(max(self.mean, 1e-6), 1.0 - 1e-6)
        return -rate * math.log(rate) - (1.0 - rate) * math.log(1.0 - rate)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the task's scored columns."""
        return scored_columns(self, self.classes)

    @property
    def quantiles(self) -> tuple[float, ...]:
        """The quantiles that have scored columns."""
        return () if self.head is None else self.head.quantiles

    def to_json(self) -> dict[str, Any]:
        """This head as JSON data, without what only other models of labels have."""
        plain = asdict(self)
        options = ("head", "group_loss", "position", "start_loss")
        absent = [name for name in options if plain[name] is None]
        absent += [name for name in ("focal", "label_smoothing") if not plain[name]]
        for name in absent if self.numbers else (*absent, "numbers"):
            del plain[name]
        return plain

    @staticmethod
    def from_json(raw: Mapping[str, Any]) -> "HeadSpec":
        """Read what `to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        read = {**raw, "classes": tuple(raw["classes"])}
        for name, kind in (("head", Head), ("group_loss", GroupLoss), ("position", Position)):
            if raw.get(name) is not None:
                read[name] = kind(**raw[name])
        numbers = raw.get("numbers", {}).items()
        read["numbers"] = {name: tuple(map(float, values)) for name, values in numbers}
        return HeadSpec(**read)


def head_specs(
    tasks: Sequence[TaskSpec],
    statistics: Mapping[str, LabelStatistics],
    position: Position | None = None,
) -> tuple[HeadSpec, ...]:
    """The heads of a schema's tasks, with label statistics of the train rows by task.

    Args:
        tasks: of the schema.
        statistics: by task.
        position: the schema's role.
    """
    return tuple(
        HeadSpec(
            task.name,
            task.kind,
            parent=task.parent,
            weight=task.weight,
            transform=task.transform,
            mean=_mean(task, tasks, statistics),
            std=statistics[task.name].std or 1.0,
            classes=tuple(str(label) for label in statistics[task.name].classes),
            is_late=task.label.is_late,
            head=task.head,
            focal=task.focal,
            label_smoothing=task.label_smoothing,
            group_loss=task.group_loss,
            position=position if task.kind == "binary" and task.parent is None else None,
        )
        for task in tasks
    )


def _mean(
    task: TaskSpec, tasks: Sequence[TaskSpec], statistics: Mapping[str, LabelStatistics]
) -> float:
    label = statistics[task.name]
    if task.parent is None or label.rows == statistics[task.parent].rows:
        return label.mean
    path = funnel_path(tasks, task)
    if label.given_parent is None:
        # A log of 0.1: labels are unknown where an event before did not happen.
        return label.positives / statistics[path[0].name].rows
    # Parent and child were not recorded on the same rows: only their ratio is free of the choice.
    return label.given_parent * _mean(path[-2], tasks, statistics)


def _focal(loss: float, exponent: float) -> float:
    return float((-math.expm1(-loss)) ** exponent * loss)


def output_columns(specs: Sequence[HeadSpec]) -> tuple[str, ...]:
    """The scored columns of all tasks, in task order."""
    return tuple(column for spec in specs for column in spec.columns)

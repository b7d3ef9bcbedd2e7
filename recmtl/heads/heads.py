"""One head a task on top of the grid's task lanes: logits, losses and scored columns."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from recmtl.grid.cost import Cost
from recmtl.grid.experts import StackedExperts
from recmtl.heads.funnel import joint_log_probability, joint_loss
from recmtl.heads.spec import HeadSpec, output_columns

__all__ = ["Heads"]


class Heads(nn.Module):
    """Task lanes `[B, T, D]` to one logit tensor `[B, size]` a task.

    All tasks' towers run as one batched product; heads of equal size share the last one.

    Args:
        specs: the tasks.
        width: features D of a task lane.
        tower: hidden widths between the lane and the logits.
    """

    def __init__(self, specs: Sequence[HeadSpec], *, width: int, tower: Sequence[int]) -> None:
        super().__init__()
        self.specs = tuple(specs)
        own = [(t, t) for t in range(len(self.specs))]
        self.tower = StackedExperts((width, *tower), own) if tower else None
        self.width, self.hidden = width, tuple(tower)
        last = tower[-1] if tower else width
        sizes = sorted({spec.size for spec in self.specs})
        self.groups = [[t for t, s in enumerate(self.specs) if s.size == size] for size in sizes]
        self.logits = nn.ModuleList(
            StackedExperts((last, size), list(enumerate(group)), last_activation=False)
            for size, group in zip(sizes, self.groups, strict=True)
        )
        self._start_at_base_rates()
        self.columns = output_columns(self.specs)

    def forward(self, lanes: Tensor) -> list[Tensor]:
        """The logits `[B, size]` of each task."""
        hidden = self.tower(lanes) if self.tower is not None else lanes
        logits: list[Tensor] = [hidden] * len(self.specs)
        for group, product in zip(self.groups, self.logits, strict=True):
            for position, outputs in zip(group, product(hidden).unbind(1), strict=True):
                logits[position] = outputs
        return logits

    def losses(self, logits: list[Tensor], labels: Tensor, weight: Tensor) -> Tensor:
        """Mean loss `[T]` of each task over the rows on which its label is defined.

        Labels are `[B, T]` with NaN where a task is not defined, weights `[B]`. A batch without
        any such row gives 0 and no gradient. A funnel child is trained on the entire space: its
        event did not happen where its parent did not, whether its own label is known there or not.
        """
        losses = []
        for position in range(len(self.specs)):
            label = self._label(position, labels)
            defined = ~torch.isnan(label)
            loss = self._loss(position, logits, torch.where(defined, label, 0.0))
            share = torch.where(defined, weight, 0.0)
            losses.append((loss * share).sum() / share.sum().clamp_min(1e-12))
        return torch.stack(losses)

    def loss_scale(self, balance: float) -> Tensor:
        """Factor `[T]` of each task's loss: `weight / constant_loss ** balance`."""
        return torch.tensor([spec.weight / spec.constant_loss**balance for spec in self.specs])

    def scores(self, logits: list[Tensor]) -> Tensor:
        """The scored columns `[B, len(columns)]`: probabilities, and regression values."""
        scores = [self._score(position, logits) for position in range(len(self.specs))]
        return torch.stack([column for columns in scores for column in columns], 1)

    def cost(self) -> Cost:
        """Parameters and multiply-adds an example."""
        parameters = sum(p.numel() for p in self.parameters())
        weights = [p.numel() for name, p in self.named_parameters() if "weights" in name]
        return Cost(parameters, sum(weights))

    def _parent(self, position: int) -> int | None:
        name = self.specs[position].parent
        return None if name is None else [spec.name for spec in self.specs].index(name)

    def _chain(self, position: int, logits: list[Tensor]) -> list[Tensor]:
        parent = self._parent(position)
        above = [] if parent is None else self._chain(parent, logits)
        return [*above, logits[position][:, 0]]

    def _label(self, position: int, labels: Tensor) -> Tensor:
        parent = self._parent(position)
        if parent is None:
            return labels[:, position]
        above = self._label(parent, labels)
        return torch.where(above == 1, labels[:, position], above)

    def _loss(self, position: int, logits: list[Tensor], label: Tensor) -> Tensor:
        spec, logit = self.specs[position], logits[position]
        if spec.kind == "multiclass":
            return functional.cross_entropy(logit, label.long(), reduction="none")
        if spec.kind == "regression":
            raw = torch.log1p(label) if spec.transform == "log1p" else label
            return (logit[:, 0] - (raw - spec.mean) / spec.std).square()
        if spec.parent is not None:
            return joint_loss(joint_log_probability(self._chain(position, logits)), label)
        return functional.binary_cross_entropy_with_logits(logit[:, 0], label, reduction="none")

    def _score(self, position: int, logits: list[Tensor]) -> list[Tensor]:
        spec, logit = self.specs[position], logits[position]
        if spec.kind == "multiclass":
            return list(logit.softmax(-1).unbind(1))
        if spec.kind == "regression":
            value = logit[:, 0] * spec.std + spec.mean
            return [torch.expm1(value) if spec.transform == "log1p" else value]
        own = torch.sigmoid(logit[:, 0])
        if spec.parent is None:
            return [own]
        return [own, torch.exp(joint_log_probability(self._chain(position, logits)))]

    @torch.no_grad()
    def _start_at_base_rates(self) -> None:
        rates = {s.name: s.mean for s in self.specs if s.kind == "binary"}
        for group, product in zip(self.groups, self.logits, strict=True):
            for number, position in enumerate(group):
                spec = self.specs[position]
                if spec.kind != "binary":
                    continue
                rate = spec.mean / max(rates[spec.parent], 1e-6) if spec.parent else spec.mean
                rate = min(max(rate, 1e-6), 1.0 - 1e-6)
                product.get_parameter("biases.0")[number].fill_(
                    torch.logit(torch.tensor(rate)).item()
                )

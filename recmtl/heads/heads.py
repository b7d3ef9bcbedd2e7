"""One head a task on top of the grid's task lanes: logits, losses and scored columns."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from recmtl.grid.cost import Cost
from recmtl.grid.experts import StackedExperts, some_lanes
from recmtl.heads.chain import ESMM, Chain
from recmtl.heads.funnel import Funnel, cross_entropy
from recmtl.heads.spec import HeadSpec, output_columns
from recmtl.heads.transfer import Transfer

__all__ = ["Heads"]


class Heads(nn.Module):
    """Task lanes `[B, T, D]` to one logit tensor `[B, size]` a task.

    All tasks' towers run as one batched product; heads of equal size share the last one.

    Args:
        specs: the tasks.
        width: features D of a task lane.
        tower: hidden widths between the lane and the logits.
        chain: what the children of a funnel take from their parents.
    """

    def __init__(
        self, specs: Sequence[HeadSpec], *, width: int, tower: Sequence[int], chain: Chain = ESMM
    ) -> None:
        super().__init__()
        self.specs, self.chain = tuple(specs), chain
        self.funnel = Funnel(self.specs, chain)
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
        self.transfer = self.imputation = None
        children = self.funnel.children
        if chain.transfer and children:
            self.transfer = Transfer(self.funnel.parents, width=last)
        if chain.counterfactual == "dr" and children:
            widths, reads = (width, *tower, 1), list(enumerate(children))
            self.imputation = StackedExperts(widths, reads, last_activation=False)
        self._scales: dict[tuple[float, torch.device], Tensor] = {}

    def forward(self, lanes: Tensor) -> list[Tensor]:
        """The logits `[B, size]` of each task.

        In training, the imputed error `[B, 1]` of each child of a funnel follows if the chain has
        such (ESCM2-DR): a tower of its own on the child's lane, and softplus.
        """
        hidden = self.tower(lanes) if self.tower is not None else lanes
        if self.transfer is not None:
            hidden = self.transfer(hidden)
        logits: list[Tensor] = [hidden] * len(self.specs)
        for group, product in zip(self.groups, self.logits, strict=True):
            for position, outputs in zip(group, product(hidden).unbind(1), strict=True):
                logits[position] = outputs
        if self.imputation is not None and self.training:
            logits += functional.softplus(self.imputation(lanes)).unbind(1)
        return logits

    def losses(self, logits: list[Tensor], labels: Tensor, weight: Tensor) -> Tensor:
        """Mean loss `[T]` of each task over the rows on which its label is defined.

        Labels are `[B, T]` with NaN where a task is not defined, weights `[B]`. A batch without
        any such row gives 0 and no gradient. A funnel child is trained on the entire space: its
        event did not happen where its parent did not, whether its own label is known there or not.
        In training its loss includes what the chain adds, a mean over the same rows.
        """
        happened = self.funnel.labels(labels)
        defined = ~torch.isnan(happened)
        losses = self._losses(logits, torch.where(defined, happened, 0.0), labels)
        share = torch.where(defined, weight.unsqueeze(1), 0.0)
        return (losses * share).sum(0) / share.sum(0).clamp_min(1e-12)

    def loss_scale(self, balance: float) -> Tensor:
        """Factor `[T]` of each task's loss: `weight / constant_loss ** balance`."""
        key = (balance, next(self.parameters()).device)
        if key not in self._scales:
            factors = [spec.weight / spec.constant_loss**balance for spec in self.specs]
            self._scales[key] = torch.tensor(factors, device=key[1])
        return self._scales[key]

    def scores(self, logits: list[Tensor]) -> Tensor:
        """The scored columns `[B, len(columns)]`: probabilities, and regression values."""
        scores = [self._score(position, logits) for position in range(len(self.specs))]
        return torch.stack([column for columns in scores for column in columns], 1)

    def cost(self) -> Cost:
        """Parameters, and multiply-adds of scoring an example: imputation is for training."""
        parameters = sum(p.numel() for p in self.parameters())
        weights = sum(
            p.numel()
            for name, p in self.named_parameters()
            if "weights" in name and not name.startswith("imputation")
        )
        transfer = self.transfer.multiply_adds if self.transfer is not None else 0
        return Cost(parameters, weights + transfer)

    def _losses(self, logits: list[Tensor], known: Tensor, labels: Tensor) -> Tensor:
        """The loss `[B, T]` of each row by its `known` label, of many tasks in one operation."""
        losses, own = dict[int, Tensor](), self.funnel.own
        if own:
            said = torch.cat([logits[position] for position in own], 1)
            found = cross_entropy(said, some_lanes(known, own)).unbind(1)
            losses = dict(zip(own, found, strict=True))
        for position in range(len(self.specs)):
            if position not in losses:
                losses[position] = self._loss(position, logits, known[:, position])
        for child in self.funnel.children if self.training else ():
            added = self.funnel.addition(child, logits, labels)
            if added is not None:
                losses[child] = losses[child] + added
        return torch.stack([losses[position] for position in range(len(self.specs))], 1)

    def _loss(self, position: int, logits: list[Tensor], label: Tensor) -> Tensor:
        spec, logit = self.specs[position], logits[position]
        if spec.kind == "multiclass":
            return functional.cross_entropy(logit, label.long(), reduction="none")
        if spec.kind == "regression":
            raw = torch.log1p(label) if spec.transform == "log1p" else label
            return (logit[:, 0] - (raw - spec.mean) / spec.std).square()
        return self.funnel.loss(position, logits, label)

    def _score(self, position: int, logits: list[Tensor]) -> list[Tensor]:
        spec, logit = self.specs[position], logits[position]
        if spec.kind == "multiclass":
            return list(logit.softmax(-1).unbind(1))
        if spec.kind == "regression":
            value = logit[:, 0] * spec.std + spec.mean
            return [torch.expm1(value) if spec.transform == "log1p" else value]
        return self.funnel.scores(position, logits)

    @torch.no_grad()
    def _start_at_base_rates(self) -> None:
        for group, product in zip(self.groups, self.logits, strict=True):
            for number, position in enumerate(group):
                if self.specs[position].kind == "binary":
                    # On the CPU whatever the default device: its value is needed here.
                    rate = torch.tensor(self.funnel.base_rate(position), device="cpu")
                    product.get_parameter("biases.0")[number].fill_(torch.logit(rate).item())

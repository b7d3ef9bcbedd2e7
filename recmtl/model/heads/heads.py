"""The heads of tables: task lanes to logits, losses and scored columns, and AITM's transfer."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from recmtl.data.batches import Labels
from recmtl.grid.cost import Cost
from recmtl.grid.experts import StackedExperts, select_lanes
from recmtl.model.heads.fit import label_model
from recmtl.model.heads.funnel import ESMM, Chain, Funnel, cross_entropy, focal_loss
from recmtl.model.heads.group_loss import GroupLosses
from recmtl.model.heads.labels import LabelModel
from recmtl.model.heads.late import LateHead, LateLabels
from recmtl.model.heads.position import PositionBias
from recmtl.model.heads.spec import HeadSpec, output_columns

__all__ = ["TabularHeads", "Transfer"]


class TabularHeads(nn.Module):
    """Task lanes `[B, T, D]` to one logit tensor `[B, size]` a task.

    The towers of all tasks run as one batched product, and so do the last products of all heads
    with equally many logits.

    Args:
        specs: the tasks.
        width: features D of a task lane.
        tower: hidden widths between the lane and the logits.
        chain: how the children of a funnel depend on their parents.
        late: how labels whose windows are open are learnt; unknown ones are not.
        numbers: names of a row's numbers, among them those that models of labels read.

    Attributes:
        columns: names of the scored columns, in task order.
    """

    def __init__(
        self,
        specs: Sequence[HeadSpec],
        *,
        width: int,
        tower: Sequence[int],
        chain: Chain = ESMM,
        late: LateLabels = "unknown",
        numbers: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.specs, self.chain = tuple(specs), chain
        self.funnel = Funnel(self.specs, chain)
        lane_of_task = [(t, t) for t in range(len(self.specs))]
        self.tower = StackedExperts((width, *tower), lane_of_task) if tower else None
        self.width, self.hidden = width, tuple(tower)
        last = tower[-1] if tower else width
        sizes = sorted({spec.products for spec in self.specs})
        self.groups = [
            [t for t, s in enumerate(self.specs) if s.products == size] for size in sizes
        ]
        self.logits = nn.ModuleList(
            StackedExperts((last, size), list(enumerate(group)), last_activation=False)
            for size, group in zip(sizes, self.groups, strict=True)
        )
        self._models = tuple(None if s.kind == "binary" else label_model(s) for s in self.specs)
        models = {str(t): model for t, model in enumerate(self._models) if model is not None}
        self.labels = nn.ModuleDict(models)
        self.read_numbers = dict(_read_numbers(self.specs, numbers))
        self._start_at_base_rates()
        self.columns = output_columns(self.specs)
        self.transfer = self.imputation = None
        children = self.funnel.children
        if chain.transfer and children:
            self.transfer = Transfer(self.funnel.parents, width=last)
        if chain.counterfactual == "dr" and children:
            widths, reads = (width, *tower, 1), list(enumerate(children))
            self.imputation = StackedExperts(widths, reads, last_activation=False)
        self.late = None
        positions = [t for t, spec in enumerate(specs) if spec.is_late]
        if late != "unknown" and positions:
            self.late = LateHead(positions, late, width=width, tower=tower)
        has_places = any(spec.position is not None for spec in self.specs)
        self.position = PositionBias(self.specs) if has_places else None
        self.within = GroupLosses(self.specs, last) if any(s.within for s in specs) else None
        self._focal = [t for t, spec in enumerate(self.specs) if spec.focal]
        self._smooth = [
            t for t, spec in enumerate(self.specs) if spec.kind == "binary" and spec.label_smoothing
        ]
        self._scales: dict[tuple[float, torch.device], Tensor] = {}

    def forward(self, lanes: Tensor, numeric: Tensor | None = None) -> list[Tensor]:
        """The logits `[B, size]` of each task, of lanes and of the rows' numbers `[B, N]`.

        Without numbers the logits of models that read one are their products alone.

        With ESCM2-DR, in training, the imputed error `[B, 1]` of each funnel child follows: the
        softplus of a tower of its own on the child's lane; then JRC's second product `[B, 1]` of
        each task that has it. With a loss of late labels, in training, the log rate `[B, 1]` of
        each late task comes last.
        """
        hidden = self.tower(lanes) if self.tower is not None else lanes
        if self.transfer is not None:
            hidden = self.transfer(hidden)
        logits: list[Tensor] = [hidden] * len(self.specs)
        for group, product in zip(self.groups, self.logits, strict=True):
            for position, outputs in zip(group, product(hidden).unbind(1), strict=True):
                model = self.label_model(position)
                logits[position] = outputs if model is None else model.logits(outputs)
        if numeric is not None:
            for position, column in self.read_numbers.items():
                number = numeric[:, column : column + 1]
                logits[position] = torch.cat([logits[position], number], 1)
        if self.imputation is not None and self.training:
            logits += functional.softplus(self.imputation(lanes)).unbind(1)
        if self.within is not None and self.training:
            logits += self.within(hidden)
        if self.late is not None and self.training:
            logits += self.late(lanes)
        return logits

    def losses(self, logits: list[Tensor], labels: Labels, weight: Tensor) -> Tensor:
        """Mean loss `[T]` of each task over the rows on which its label is defined.

        A funnel child is trained on the entire space: its event did not happen where its parent's
        did not, whether or not its own label is known there. In training its loss includes the
        second loss of the chain, a mean over the same rows.

        Args:
            logits: from `forward`.
            labels: `[B, T]`, NaN where a task is not defined. A batch without any defined row of a
                task gives 0 and no gradient. Beside them stand the place of the row `[B, 1]`, if
                the schema names it, and what is known of late labels `[B, 2 L]`; with a loss within
                groups, the number of the row's group `[B, 1]` last, NaN without one.
            weight: of each row `[B]`, or for each task `[B, T]`.
        """
        if not isinstance(labels, Tensor):
            raise TypeError(f"labels of a table are one tensor, not {len(labels)} of them")
        labels, member = self._split_member(labels)
        happened = self._happened(labels)
        labels, place, waits = self._beside(labels)
        if self.position is not None and place.shape[1]:
            logits = self.position.at(logits, place[:, 0])
        defined = ~torch.isnan(happened)
        weight = _by_task(weight)
        beside = None if member is None else (weight.expand(-1, len(self.specs)), member)
        losses = self._losses(logits, happened, labels, waits, beside)
        share = torch.where(defined, weight, 0.0)
        total = share.sum(0)
        return (losses * share).sum(0) / torch.where(total > 0, total, 1.0)

    def label_weights(self, labels: Labels, weight: Tensor) -> Tensor:
        """Weight `[T]` of the rows on which each task's label is defined; see `losses`."""
        if not isinstance(labels, Tensor):
            raise TypeError(f"labels of a table are one tensor, not {len(labels)} of them")
        defined = ~torch.isnan(self._happened(self._split_member(labels)[0]))
        return torch.where(defined, _by_task(weight), 0.0).sum(0)

    def _split_member(self, labels: Tensor) -> tuple[Tensor, Tensor | None]:
        """Labels with what stands beside them, and the numbers of the groups, if they are used."""
        return (labels, None) if self.within is None else (labels[:, :-1], labels[:, -1])

    def _beside(self, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Labels `[B, T]`, places `[B, 1]` or none, and what is known of late labels `[B, 2 L]`."""
        tasks = len(self.specs)
        places = (labels.shape[1] - tasks) % 2
        return (
            labels[:, :tasks],
            labels[:, tasks : tasks + places],
            labels[:, tasks + places :],
        )

    def _happened(self, labels: Tensor) -> Tensor:
        """Labels `[B, T]` on the entire space, in training with what was seen of late ones."""
        labels, _, waits = self._beside(labels)
        happened = self.funnel.labels(labels)
        if self.late is None or not self.training or not waits.shape[1]:
            return happened
        return self.late.seen(happened, waits)

    def loss_scale(self, balance: float) -> Tensor:
        """Factor `[T]` of each task's loss: `weight / loss_unit ** balance`."""
        key = (balance, next(self.parameters()).device)
        if key not in self._scales:
            factors = [spec.weight / spec.loss_unit**balance for spec in self.specs]
            self._scales[key] = torch.tensor(factors, device=key[1])
        return self._scales[key]

    def scores(self, logits: list[Tensor]) -> Tensor:
        """The scored columns `[B, len(columns)]`: probabilities and regression values."""
        scores = [self._score(position, logits) for position in range(len(self.specs))]
        return torch.stack([column for columns in scores for column in columns], 1)

    def label_model(self, position: int) -> LabelModel | None:
        """The model of a task's label; None of binary tasks, which the funnel relates."""
        return self._models[position]

    def cost(self) -> Cost:
        """Parameters, and multiply-adds of scoring; only training imputes errors or delays."""
        parameters = sum(p.numel() for p in self.parameters())
        weights = sum(
            p.numel()
            for name, p in self.named_parameters()
            if "weights" in name and not name.startswith(("imputation", "late", "within"))
        )
        transfer = self.transfer.multiply_adds if self.transfer is not None else 0
        return Cost(parameters, weights + transfer)

    def _losses(
        self,
        logits: list[Tensor],
        happened: Tensor,
        labels: Tensor,
        waits: Tensor,
        beside: tuple[Tensor, Tensor] | None,
    ) -> Tensor:
        """The loss `[B, T]` of each row and task; all direct binary tasks in one operation.

        `happened` are the labels on the entire space, `beside` weights and groups of the rows.
        """
        targets = self._smoothed(torch.where(happened.isnan(), 0.0, happened))
        losses, direct = dict[int, Tensor](), self.funnel.direct
        if direct:
            direct_logits = torch.cat([logits[position] for position in direct], 1)
            entropies = cross_entropy(direct_logits, select_lanes(targets, direct)).unbind(1)
            losses = dict(zip(direct, entropies, strict=True))
        for position in range(len(self.specs)):
            if position not in losses:
                losses[position] = self._loss(position, logits, targets[:, position])
        if self.late is not None and self.training and waits.shape[1]:
            losses |= self.late.losses(self.funnel, logits, targets, waits)
        for position in self._focal:
            losses[position] = focal_loss(losses[position], self.specs[position].focal)
        if self.within is not None and beside is not None:
            scores = {t: self._ranked_by(t, logits) for t in self.within.tasks}
            middles = self._middles(logits)
            losses |= self.within.added(losses, scores, middles, happened, beside)
        for child in self.funnel.children if self.training else ():
            second_loss = self.funnel.addition(child, logits, labels)
            if second_loss is not None:
                losses[child] = losses[child] + second_loss
        return torch.stack([losses[position] for position in range(len(self.specs))], 1)

    def _ranked_by(self, position: int, logits: list[Tensor]) -> Tensor:
        """The score `[B]` by which a task's rows are compared."""
        is_score = self.specs[position].ranks
        return logits[position][:, 0] if is_score else self.funnel.log_odds(position, logits)

    def _middles(self, logits: list[Tensor]) -> list[Tensor]:
        """JRC's second products among what `forward` gave; none outside of training."""
        if self.within is None or not self.training:
            return []
        first = len(self.specs) + (len(self.funnel.children) if self.imputation is not None else 0)
        return logits[first : first + len(self.within.joint)]

    def _smoothed(self, targets: Tensor) -> Tensor:
        """Targets `[B, T]` in which the labels of some binary tasks are nearer to a half."""
        if not self._smooth:
            return targets
        columns = list(targets.unbind(1))
        for position in self._smooth:
            share = self.specs[position].label_smoothing
            columns[position] = columns[position] * (1.0 - share) + 0.5 * share
        return torch.stack(columns, 1)

    def _loss(self, position: int, logits: list[Tensor], label: Tensor) -> Tensor:
        model = self.label_model(position)
        if model is not None:
            return model.loss(logits[position], label)
        return self.funnel.loss(position, logits, label)

    def _score(self, position: int, logits: list[Tensor]) -> list[Tensor]:
        model, logit = self.label_model(position), logits[position]
        if model is not None:
            return model.scores(logit)
        if self.funnel.parents[position] is None:
            return [torch.sigmoid(logit[:, 0])]
        return self.funnel.scores(position, logits)

    @torch.no_grad()
    def _start_at_base_rates(self) -> None:
        for group, product in zip(self.groups, self.logits, strict=True):
            for number, position in enumerate(group):
                # On the CPU even if the default device is another: the value is read here.
                model, cpu = self.label_model(position), torch.device("cpu")
                if model is None:
                    rate = torch.tensor(self.funnel.base_rate(position), device=cpu)
                    start = torch.tensor([torch.logit(rate).item()], device=cpu)
                else:
                    start = torch.tensor(model.start, device=cpu)
                biases = product.get_parameter("biases.0")[number]
                biases.copy_(start.view_as(biases))


def _by_task(weight: Tensor) -> Tensor:
    """Weights `[B]` of rows as `[B, 1]`; those of each task `[B, T]` as they are."""
    return weight if weight.dim() == 2 else weight.unsqueeze(1)


def _read_numbers(specs: Sequence[HeadSpec], numbers: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Of each task whose model reads a number its position, and the number's among `numbers`."""
    for position, spec in enumerate(specs):
        name = spec.duration
        if name is not None and name not in numbers:
            raise ValueError(f"a head reads the number {name!r}, rows have {', '.join(numbers)}")
        if name is not None:
            yield position, numbers.index(name)


class Transfer(nn.Module):
    """AITM's transfer (KDD 2021): mixes the features of a task's parent into the task's own.

    One module for each child t, with its parent called t - 1:

        z_1 = q_1,  p_{t-1} = g(z_{t-1}),  z_t = sum_{u in {p_{t-1}, q_t}} w_u h1(u),
        w_u = softmax_u(<h2(u), h3(u)> / sqrt(k))

    As in the authors' code, g is a linear layer with ReLU, and h1, h2, h3 are linear layers without
    bias. Our readings: g has no dropout, and the steps of a longer chain share no module. A task
    without a parent keeps its features.

    Args:
        parents: for each task the position of its parent, or None.
        width: features k of a task.
    """

    def __init__(self, parents: Sequence[int | None], *, width: int) -> None:
        super().__init__()
        self.width = width
        self.parents = {child: p for child, p in enumerate(parents) if p is not None}
        self.order = sorted(self.parents, key=self._depth)  # parents before their children
        self.steps = nn.ModuleDict({str(child): _Step(width) for child in self.order})

    def forward(self, features: Tensor) -> Tensor:
        """Features `[B, T, k]` to features `[B, T, k]`, from the first event to the last."""
        by_task = list(features.unbind(1))
        for child in self.order:
            by_task[child] = self.steps[str(child)](by_task[self.parents[child]], by_task[child])
        return torch.stack(by_task, 1)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds an example: g once, h1 to h3 twice each, two dot products, one sum."""
        return len(self.order) * (7 * self.width**2 + 4 * self.width)

    def _depth(self, task: int) -> int:
        return 1 + self._depth(self.parents[task]) if task in self.parents else 0


class _Step(nn.Module):
    """The features of a parent and of its child, `[B, k]` each, to new ones of the child."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.g = nn.Linear(width, width)
        nn.init.zeros_(self.g.bias)
        self.h1, self.h2, self.h3 = (nn.Linear(width, width, bias=False) for _ in range(3))

    def forward(self, parent: Tensor, child: Tensor) -> Tensor:
        both = torch.stack([torch.relu(self.g(parent)), child], 1)
        agreement = (self.h2(both) * self.h3(both)).sum(-1) / math.sqrt(child.shape[-1])
        mixed: Tensor = (agreement.softmax(1).unsqueeze(-1) * self.h1(both)).sum(1)
        return mixed

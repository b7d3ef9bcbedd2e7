"""What each feature added to a prediction: integrated gradients over a network's input lanes."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recmtl.grid import SharingGrid, row_use
from recmtl.grid.gates import FeatureGate
from recmtl.grid.network import GridLayer
from recmtl.model import BlendedModel, TabularModel

__all__ = ["Attributed", "Attribution", "integrated_gradients"]


def integrated_gradients(
    function: Callable[[Tensor], Tensor], inputs: Tensor, base: Tensor, *, steps: int
) -> Tensor:
    """Contributions `[B, T, *F]` of inputs `[B, *F]` to the values `[B, T]` of a function.

    Sundararajan, Taly and Yan, ICML 2017, "Axiomatic attribution for deep networks", equation 1:
    `IG_i = (x_i - x'_i) * integral over a in 0..1 of dF/dx_i at x' + a (x - x')`. Contributions
    sum to `F(x) - F(x')` (completeness). The integral is a midpoint sum, which leaves a gap that
    falls with the square of the number of steps.

    >>> inputs, base = torch.tensor([[2.0, 3.0]]), torch.zeros(1, 2)
    >>> integrated_gradients(lambda x: x.prod(1, keepdim=True), inputs, base, steps=1)
    tensor([[[3., 3.]]])

    Args:
        function: maps `[B, *F]` to `[B, T]`, each row by itself.
        inputs: the rows.
        base: where the path to every row begins, `[1, *F]` or `[B, *F]`.
        steps: midpoints on the path, at least 1.
    """
    total = inputs.new_zeros(())
    for step in range(steps):
        share = (step + 0.5) / steps
        point = (base + share * (inputs - base)).detach().requires_grad_()
        values = function(point).sum(0)
        slopes = [torch.autograd.grad(v, point, retain_graph=True)[0] for v in values]
        total = total + torch.stack(slopes, 1)
    return total / steps * (inputs - base).unsqueeze(1)


@dataclass(frozen=True)
class Attributed:
    """Some rows of a model, explained for T of its tasks.

    Attributes:
        chosen: `[B, T]`, which of its task's scored columns is explained.
        predicted: `[B, T]`, see `Attribution.predictions`.
        base: `[B, T]`, the prediction for a row about which nothing is known.
        contributions: `[B, T, F]`, in the order of `Attribution.features`.
        shares: `[B, T, E]`, shares of experts; of a blend those of its first network.
        skipped: `[B, T, L]`, shares of skipped layers; likewise.
    """

    chosen: Tensor
    predicted: Tensor
    base: Tensor
    contributions: Tensor
    shares: Tensor
    skipped: Tensor


class Attribution:
    """Attributes a model's predictions to its features, measured from a row without knowledge.

    A blend is explained as one function of all that its members read: the lanes of each network,
    and the logits of the forests as they are.

    Args:
        model: in evaluation mode.
        tasks: positions of the tasks, T of them.
        unknown: encoded ids `[1, I]` of the row about which nothing is known.
        base: its numbers `[1, N]`; by default all are missing.
        forest: names of the forests' fields, whose logits come last in the rows of a blend.

    Attributes:
        features: names of the features to which predictions are attributed.
    """

    def __init__(
        self,
        model: TabularModel,
        tasks: Sequence[int],
        *,
        unknown: Tensor,
        base: Tensor | None = None,
        forest: Sequence[str] = (),
    ) -> None:
        self.model, self.tasks = model, list(tasks)
        self.networks = [model]
        if isinstance(model, BlendedModel):
            self.networks = list(model.used_networks)
            forest = forest[: model.fields]
        else:
            forest = ()
        self.grids = [_differentiable(network.grid) for network in self.networks]
        fields = model.encoder.encoding.fields
        self.features = (*fields, *(name for name in forest if name not in fields))
        self._forest = [self.features.index(name) for name in forest]
        self._numbers = model.encoder.encoding.numeric_columns
        if base is None:
            kind = next(model.encoder.parameters()).dtype
            base = torch.full((1, self._numbers), torch.nan, dtype=kind)
        with torch.no_grad():
            self.base = self._point(unknown, base)

    def attribute(self, ids: Tensor, numeric: Tensor, *, steps: int) -> Attributed:
        """Attribute rows of encoded ids `[B, I]` and numbers `[B, N]`, with `steps` midpoints."""
        with torch.no_grad():
            rows = self._point(ids, numeric)
            base = self.base.expand_as(rows)
            chosen = self._chosen(self._logits(rows))
            predicted = self.predictions(self._logits(rows), chosen)
            base_prediction = self.predictions(self._logits(base), chosen)
            lanes = self.model.encoder(ids, numeric[:, : self._numbers])
            use = row_use(self.model.grid, lanes)

        def function(point: Tensor) -> Tensor:
            return self.predictions(self._logits(point), chosen)

        by_number = integrated_gradients(function, rows, base, steps=steps)
        shares, skipped = use.experts[:, self.tasks], use.skipped[:, self.tasks]
        contributions = self._by_feature(by_number)
        return Attributed(chosen, predicted, base_prediction, contributions, shares, skipped)

    def _point(self, ids: Tensor, numeric: Tensor) -> Tensor:
        """All that the members read of rows `[B, D]`: lanes, one after another, then logits."""
        numbers = self._numbers
        lanes = [n.encoder.embedded(ids, numeric[:, :numbers]).flatten(1) for n in self.networks]
        return torch.cat([*lanes, numeric[:, numbers : numbers + len(self._forest)]], 1)

    def _parts(self, point: Tensor) -> tuple[Tensor, ...]:
        """Lanes `[..., S * width]` of each network and logits of the forests, of `[..., D]`."""
        widths = [n.encoder.num_lanes * n.encoder.width for n in self.networks]
        return torch.split(point, [*widths, len(self._forest)], -1)

    def _by_feature(self, contributions: Tensor) -> Tensor:
        """Contributions `[B, T, D]` of numbers to those of features `[B, T, F]`."""
        *of_networks, of_forest = self._parts(contributions)
        total = contributions.new_zeros(*contributions.shape[:2], len(self.features))
        for network, lanes in zip(self.networks, of_networks, strict=True):
            by_field = network.encoder.by_field(lanes)
            total[..., : by_field.shape[-1]] += by_field
        for place, column in zip(self._forest, of_forest.unbind(-1), strict=True):
            total[..., place] += column
        return total

    def predictions(self, logits: Sequence[Tensor], chosen: Tensor) -> Tensor:
        """Each task's prediction `[B, T]` on an unbounded scale, on which contributions add up.

        Binary: the log odds of its event (given its parent's, in a funnel of conditionals).
        Others: what the model of the label says, see `LabelModel.explained`; log odds of the
        chosen class, or the value as it was trained (log1p where the schema says so), the log of
        the mean of a ZILN or a count; `LabelModel.scale` names it.
        """
        values = []
        for task, logit, column in zip(self.tasks, logits, chosen.T, strict=True):
            model = self.model.heads.label_model(task)
            values.append(logit[:, 0] if model is None else model.explained(logit, column))
        return torch.stack(values, 1)

    def _logits(self, point: Tensor) -> list[Tensor]:
        *of_networks, of_forest = self._parts(point)
        logits: list[list[Tensor]] = []
        for network, grid, numbers in zip(self.networks, self.grids, of_networks, strict=True):
            lanes = numbers.reshape(len(point), network.encoder.num_lanes, -1)
            logits.append(network.heads(grid(network.encoder.with_interactions(lanes))))
        outputs = logits[0] if logits else []
        if isinstance(self.model, BlendedModel):
            outputs = self.model.blended(self._members(logits, of_forest))
        return [outputs[task] for task in self.tasks]

    def _members(self, logits: list[list[Tensor]], of_forest: Tensor) -> list[list[Tensor]]:
        """The logits of all members of a blend, with nothing for those without a weight."""
        blend, used = self.model, iter(logits)
        if not isinstance(blend, BlendedModel):
            return logits
        members = [
            next(used) if is_used else []
            for _, is_used in zip(blend.networks, blend.is_used, strict=False)
        ]
        return members if blend.forest is None else [*members, blend.forest_logits(of_forest)]

    def _chosen(self, logits: Sequence[Tensor]) -> Tensor:
        """The column of the most probable class; for a funnel's child that of its logit."""
        joint_chain = self.model.heads.chain.child == "joint"
        columns = []
        for task, logit in zip(self.tasks, logits, strict=True):
            head = self.model.heads.specs[task]
            is_joint = joint_chain and head.parent is not None
            winner = logit.argmax(1) if head.kind == "multiclass" else logit.new_zeros(len(logit))
            columns.append(winner.long() + int(is_joint))
        return torch.stack(columns, 1)


def _differentiable(grid: SharingGrid) -> SharingGrid:
    """The grid, or a copy that lets gradients through where training stops them."""
    stops = [part for part in grid.modules() if getattr(part, "detaches", False)]
    if not stops:
        return grid
    free = copy.deepcopy(grid)
    for part in free.modules():
        if isinstance(part, GridLayer | FeatureGate):
            part.detaches = False
    return free

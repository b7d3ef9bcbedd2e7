"""What each feature added to a prediction: integrated gradients over a network's input lanes."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recmtl.grid import SharingGrid, row_use
from recmtl.model import TabularModel

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
        contributions: `[B, T, F]`, in the order of the encoding's fields.
        shares: `[B, T, E]`, shares of experts.
        skipped: `[B, T, L]`, shares of skipped layers.
    """

    chosen: Tensor
    predicted: Tensor
    base: Tensor
    contributions: Tensor
    shares: Tensor
    skipped: Tensor


class Attribution:
    """Attributes a model's predictions to its features, measured from a row without knowledge.

    Args:
        model: in evaluation mode.
        tasks: positions of the tasks, T of them.
        unknown: encoded ids `[1, I]` of the row about which nothing is known.
        base: its numbers `[1, N]`; by default all are missing.
    """

    def __init__(
        self,
        model: TabularModel,
        tasks: Sequence[int],
        *,
        unknown: Tensor,
        base: Tensor | None = None,
    ) -> None:
        self.model, self.tasks = model, list(tasks)
        self.grid = _differentiable(model.grid)
        ramps = model.encoder.ramps
        if base is None:
            base = torch.full((1, len(ramps)), torch.nan, dtype=ramps.dtype)
        with torch.no_grad():
            self.base = model.encoder(unknown, base)

    def attribute(self, ids: Tensor, numeric: Tensor, *, steps: int) -> Attributed:
        """Attribute rows of encoded ids `[B, I]` and numbers `[B, N]`, with `steps` midpoints."""
        with torch.no_grad():
            lanes = self.model.encoder(ids, numeric)
            base = self.base.expand_as(lanes)
            chosen = self._chosen(self._logits(lanes))
            predicted = self.predictions(self._logits(lanes), chosen)
            base_prediction = self.predictions(self._logits(base), chosen)
            use = row_use(self.model.grid, lanes)

        def function(point: Tensor) -> Tensor:
            return self.predictions(self._logits(point), chosen)

        contributions = integrated_gradients(function, lanes, base, steps=steps)
        by_field = (*contributions.shape[:3], -1, self.model.encoder.lane_size)
        contributions = contributions.view(by_field).sum((2, 4))
        shares, skipped = use.experts[:, self.tasks], use.skipped[:, self.tasks]
        return Attributed(chosen, predicted, base_prediction, contributions, shares, skipped)

    def predictions(self, logits: Sequence[Tensor], chosen: Tensor) -> Tensor:
        """Each task's prediction `[B, T]` on an unbounded scale, on which contributions add up.

        Binary: the log odds of its event (given its parent's, in a funnel of conditionals).
        Multiclass: the log odds of the chosen class against all others. Regression: the value on
        the scale on which it was trained (log1p where the schema says so).
        """
        values = []
        for task, logit, column in zip(self.tasks, logits, chosen.T, strict=True):
            head = self.model.heads.specs[task]
            if head.kind == "multiclass":
                winner = column.unsqueeze(1)
                others = logit.scatter(1, winner, -torch.inf).logsumexp(1)
                values.append(logit.gather(1, winner)[:, 0] - others)
            else:
                value = logit[:, 0]
                values.append(value * head.std + head.mean if head.kind == "regression" else value)
        return torch.stack(values, 1)

    def _logits(self, lanes: Tensor) -> list[Tensor]:
        logits = self.model.heads(self.grid(lanes))
        return [logits[task] for task in self.tasks]

    def _chosen(self, logits: Sequence[Tensor]) -> Tensor:
        """The column of the most probable class; for a funnel's child that of its logit."""
        joint_chain = self.model.heads.chain.child == "joint"
        columns = []
        for task, logit in zip(self.tasks, logits, strict=True):
            is_joint = joint_chain and self.model.heads.specs[task].parent is not None
            columns.append(logit.argmax(1) + int(is_joint))
        return torch.stack(columns, 1)


def _differentiable(grid: SharingGrid) -> SharingGrid:
    """The grid, or a copy that lets gradients through where training stops them (STEM)."""
    layers = [grid.layer(depth) for depth in range(len(grid.layers))]
    if not any(layer.detaches for layer in layers):
        return grid
    free = copy.deepcopy(grid)
    for depth in range(len(layers)):
        free.layer(depth).detaches = False
    return free

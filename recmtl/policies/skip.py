"""Which lanes run in which layer: AdaShare's select-or-skip policy."""

from itertools import combinations
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from recmtl.grid.layout import Layer, Layout
from recmtl.grid.routes import Decision
from recmtl.policies.policy import Choice, Policy

__all__ = ["SkipPolicy", "SkipVariant"]

SkipVariant = Literal["paper", "code"]


class SkipPolicy(Policy):
    """Two logits a lane and layer, (run, skip), for lanes that have a shortcut.

    Source: AdaShare (Sun et al., NeurIPS 2020). The losses of the paper and of its published code
    differ; both are here. Let `a[l, k]` be the probability that lane k of layer l runs, L the
    number of layers that may skip (l = 0 is the lowest), and let sums over i, j count each pair of
    lanes once (AdaShare's lanes are the tasks):

    ========  ================================  ===============================================
    variant   sparsity                          sharing
    ========  ================================  ===============================================
    `paper`   `sum_lk log a[l,k]`               `sum_l (L-l)/L sum_ij abs(a[l,i] - a[l,j])`
    `code`    `sum_k mean_l -log(1 - a[l,k])`   `sum_l (l+1)/L sum_ij abs(z[l,i] - z[l,j])`
    ========  ================================  ===============================================

    `z` are the raw logits of running. The paper shares low layers, the code high ones. The paper's
    sparsity has no lower bound: it is 0 where everything runs and falls from there. The code's
    sparsity tends to 0 where everything skips. While only the last n layers are open, the code's
    sparsity is the mean over those layers, and its sharing covers all layers; in the paper's losses
    a shut layer has `a = 1`, because it always runs. Numbering l from 0 is our reading.

    Args:
        layout: the search space.
        start: initial log odds of running; AdaShare starts at 0 (p = 0.5).
        hard: whether a draw either runs or skips (straight-through), or mixes both softly as in
            AdaShare's code. The most probable choice is always hard.
        variant: whose losses, the paper's or the code's.
        sparsity: weight of the sparsity term.
        sharing: weight of the sharing term.
    """

    def __init__(
        self,
        layout: Layout,
        *,
        start: float = 0.0,
        hard: bool = True,
        variant: SkipVariant = "paper",
        sparsity: float = 0.0,
        sharing: float = 0.0,
    ) -> None:
        super().__init__(layout)
        self.variant, self.sparsity, self.sharing = variant, sparsity, sharing
        self.skips = nn.ModuleDict()
        for depth, layer in enumerate(layout.layers):
            if any(lane is not None for lane in layer.shortcut):
                logits = torch.tensor([start, 0.0]).repeat(layer.num_lanes, 1)
                draw: Literal["straight_through", "soft"] = "straight_through" if hard else "soft"
                self.skips[str(depth)] = Choice(logits, _allowed(layer), draw=draw)
        self.depths = tuple(int(depth) for depth in self.skips)
        self.opened = self.depths

    def open_layers(self, count: int) -> None:
        """Decide in the last `count` layers that may skip; the others run (AdaShare)."""
        self.opened = self.depths[max(0, len(self.depths) - count) :]

    def decide(self, depth: int, temperature: float | None) -> Decision:
        """The decision of one layer; a route policy decides the query of a searched layer."""
        full = super().decide(depth, temperature)
        query = torch.ones_like(full.query) if self.layout.layers[depth].searched else full.query
        if depth not in self.opened:
            return Decision(full.keep, query, full.run)
        run: Tensor = self.skips[str(depth)](temperature)[:, 0]
        return Decision(full.keep, query, run.unsqueeze(0))

    def run_probability(self, depth: int) -> Tensor:
        """Probability `[K]` that a lane of a layer with shortcuts runs."""
        return self._choice(depth).probabilities()[:, 0]

    def penalty(self) -> Tensor:
        """The weighted sparsity and sharing terms of the variant."""
        total = super().penalty()
        if self.sparsity:
            total = total + self.sparsity * self._sparsity()
        return total + self.sharing * self._sharing() if self.sharing else total

    def _sparsity(self) -> Tensor:
        terms = [self._log_run_and_skip(depth) for depth in self.opened]
        if not terms:
            return self.get_buffer("zero")
        if self.variant == "paper":
            return torch.stack([run.sum() for run, _ in terms]).sum()
        return torch.stack([-skip.sum() for _, skip in terms]).mean()

    def _sharing(self) -> Tensor:
        total, count = self.get_buffer("zero"), len(self.depths)
        for number, depth in enumerate(self.depths):
            if self.variant == "paper" and depth not in self.opened:
                continue  # every lane runs, so all pairs agree
            free = self._free(depth)
            pairs = torch.tensor(list(combinations(range(len(free)), 2)), dtype=torch.long)
            logits = self._choice(depth).logits[free]
            value = logits.softmax(-1)[:, 0] if self.variant == "paper" else logits[:, 0]
            weight = (count - number if self.variant == "paper" else number + 1) / count
            first, second = pairs.view(-1, 2).unbind(-1)
            total = total + weight * (value[first] - value[second]).abs().sum()
        return total

    def _log_run_and_skip(self, depth: int) -> tuple[Tensor, Tensor]:
        """Log-probabilities of running and of skipping, for the lanes that may skip."""
        run, skip = self._choice(depth).logits[self._free(depth)].unbind(-1)
        return functional.logsigmoid(run - skip), functional.logsigmoid(skip - run)

    def _free(self, depth: int) -> list[int]:
        """The lanes that may run and may skip."""
        allowed = self._choice(depth).get_buffer("allowed").all(-1)
        return [lane for lane, both in enumerate(allowed.tolist()) if both]

    def _choice(self, depth: int) -> Choice:
        return cast(Choice, self.skips[str(depth)])  # a ModuleDict forgets the type


def _allowed(layer: Layer) -> Tensor:
    """`[K, 2]`, whether a lane may run and may skip."""
    run = [bool(edges) for edges in layer.edges]
    return torch.tensor([run, [lane is not None for lane in layer.shortcut]]).t()

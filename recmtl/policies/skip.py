"""Which lanes run in which layer: AdaShare's select-or-skip policy."""

import torch
from torch import Tensor, nn

from recmtl.grid.layout import Layout
from recmtl.grid.routes import Decision, full_decision
from recmtl.policies.relaxation import choose

__all__ = ["SkipPolicy"]


class SkipPolicy(nn.Module):
    """Two logits a lane and layer, (run, skip), for lanes that have a shortcut.

    AdaShare (Sun et al., NeurIPS 2020, section 3): in training a choice is drawn with
    Gumbel-softmax, here straight-through.

    Args:
        layout: the search space.
        start: initial log odds of running; AdaShare starts at 0 (p = 0.5).
    """

    def __init__(self, layout: Layout, *, start: float = 0.0) -> None:
        super().__init__()
        self.layout = layout
        self.logits = nn.ParameterDict()
        for depth, layer in enumerate(layout.layers):
            if any(lane is not None for lane in layer.shortcut):
                logits = torch.tensor([start, 0.0]).repeat(layer.num_lanes, 1)
                self.logits[str(depth)] = nn.Parameter(logits)

    def forward(self, temperature: float | None) -> list[Decision]:
        """Decisions of every layer: drawn at a temperature, or the most probable (None)."""
        return [self._decide(depth, temperature) for depth in range(len(self.layout.layers))]

    def run_probability(self, depth: int) -> Tensor:
        """Probability `[K]` that a lane of a layer with shortcuts runs."""
        logits: Tensor = self.logits[str(depth)]
        return logits.softmax(-1)[:, 0]

    def _decide(self, depth: int, temperature: float | None) -> Decision:
        layer = self.layout.layers[depth]
        full = full_decision(layer)
        undecided = torch.ones_like(full.query)
        if str(depth) not in self.logits:
            return Decision(full.keep, undecided, full.run)
        run = choose(self.logits[str(depth)], temperature)[:, 0]
        always = torch.tensor([lane is None for lane in layer.shortcut])
        return Decision(full.keep, undecided, torch.where(always, 1.0, run).unsqueeze(0))

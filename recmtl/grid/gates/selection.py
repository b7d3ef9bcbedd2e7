"""Gates that select a few experts for each example: DSelect-k, as gates of the one rule."""

import torch
from torch import Tensor, nn

from recmtl.grid.layout import Layer
from recmtl.grid.routes import Decision
from recmtl.ranks import batch_mean

__all__ = ["SelectionGate", "smooth_step"]

START = 0.01
"""Largest bit, either side of 0, with which a selector starts: all experts about equally likely."""


class SelectionGate(nn.Module):
    """`gate[b,k,:] = sum_s softmax(a_s) r(z_s)`: s selectors, each of which picks an expert.

    DSelect-k (Hazimeh et al., NeurIPS 2021, section 2, the gate of an example). A selector has a
    number z for each bit of an expert's code; `r(z)_e` is the product over the bits of `S(z)` where
    the code of e has a 1, and of `1 - S(z)` where it has a 0, with the smooth step S. S is exactly
    0 or 1 beyond a half, so that in the end a selector gives one expert all weight and the others
    none. z and a are a linear map of the input. An entropy of the r's is added to the loss, so that
    selectors decide (`penalty`).

    Readings: the width of the smooth step is 1; a code beyond the number of edges stands for the
    edge of its remainder, where the paper adds a penalty; weights of kept edges are renormalised,
    so that dropping an edge is as for a softmax.
    """

    def __init__(self, layer: Layer, *, input_width: int) -> None:
        super().__init__()
        selection = layer.selection
        if selection is None:
            raise ValueError("a selection gate needs a selection")
        self.num_lanes, self.selectors, self.bits = layer.num_lanes, selection.count, selection.bits
        shape = (self.num_lanes, self.selectors, self.bits + 1)
        linear = nn.Linear(input_width, shape[0] * shape[1] * shape[2])
        nn.init.zeros_(linear.weight)
        nn.init.uniform_(linear.bias, -START, START)
        self.linears = nn.ModuleList([linear])
        codes = torch.arange(2**self.bits)
        bit_of = (codes.unsqueeze(1) >> torch.arange(self.bits)) & 1
        self.register_buffer("is_one", bit_of.bool(), persistent=False)
        stands_for = torch.zeros(self.num_lanes, 2**self.bits, len(layer.applications))
        for lane, edges in enumerate(layer.edges):
            places, count = selection.places[lane], selection.counts[lane]
            for place, edge in zip(places, edges, strict=True):
                stands_for[lane, codes % count == place, edge] = 1.0
        self.register_buffer("stands_for", stands_for, persistent=False)
        self.entropy: Tensor | None = None

    is_one: Tensor
    stands_for: Tensor

    def forward(self, lanes: Tensor, source: Tensor, decision: Decision) -> Tensor:
        """Weights `[B, K, A]` for the grid's input `[B, D_in]`."""
        mapped = self.linears[0](source).view(-1, self.num_lanes, self.selectors, self.bits + 1)
        picked = self._picked(smooth_step(mapped[..., :-1]))
        if self.training:
            terms = -picked * picked.clamp_min(1e-30).log()
            self.entropy = batch_mean(terms.sum((1, 2, 3)))
        share = torch.softmax(mapped[..., -1], -1).unsqueeze(2)
        of_codes = torch.matmul(share, picked).squeeze(2)
        weights = torch.einsum("bkc,kca->bka", of_codes, self.stands_for) * decision.keep
        return weights / weights.sum(-1, keepdim=True).clamp_min(1e-30)

    def penalty(self) -> Tensor:
        """Mean over the last training batch of the selectors' entropies; 0 before the first."""
        return self.stands_for.new_zeros(()) if self.entropy is None else self.entropy

    def _picked(self, ones: Tensor) -> Tensor:
        """Of bits `[B, K, s, m]` the weight that each selector gives each code, `[B, K, s, C]`."""
        weights = ones.new_ones(())
        for bit in range(self.bits):
            share = ones[..., bit : bit + 1]
            weights = weights * torch.where(self.is_one[:, bit], share, 1.0 - share)
        return weights


def smooth_step(number: Tensor) -> Tensor:
    """0 up to -1/2, 1 from 1/2 on, and between them the cubic that joins both smoothly.

    >>> smooth_step(torch.tensor([-2.0, -0.5, 0.0, 0.5, 2.0])).tolist()
    [0.0, 0.0, 0.5, 1.0, 1.0]
    """
    within = number.clamp(-0.5, 0.5)
    return -2.0 * within**3 + 1.5 * within + 0.5

"""Experts with weights of their own, run together as batched products."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Carry", "StackedExperts"]


class Carry(nn.Module):
    """Experts that do nothing: applications' outputs `[B, A, *F]` are the lanes that they read."""

    def __init__(self, applications: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.reads = [lane for _, lane in applications]

    def forward(self, lanes: Tensor) -> Tensor:
        """Map lanes `[B, S, *F]` to `[B, A, *F]`."""
        return lanes if self.reads == list(range(lanes.shape[1])) else lanes[:, self.reads]


class StackedExperts(nn.Module):
    """Equal multi-layer perceptrons applied to lanes: `[B, S, D]` to `[B, A, width]`.

    All experts of a layer are one batched product a depth; where every application reads the same
    lane the first product is one wide matrix. Each product is followed by ReLU and dropout.

    Args:
        widths: input width, hidden widths, output width.
        applications: (expert, lane) pairs; equal experts may read several lanes.
        dropout: share of activations dropped in training, after every hidden product.
        last_activation: whether the last product is followed by ReLU too.
    """

    def __init__(
        self,
        widths: Sequence[int],
        applications: Sequence[tuple[int, int]],
        *,
        dropout: float = 0.0,
        last_activation: bool = True,
    ) -> None:
        super().__init__()
        num_experts = len({expert for expert, _ in applications})
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for fan_in, fan_out in pairwise(widths):
            bound = math.sqrt(6.0 / fan_in)  # He et al. 2015, for ReLU
            weight = torch.empty(num_experts, fan_in, fan_out).uniform_(-bound, bound)
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.zeros(num_experts, 1, fan_out)))
        self.dropout = dropout
        self.last_activation = last_activation
        experts = [expert for expert, _ in applications]
        self.experts = None if experts == list(range(num_experts)) else experts
        self.reads = [lane for _, lane in applications]
        self.width = widths[-1]

    def forward(self, lanes: Tensor) -> Tensor:
        """Map lanes `[B, S, D]` to the applications' outputs `[B, A, width]`."""
        if not self.reads:
            return lanes.new_zeros(len(lanes), 0, self.width)
        hidden = self._first(lanes)
        for depth in range(1, len(self.weights)):
            hidden = self._activate(hidden, depth - 1)
            bias, weight = self._of(self.biases, depth), self._of(self.weights, depth)
            hidden = torch.baddbmm(bias, hidden, weight)
        return self._activate(hidden, len(self.weights) - 1).transpose(0, 1)

    def _of(self, stack: nn.ParameterList, depth: int) -> Tensor:
        tensor: Tensor = stack[depth]
        return tensor if self.experts is None else tensor[self.experts]

    def _first(self, lanes: Tensor) -> Tensor:
        weight, bias = self._of(self.weights, 0), self._of(self.biases, 0)
        if len(set(self.reads)) > 1:
            return torch.baddbmm(bias, lanes[:, self.reads].transpose(0, 1), weight)
        wide = weight.transpose(0, 1).reshape(weight.shape[1], -1)
        product = torch.addmm(bias.reshape(-1), lanes[:, self.reads[0]], wide)
        return product.view(len(lanes), len(self.reads), -1).transpose(0, 1)

    def _activate(self, hidden: Tensor, depth: int) -> Tensor:
        if depth + 1 == len(self.weights) and not self.last_activation:
            return hidden
        hidden = functional.relu(hidden)
        return functional.dropout(hidden, self.dropout, self.training) if self.dropout else hidden

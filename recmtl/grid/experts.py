"""Experts for tables, run together as batched products, and the selection of lanes that they read.

`StackedExperts` holds all experts of one layer; `Carry` stands for a layer that has none and only
mixes lanes. Experts for images are in `recmtl.grid.convolution_experts`. `dropout` is that of a
CPU: its random numbers cost an eighth of the library's.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from recmtl.grid import fused
from recmtl.grid.layout import ExpertKind
from recmtl.ranks import draw

__all__ = ["Carry", "StackedExperts", "dropout", "pooled_features", "select_lane", "select_lanes"]

CROSSING_START = 0.03
"""The second product of a crossing starts at this share of the usual size, so that a crossing
begins almost as the identity."""


class Carry(nn.Module):
    """Experts that do nothing: applications' outputs `[B, A, *F]` are the lanes that they read."""

    def __init__(self, applications: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self.reads = [lane for _, lane in applications]

    def forward(self, lanes: Tensor) -> Tensor:
        """Map lanes `[B, S, *F]` to `[B, A, *F]`."""
        return select_lanes(lanes, self.reads)

    def needed_outputs(self, lanes: Tensor, needed: Tensor, passed: Tensor | None = None) -> Tensor:
        """As `forward`: leaving rows out would save nothing."""
        return self.forward(lanes)


class StackedExperts(nn.Module):
    """Equal experts applied to lanes: `[B, S, D]` to `[B, A, width]`.

    All experts of a layer are one batched product a depth. If every application reads the same
    lane, the first product is one wide matrix; an expert that several lanes share is one product
    over their rows. ReLU and dropout follow each product, but see `kind`.

    Args:
        widths: those around the products: of the input, hidden ones, of the output.
        applications: (expert, lane) pairs; one expert may read several lanes.
        kind: `mlp`; `residual`, relu(x + products(x)); `linear`, one product without a bias;
            `cross`, crossings of low rank `h <- x * ((h U + a) V + b) + h` from h = x on, then one
            product (DCN-V2, Wang et al., WWW 2021, eq. 1 and 2). Reading: no deep part beside or
            behind it, one term a crossing and no nonlinearity in it; V starts near zero.
        dropout: share of activations dropped in training, after every hidden product.
        last_activation: whether ReLU also follows the last product of an `mlp`.

    Attributes:
        takes_linear_map: whether `with_linear_map` serves these experts.
    """

    def __init__(
        self,
        widths: Sequence[int],
        applications: Sequence[tuple[int, int]],
        *,
        kind: ExpertKind = "mlp",
        dropout: float = 0.0,
        last_activation: bool = True,
    ) -> None:
        super().__init__()
        self.kind, self.dropout, self.width = kind, dropout, widths[-1]
        self.last_activation = last_activation and kind == "mlp"
        self.numbers = [expert for expert, _ in applications]
        self.reads = [lane for _, lane in applications]
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        self._draw_weights(widths, num_experts=len(set(self.numbers)))

        # Applications expert by expert, so that the lanes of one expert are rows of one product.
        self.order = sorted(range(len(self.numbers)), key=lambda a: (self.numbers[a], a))
        self.back = [self.order.index(a) for a in range(len(self.numbers))]
        self.in_order = self.back == sorted(self.back)
        counts = set(Counter(self.numbers).values())
        self.lanes_each = counts.pop() if len(counts) == 1 else 0  # 0: they differ
        reads_one = len(set(self.reads)) == 1 and self.lanes_each == 1
        self.takes_linear_map = reads_one and kind == "mlp" and self.in_order and self._is_active(0)
        self._path: Callable[[StackedExperts, Tensor], Tensor] = StackedExperts._gathered
        if reads_one and kind in ("mlp", "cross"):
            self._path = StackedExperts._on_one_lane
        elif self.lanes_each:
            self._path = StackedExperts._grouped

    def _draw_weights(self, widths: Sequence[int], *, num_experts: int) -> None:
        # He et al. 2015; half of their variance where no ReLU follows.
        gain = 3.0 if self.kind in ("linear", "cross") else 6.0
        for depth, (fan_in, fan_out) in enumerate(pairwise(widths)):
            widens = self.kind == "cross" and depth % 2 == 1
            bound = math.sqrt(gain / fan_in) * (CROSSING_START if widens else 1.0)
            weight = torch.empty(num_experts, fan_in, fan_out).uniform_(-bound, bound)
            self.weights.append(nn.Parameter(weight))
            if self.kind != "linear":
                self.biases.append(nn.Parameter(torch.zeros(num_experts, 1, fan_out)))

    def forward(self, lanes: Tensor) -> Tensor:
        """Map lanes `[B, S, D]` to the applications' outputs `[B, A, width]`."""
        if not self.reads:
            return lanes.new_zeros(len(lanes), 0, self.width)
        if torch.compiler.is_exporting() or (self.kind == "cross" and self.training):
            return self._one_by_one(lanes)
        outputs = self._path(self, lanes)
        return outputs if self.in_order else outputs[:, self.back]

    def with_linear_map(self, lanes: Tensor, linear: nn.Module) -> tuple[Tensor, Tensor]:
        """As `forward`, and what a linear map makes of the one lane that is read, `[B, L]`.

        For experts that say `takes_linear_map`, on lanes that `fused.is_supported`.
        """
        linear_map = linear.get_parameter("weight"), linear.get_parameter("bias")
        lane, inner = select_lane(lanes, self.reads[0]), self._is_inner(0)
        hidden, mapped = fused.wide(lane, self.weights[0], self.biases[0], linear_map, inner=inner)
        return self._deeper(self._dropped(hidden), None).transpose(0, 1), mapped

    def needed_outputs(self, lanes: Tensor, needed: Tensor, passed: Tensor | None = None) -> Tensor:
        """As `forward` where `needed` `[B, A]` is true; elsewhere nothing is computed, and 0."""
        outputs = lanes.new_zeros(len(lanes), len(self.reads), self.width)
        reads = torch.tensor(self.reads, device=lanes.device)
        for expert in set(self.numbers):
            served = [a for a, number in enumerate(self.numbers) if number == expert]
            rows, which = needed[:, served].nonzero(as_tuple=True)
            if len(rows):
                applications = torch.tensor(served, device=lanes.device)[which]
                computed = self._run(lanes[rows, reads[applications]].unsqueeze(0), [expert])
                outputs[rows, applications] = computed[0]
        return outputs

    def _one_by_one(self, lanes: Tensor) -> Tensor:
        """As `forward`, each application by itself.

        For runtimes that fuse product, bias and ReLU, but not those of a batch of matrices; and
        for crossings, which are as wide as what they read: those of one expert stay in caches.
        """
        each = lanes.unbind(1)
        pairs = zip(self.numbers, self.reads, strict=True)
        return torch.stack([self._run(each[lane], expert) for expert, lane in pairs], 1)

    def _on_one_lane(self, lanes: Tensor) -> Tensor:
        """Outputs `[B, A, width]`, expert by expert, of experts that all read the same lane."""
        lane = select_lane(lanes, self.reads[0])
        if self.kind == "mlp" and self.training:
            return self._deeper(self._first_depth(lane), None).transpose(0, 1)
        rows = lane.expand(len(self.reads), *lane.shape)  # no copies
        return self._run(rows, None).transpose(0, 1)

    def _grouped(self, lanes: Tensor) -> Tensor:
        """Outputs `[B, A, width]`, expert by expert; each expert serves equally many lanes."""
        experts, each, batch = len(self.reads) // self.lanes_each, self.lanes_each, len(lanes)
        rows = select_lanes(lanes, [self.reads[a] for a in self.order])
        if each == 1:  # without copies
            return self._run(rows.transpose(0, 1), None).transpose(0, 1)
        rows = rows.reshape(batch, experts, each, -1).permute(1, 0, 2, 3).flatten(1, 2)
        outputs = self._run(rows, None).view(experts, batch, each, -1)
        return outputs.permute(1, 0, 2, 3).flatten(1, 2)

    def _gathered(self, lanes: Tensor) -> Tensor:
        """Outputs `[B, A, width]`, expert by expert; a copy of an expert for each of its lanes."""
        rows = lanes[:, [self.reads[a] for a in self.order]].transpose(0, 1)
        return self._run(rows, sorted(self.numbers)).transpose(0, 1)

    def _first_depth(self, lane: Tensor) -> Tensor:
        """The first depth `[A, B, hidden]` on one lane `[B, D]`: one matrix for all experts."""
        weight: Tensor = self.weights[0]
        bias: Tensor = self.biases[0]
        if torch.is_grad_enabled() and self._is_active(0) and fused.is_supported(lane):
            return self._dropped(fused.wide(lane, weight, bias, inner=self._is_inner(0))[0])
        matrix = weight.transpose(0, 1).reshape(weight.shape[1], -1)
        hidden = self._activated(torch.addmm(bias.reshape(-1), lane, matrix), 0)
        return hidden.view(len(lane), len(self.reads), -1).transpose(0, 1)

    def _run(self, rows: Tensor, experts: list[int] | int | None) -> Tensor:
        """Rows `[G, N, D]`, one group an expert (all experts: None), to `[G, N, width]`.

        Rows `[N, D]` of a single expert map to `[N, width]`.
        """
        if self.kind == "cross":
            return self._product(self._crossed(rows, experts), len(self.weights) - 1, experts)
        outputs = self._deeper(self._depth(rows, 0, experts), experts)
        return functional.relu(rows + outputs) if self.kind == "residual" else outputs

    def _crossed(self, rows: Tensor, experts: list[int] | int | None) -> Tensor:
        """Rows `[G, N, D]` after all crossings."""
        crossed = rows
        for depth in range(0, len(self.weights) - 1, 2):
            narrow = self._product(crossed, depth, experts)
            crossed = torch.addcmul(crossed, rows, self._product(narrow, depth + 1, experts))
        return crossed

    def _deeper(self, hidden: Tensor, experts: list[int] | int | None) -> Tensor:
        """The depths after the first."""
        for depth in range(1, len(self.weights)):
            hidden = self._depth(hidden, depth, experts)
        return hidden

    def _depth(self, rows: Tensor, depth: int, experts: list[int] | int | None) -> Tensor:
        """One depth: its product, ReLU and dropout."""
        trains = torch.is_grad_enabled() and not isinstance(experts, int)
        if not (trains and self._is_active(depth) and fused.is_supported(rows)):
            return self._activated(self._product(rows, depth, experts), depth)
        weight: Tensor = self.weights[depth]
        bias: Tensor = self.biases[depth]
        if experts is not None:
            weight, bias = weight[experts], bias[experts]
        return self._dropped(fused.dense(rows, weight, bias, inner=self._is_inner(depth)))

    def _product(self, rows: Tensor, depth: int, experts: list[int] | int | None) -> Tensor:
        weight: Tensor = self.weights[depth]
        weight = weight if experts is None else weight[experts]
        if self.kind == "linear":
            return torch.matmul(rows, weight)
        bias: Tensor = self.biases[depth]
        product = torch.addmm if isinstance(experts, int) else torch.baddbmm
        return product(bias if experts is None else bias[experts], rows, weight)

    def _activated(self, product: Tensor, depth: int) -> Tensor:
        """ReLU and dropout of the product of a depth, if they follow."""
        if not self._is_active(depth):
            return product
        return self._dropped(product.relu_())  # in place: nothing else needs the product

    def _dropped(self, hidden: Tensor) -> Tensor:
        return dropout(hidden, self.dropout) if self.dropout and self.training else hidden

    def _is_active(self, depth: int) -> bool:
        """Whether ReLU follows the product of a depth: not every last one."""
        return self._is_inner(depth) or self.last_activation

    def _is_inner(self, depth: int) -> bool:
        """Whether the output of a depth goes into another depth and nowhere else."""
        return depth < len(self.weights) - 1


def select_lanes(lanes: Tensor, which: list[int]) -> Tensor:
    """Lanes `[B, len(which), *F]` of `[B, S, *F]`; no copy of all lanes in order, or of one lane.

    >>> select_lanes(torch.tensor([[5, 6, 7]]), [2, 0])
    tensor([[7, 5]])
    """
    if which == list(range(lanes.shape[1])):
        return lanes
    if len(set(which)) == 1:
        lane = lanes[:, which[0] : which[0] + 1]
        return lane.expand(-1, len(which), *lane.shape[2:])
    return lanes[:, which]


def select_lane(lanes: Tensor, which: int) -> Tensor:
    """Lane `[B, *F]` of lanes `[B, S, *F]`; the gradient of an only lane is not copied."""
    return lanes.squeeze(1) if lanes.shape[1] == 1 else lanes[:, which]


def pooled_features(lanes: Tensor) -> Tensor:
    """Features `[B, S, C]` of lanes `[B, S, *F]` for gates: an image's pixels are averaged."""
    return lanes.flatten(3).mean(-1) if lanes.dim() > 3 else lanes


def dropout(hidden: Tensor, share: float) -> Tensor:
    """Set a random share of the activations to 0 and scale the others so that the mean stays.

    The share is rounded to the nearest 1/256: a random byte decides each activation, where
    `torch.nn.functional.dropout` draws a number of its own for each. Rows lie along the axis before
    the last.
    """
    dropped = round(share * 256)

    def draw_bytes(shape: Sequence[int]) -> Tensor:
        words = -(-math.prod(shape) // 8)
        drawn = torch.empty(words, dtype=torch.int64, device=hidden.device)
        drawn.random_(torch.iinfo(torch.int64).min, None)
        return drawn.view(torch.uint8)[: math.prod(shape)].view(*shape)

    kept = draw(hidden.shape, -2, draw_bytes) >= dropped
    return hidden * (kept.to(hidden.dtype) * (256.0 / (256 - dropped)))

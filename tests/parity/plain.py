"""What the plain models share: experts and gates written out, and what "equal" means."""

from collections.abc import Sequence

import torch
from torch import Tensor

from recmtl.grid import Decision, Layout, SharingGrid, full_decision

TASKS = 3


def products(grid: SharingGrid, depth: int, number: int, x: Tensor) -> Tensor:
    """`W_n relu(... relu(W_1 x + b_1) ...) + b_n` with the weights of one expert."""
    stack = grid.layer(depth).experts
    for level, (weight, bias) in enumerate(zip(stack.weights, stack.biases, strict=True)):
        x = torch.relu(x) if level else x
        x = x @ weight[number] + bias[number, 0]
    return x


def expert(grid: SharingGrid, depth: int, number: int, x: Tensor) -> Tensor:
    """`relu(products(x))`, or of a cross expert `crossed(x)`."""
    if grid.layout.layers[depth].experts == "cross":
        return crossed(grid, depth, number, x)
    return torch.relu(products(grid, depth, number, x))


def crossed(grid: SharingGrid, depth: int, number: int, x: Tensor) -> Tensor:
    """`h W + c` after crossings `h <- x * ((h U + a) V + b) + h` from h = x on (DCN-V2)."""
    stack, h = grid.layer(depth).experts, x
    pairs = [(w[number], b[number, 0]) for w, b in zip(stack.weights, stack.biases, strict=True)]
    while len(pairs) > 1:
        (u, a), (v, b), *pairs = pairs
        h = x * ((h @ u + a) @ v + b) + h
    return h @ pairs[0][0] + pairs[0][1]


def mixture(gate: Tensor, outputs: list[Tensor]) -> Tensor:
    """Sum of experts' outputs `[B, D]`, weighted by a softmax over `[B, E]`."""
    share = torch.softmax(gate, 1)
    return sum(share[:, [e]] * output for e, output in enumerate(outputs))


def gate_logits(
    grid: SharingGrid, depth: int, lane: int, seen: Tensor, *, source: int, among: Sequence[int]
) -> Tensor:
    """`W x + b` `[B, E]` of a lane's gate over some applications; x is what it sees of `source`."""
    gate = grid.layer(depth).gate
    gate = getattr(gate, "gate", gate)  # beside own experts heard again stands the gate proper
    found = [gate.logit(source, lane, application) for application in among]
    return torch.stack([seen @ weight + bias for weight, bias in found], 1)


def drawn(layout: Layout, seed: int, *, rows: int = 1) -> tuple[list[Decision], list[Tensor]]:
    """Decisions anywhere in 0..1, ends included, where a policy has a say; and those tensors."""
    torch.manual_seed(seed)
    decisions, leaves = [], []
    for layer in layout.layers:
        full = full_decision(layer)
        keep, run = full.keep.double(), full.run.double()
        if layer.searched:
            leaves.append(_relaxed(keep.shape).requires_grad_())
            keep = keep * leaves[-1]
        if any(source is not None for source in layer.shortcut):
            leaves.append(run := _relaxed((rows, layer.num_lanes)).requires_grad_())
        decisions.append(Decision(keep, full.query.double(), run))
    return decisions, leaves


def _relaxed(shape: Sequence[int]) -> Tensor:
    return torch.empty(shape, dtype=torch.float64).uniform_(-0.3, 1.3).clamp(0.0, 1.0)


def assert_equal_with_gradients(
    grid: SharingGrid,
    lanes: Tensor,
    got: Tensor,
    want: Tensor,
    *,
    decided: Sequence[Tensor] = (),
) -> None:
    """Equal values, and equal gradients of a random projection.

    Gradients for the input, for every weight, and for what a policy decided.
    """
    assert got.shape == want.shape
    torch.testing.assert_close(got, want, rtol=0, atol=1e-10)
    probe = torch.randn_like(got)
    inputs = [lanes, *grid.parameters(), *decided]
    gradients = [
        torch.autograd.grad((y * probe).sum(), inputs, materialize_grads=True, retain_graph=True)
        for y in (got, want)
    ]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-10)
    assert all(gradient.abs().max() > 0 for gradient in gradients[0][:2])
    assert all(gradient.abs().max() > 0 for gradient in gradients[0][len(inputs) - len(decided) :])

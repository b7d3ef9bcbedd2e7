"""Whether the experts of a network are used, differ and live: what can go wrong with a mixture.

HoME (KDD 2025) names the failures: experts whose outputs are almost all zeros, experts that serve a
single task, experts that no task uses. `measure_health` measures them on a sample of rows, together
with how undecided the gates are, how alike the experts are and how fast their use changes.
`expert_warnings` says in sentences what is wrong. Its thresholds are ours except for HoME's of dead
experts; they lie so far from what a working mixture does that a warning is worth reading.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from recmtl.grid.expert_usage import expert_names, expert_use, live_lanes, reachable_experts
from recmtl.grid.experts import StackedExperts, pooled_features
from recmtl.grid.layout import Layout
from recmtl.grid.network import GridLayer, SharingGrid

__all__ = [
    "COLLAPSED",
    "DEAD",
    "IDENTICAL",
    "STARVED",
    "ExpertHealth",
    "expert_warnings",
    "linear_cka",
    "measure_health",
]

SIMILARITY_ROWS = 512
"""Rows on which outputs are compared; the work grows with their square."""
DIGITS = 6
"""Decimals of every number of an `ExpertHealth`."""
COLLAPSED = 0.95
"""A task has collapsed onto an expert with this share of a layer, if it can reach several there."""
DEAD = 0.9
"""An expert is dead if more than this share of its units is 0 on every row (HoME's 90 %)."""
IDENTICAL = 0.999
"""Experts of a layer are identical if their outputs have more than this linear CKA. It is so close
to 1 because CKA weighs directions by their variance: outputs that vary mostly along one direction
reach 0.99 in networks that work."""
STARVED = 0.1
"""An expert is starved if every task gives it less than this part of an equal share."""


@dataclass(frozen=True)
class ExpertHealth:
    """The experts of one network on a sample of rows; plain numbers, ready for JSON.

    Attributes:
        use: `[T, E]`, share of each expert (`expert_names`) in what a task uses. The shares of a
            layer sum to at most 1, the rest is skipped. Free scalars count by their size.
        entropy: `[T]`, mean entropy of the gates that a task depends on, as a share of that of
            equal weights: 1 is undecided, 0 uses one edge. None if no gate has a choice.
        similarity: for each layer that has experts the linear CKA `[n, n]` of their outputs.
        dead: `[E]`, share of units that are 0 on every row, in the worst depth of an expert: one
            depth of zeros makes the output a constant.
        drift: `[T]`, mean absolute change of `use` since the last measurement; None at first.
    """

    use: list[list[float]]
    entropy: list[float | None]
    similarity: list[list[list[float]]]
    dead: list[float]
    drift: list[float] | None = None


@torch.no_grad()
def measure_health(
    grid: SharingGrid, lanes: Tensor, before: ExpertHealth | None = None
) -> ExpertHealth:
    """The health of a network's experts on input lanes `[B, S, *F]`, in evaluation mode.

    It takes a few forward passes; a thousand rows are plenty. The network's mode and the state of
    the random numbers stay as they are. `before` is the last measurement, for the drift.
    """
    with _evaluating(grid):
        use = _use(grid, lanes)
        source, entropies, similarity, dead = pooled_features(lanes).flatten(1), [], [], []
        read = lanes
        for depth in range(len(grid.layers)):
            layer = grid.layer(depth)
            entropies.append(_entropies(layer, read, source))
            if layer.layer.num_experts:
                outputs = layer.outputs(read)
                similarity.append(_round(linear_cka(_by_expert(layer, outputs))))
                dead += _dead_shares(layer, read, outputs)
            read = layer(read, source, None)
    tasks = range(grid.layout.num_tasks)
    return ExpertHealth(
        use=_round(use),
        entropy=[_mean_entropy(grid.layout, task, entropies) for task in tasks],
        similarity=similarity,
        dead=dead,
        drift=None if before is None else _drift(before.use, use),
    )


def linear_cka(outputs: Sequence[Tensor]) -> Tensor:
    """Similarity `[n, n]` of n representations `[B, features]` of the same rows, 0 to 1.

    Linear centred kernel alignment (Kornblith et al., ICML 2019): `||Y'X||^2 / (||X'X|| ||Y'Y||)`
    of centred X and Y, here by their Gram matrices. Permuting, rotating or scaling the units of a
    representation leaves it unchanged, as it would leave a layer that reads them. A constant
    representation is similar to none, not even to itself.
    """
    grams = [x @ x.t() for x in (output - output.mean(0) for output in outputs)]
    flat = torch.stack([gram.flatten() / gram.norm().clamp_min(1e-12) for gram in grams])
    return (flat @ flat.t()).clamp(0.0, 1.0)


@contextmanager
def _evaluating(grid: SharingGrid) -> Iterator[None]:
    training = grid.training
    grid.eval()
    try:
        yield
    finally:
        grid.train(training)


def _use(grid: SharingGrid, lanes: Tensor) -> Tensor:
    """`expert_use` with free scalars by their size, and at most 1 in each layer."""
    use = expert_use(grid, lanes).abs()
    layers = torch.split(use, [layer.num_experts for layer in grid.layout.layers], 1)
    return torch.cat([layer / layer.sum(1, keepdim=True).clamp_min(1.0) for layer in layers], 1)


def _entropies(layer: GridLayer, read: Tensor, source: Tensor) -> dict[int, float]:
    """Mean entropy, as a share of that of equal weights, for each lane whose gate has a choice."""
    edges = {lane: len(e) for lane, e in enumerate(layer.layer.edges) if len(e) > 1}
    if layer.layer.gate == "one" or not edges:
        return {}
    weights = layer.weights(read, source).abs()
    p = weights / weights.sum(-1, keepdim=True).clamp_min(1e-30)
    entropy = -(p * p.clamp_min(1e-30).log()).sum(-1).mean(0)
    return {lane: float(entropy[lane]) / math.log(count) for lane, count in edges.items()}


def _mean_entropy(layout: Layout, task: int, entropies: Sequence[dict[int, float]]) -> float | None:
    live = zip(live_lanes(layout, task), entropies, strict=True)
    used = [by_lane[lane] for lanes, by_lane in live for lane in sorted(lanes) if lane in by_lane]
    return round(sum(used) / len(used), DIGITS) if used else None


def _applications(layer: GridLayer) -> list[list[int]]:
    """For each expert the applications that run it."""
    numbers = [expert for expert, _ in layer.layer.applications]
    return [[a for a, n in enumerate(numbers) if n == e] for e in range(layer.layer.num_experts)]


def _by_expert(layer: GridLayer, outputs: Tensor) -> list[Tensor]:
    """Each expert's features `[B, n]` in outputs `[B, A, *F]`: pixels averaged, lanes joined."""
    features = pooled_features(outputs[:SIMILARITY_ROWS])
    return [features[:, applications].flatten(1) for applications in _applications(layer)]


def _dead_shares(layer: GridLayer, read: Tensor, outputs: Tensor) -> list[float]:
    worst = [0.0] * layer.layer.num_experts
    for activation in (outputs, *_hidden(layer.experts, read)):
        active = activation.unsqueeze(-1).flatten(3).ne(0).any(-1).any(0)  # [A, units]
        for expert, applications in enumerate(_applications(layer)):
            dead = 1.0 - float(active[applications].any(0).float().mean())
            worst[expert] = max(worst[expert], round(dead, DIGITS))
    return worst


def _hidden(experts: object, read: Tensor) -> Iterable[Tensor]:
    """Hidden activations `[B, A, width]`, depth by depth, of experts for tables that have them."""
    if not isinstance(experts, StackedExperts) or experts.kind == "cross":
        return
    rows = read[:, experts.reads].transpose(0, 1)
    for weight, bias in zip(list(experts.weights)[:-1], list(experts.biases)[:-1], strict=True):
        rows = torch.baddbmm(bias[experts.numbers], rows, weight[experts.numbers]).relu()
        yield rows.transpose(0, 1)


def _drift(before: Sequence[Sequence[float]], use: Tensor) -> list[float]:
    change = (use - use.new_tensor(before)).abs().sum(1) / max(1, use.shape[1])
    return [round(float(value), DIGITS) for value in change]


def _round(matrix: Tensor) -> list[list[float]]:
    return [[round(float(value), DIGITS) for value in row] for row in matrix]


def expert_warnings(health: ExpertHealth, layout: Layout, tasks: Sequence[str]) -> list[str]:
    """What is wrong with the experts of a network, in sentences; none if nothing is.

    Thresholds are `COLLAPSED`, `DEAD`, `IDENTICAL` and `STARVED`. A task that can reach only one
    expert of a layer has no choice there, and has not collapsed.
    """
    warnings: list[str] = []
    use, dead, similarity = torch.tensor(health.use), health.dead, iter(health.similarity)
    experts, reached, first = expert_names(layout), reachable_experts(layout), 0
    for depth, layer in enumerate(layout.layers):
        if not layer.num_experts:
            continue
        part = slice(first, first + layer.num_experts)
        first += layer.num_experts
        names, shares = experts[part], use[:, part]
        choices = [sum(at == depth for at, _ in experts_of) for experts_of in reached]
        warnings += _collapsed(shares, choices, tasks, names)
        warnings += _starved(shares, names)
        warnings += [
            f"Expert {name} is dead: {share:.0%} of its units are zero on every row."
            for name, share in zip(names, dead[part], strict=True)
            if share > DEAD
        ]
        warnings += _identical(next(similarity), names)
    return warnings


def _collapsed(
    shares: Tensor, choices: Sequence[int], tasks: Sequence[str], names: Sequence[str]
) -> Iterator[str]:
    for row, choice, task in zip(shares, choices, tasks, strict=True):
        top, total = int(row.argmax()), float(row.sum())
        if choice > 1 and total > 0.0 and float(row[top]) > COLLAPSED * total:
            yield (
                f"The gates of {task} have collapsed onto expert {names[top]}: of {choice} experts "
                f"that it can reach there, this one has {float(row[top]) / total:.0%}."
            )


def _starved(shares: Tensor, names: Sequence[str]) -> Iterator[str]:
    equal = 1.0 / len(names)
    for name, most in zip(names, shares.amax(0).tolist(), strict=True):
        if most < STARVED * equal:
            yield (
                f"Expert {name} is starved: no task gives it more than {most:.1%}; an equal "
                f"share is {equal:.0%}."
            )


def _identical(similarity: Sequence[Sequence[float]], names: Sequence[str]) -> Iterator[str]:
    left = list(range(len(names)))
    while left:
        first = left[0]
        same = [i for i in left if i == first or similarity[first][i] > IDENTICAL]
        left = [i for i in left if i not in same]
        if len(same) > 1:
            least = min(similarity[first][i] for i in same[1:])
            listed = ", ".join(names[i] for i in same[:-1]) + f" and {names[same[-1]]}"
            yield f"Experts {listed} are identical: their similarity is {least:.4f}; one would do."

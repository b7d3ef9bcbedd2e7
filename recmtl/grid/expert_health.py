"""Whether the experts of a network are used, differ and live: what a mixture can get wrong.

HoME (KDD 2025) names what goes wrong with mixtures of experts: experts that are almost all zeros,
experts that one task has to itself, experts that nobody hears. This measures it on a sample of
rows, together with how decided the gates are, how alike the experts are and how fast all moves.

What the health of a network's experts says in plain sentences: collapsed, starved, dead, alike.

The thresholds are ours but for HoME's of dead experts. They are far from anything that a working
mixture does, so that a sentence is worth reading.
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
"""Rows on which outputs are compared: the work is quadratic in them."""
DIGITS = 6
"""After the point, of what is kept."""


@dataclass(frozen=True)
class ExpertHealth:
    """The experts of one network on some rows; plain numbers, ready for JSON.

    Attributes:
        use: `[T, E]`, share of each expert (`expert_names`) in what a task hears; a layer's shares
            sum to at most 1, the rest is skipped. Free scalars count by their size.
        entropy: `[T]`, mean entropy of the gates that a task depends on, over that of equal
            weights: 1 is undecided, 0 hears one edge. None without a gate that could decide.
        similarity: `[L]` matrices `[n, n]`: linear CKA of the outputs of a layer's n experts, for
            the layers that have experts.
        dead: `[E]`, share of units that are zero on every row, in the worst of an expert's layers:
            one layer of zeros makes the output a constant.
        drift: `[T]`, mean absolute change of `use` since the measurement before; None at first.
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
    """The health of a network's experts on its input lanes `[B, S, *F]`, in evaluation mode.

    A few forward passes over the rows; a thousand are plenty. The network's mode and the state
    of the random numbers stay as they were.
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

    Linear centred kernel alignment (Kornblith et al., ICML 2019): of centred X and Y
    `||Y'X||^2 / (||X'X|| ||Y'Y||)`, here by their Gram matrices. It does not notice units that are
    permuted, rotated or scaled together, nor would a layer that reads them. A representation that
    is constant is similar to nothing.
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
    """`expert_use` with free scalars by their size, and no layer above 1."""
    use = expert_use(grid, lanes).abs()
    layers = torch.split(use, [layer.num_experts for layer in grid.layout.layers], 1)
    return torch.cat([layer / layer.sum(1, keepdim=True).clamp_min(1.0) for layer in layers], 1)


def _entropies(layer: GridLayer, read: Tensor, source: Tensor) -> dict[int, float]:
    """For each lane whose gate could decide its mean entropy over that of equal weights."""
    edges = {lane: len(e) for lane, e in enumerate(layer.layer.edges) if len(e) > 1}
    if layer.layer.gate == "one" or not edges:
        return {}
    weights = layer.weights(read, source).abs()
    p = weights / weights.sum(-1, keepdim=True).clamp_min(1e-30)
    entropy = -(p * p.clamp_min(1e-30).log()).sum(-1).mean(0)
    return {lane: float(entropy[lane]) / math.log(count) for lane, count in edges.items()}


def _mean_entropy(layout: Layout, task: int, entropies: Sequence[dict[int, float]]) -> float | None:
    live = zip(live_lanes(layout, task), entropies, strict=True)
    own = [found[lane] for lanes, found in live for lane in sorted(lanes) if lane in found]
    return round(sum(own) / len(own), DIGITS) if own else None


def _applications(layer: GridLayer) -> list[list[int]]:
    """For each expert the applications that run it."""
    numbers = [expert for expert, _ in layer.layer.applications]
    return [[a for a, n in enumerate(numbers) if n == e] for e in range(layer.layer.num_experts)]


def _by_expert(layer: GridLayer, outputs: Tensor) -> list[Tensor]:
    """Of outputs `[B, A, *F]` what each expert says of a row, pixels averaged, side by side."""
    pooled_features = outputs[:SIMILARITY_ROWS].flatten(3).mean(3) if outputs.dim() > 3 else outputs
    return [pooled_features[:SIMILARITY_ROWS, own].flatten(1) for own in _applications(layer)]


def _dead_shares(layer: GridLayer, read: Tensor, outputs: Tensor) -> list[float]:
    worst = [0.0] * layer.layer.num_experts
    for activation in (outputs, *_hidden(layer.experts, read)):
        active = activation.unsqueeze(-1).flatten(3).ne(0).any(-1).any(0)  # [A, units]
        for expert, own in enumerate(_applications(layer)):
            dead = 1.0 - float(active[own].any(0).float().mean())
            worst[expert] = max(worst[expert], round(dead, DIGITS))
    return worst


def _hidden(experts: object, read: Tensor) -> Iterable[Tensor]:
    """Hidden activations `[B, A, width]` of experts for tables that have any, none of others."""
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


COLLAPSED = 0.95
"""A task has collapsed onto an expert that has this share of a layer where several can be heard."""
DEAD = 0.9
"""An expert is dead where more than this share of its units is zero on every row (HoME's 90 %)."""
IDENTICAL = 0.999
"""Experts of a layer whose outputs have more than this linear CKA say the same. It is so close to 1
because CKA weighs directions by their variance: outputs that vary mostly along one direction reach
0.99 in networks that work."""
STARVED = 0.1
"""An expert is starved where every task gives it less than this part of an equal share."""


def expert_warnings(health: ExpertHealth, layout: Layout, tasks: Sequence[str]) -> list[str]:
    """What is wrong with the experts of a network, in plain sentences; none if nothing is.

    Thresholds are `COLLAPSED`, `DEAD`, `IDENTICAL` and `STARVED`. A task that can hear but one
    expert of a layer has no choice there, and has not collapsed.
    """
    found: list[str] = []
    use, dead, similarity = torch.tensor(health.use), health.dead, iter(health.similarity)
    experts, reached, first = expert_names(layout), reachable_experts(layout), 0
    for depth, layer in enumerate(layout.layers):
        if not layer.num_experts:
            continue
        part = slice(first, first + layer.num_experts)
        first += layer.num_experts
        names, shares = experts[part], use[:, part]
        choices = [sum(at == depth for at, _ in own) for own in reached]
        found += _collapsed(shares, choices, tasks, names)
        found += _starved(shares, names)
        found += [
            f"Expert {name} is dead: {share:.0%} of its units are zero on every row."
            for name, share in zip(names, dead[part], strict=True)
            if share > DEAD
        ]
        found += _identical(next(similarity), names)
    return found


def _collapsed(
    shares: Tensor, choices: Sequence[int], tasks: Sequence[str], names: Sequence[str]
) -> Iterator[str]:
    for row, choice, task in zip(shares, choices, tasks, strict=True):
        top, total = int(row.argmax()), float(row.sum())
        if choice > 1 and total > 0.0 and float(row[top]) > COLLAPSED * total:
            yield (
                f"The gates of {task} have collapsed onto expert {names[top]}: of {choice} experts "
                f"that it could hear there, this one has {float(row[top]) / total:.0%}."
            )


def _starved(shares: Tensor, names: Sequence[str]) -> Iterator[str]:
    equal = 1.0 / len(names)
    for name, most in zip(names, shares.amax(0).tolist(), strict=True):
        if most < STARVED * equal:
            yield (
                f"Expert {name} is starved: no task gives it more than {most:.1%}, where an equal "
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
            yield f"Experts {listed} are identical: their similarity is {least:.4f}, one would do."

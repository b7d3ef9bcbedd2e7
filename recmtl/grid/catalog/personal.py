"""Gates on features: networks whose activations depend on who is asked, beside the one rule.

A layer multiplies each feature of its lanes by a factor from 0 to 2 that a small gate makes of the
input, see `recmtl.grid.parts.FeatureGates`. `with_feature_gates` puts such gates before or behind
any layout.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Literal

from recmtl.grid.catalog.shared import Level, column, towers_apart
from recmtl.grid.layout import FeatureGates, Layer, Layout, Prior

__all__ = ["GatePlace", "pepnet", "poso", "with_feature_gates"]

GatePlace = Literal["input", "tasks"]


def pepnet(
    num_tasks: int, *, levels: Sequence[Level], hidden: int, prior: Prior | None = None
) -> Layout:
    """Gates on the embeddings, and on every level of each task's tower (Chang et al., KDD 2023).

    EPNet: `O = 2 sigmoid(g(prior, E)) * E`; PPNet: the same factor, of a gate for each task and
    level, on what that level's expert writes. No gradient flows from the gates into E. Readings:
    both kinds of gate look at the same prior features; PPNet's look at E, of which O is made; a
    level of several products is multiplied once, at its end; gates start at 1.

    Args:
        num_tasks: T tasks.
        levels: expert widths of each level of a tower.
        hidden: features between the products of a gate.
        prior: fields that tell who is asked about what; None for all.
    """
    gates = FeatureGates("prior_and_input", hidden)
    towers = towers_apart(num_tasks, levels=levels).layers
    layers = (_passing(1, gates), *(replace(layer, feature_gates=gates) for layer in towers))
    source = "Chang et al., KDD 2023; one set of prior features, gates at the end of each level"
    return Layout("PEPNet", layers, tuple(range(num_tasks)), source, prior=prior)


def poso(
    num_tasks: int, *, levels: Sequence[Level], hidden: int, prior: Prior | None = None
) -> Layout:
    """One bottom whose activations gates of the prior features multiply (Dai et al., 2021).

    `h = 2 sigmoid(g(prior)) * relu(W x + b)`, the form that the paper names POSO(MLP), at each
    level. Readings: a shared bottom, C = 2, the same hidden width for all gates; gates start at 1.

    Args:
        num_tasks: T tasks.
        levels: expert widths of each level.
        hidden: features between the products of a gate.
        prior: fields that tell to which part of the users an example belongs; None for all.
    """
    gates = FeatureGates("prior", hidden)
    layers = [
        replace(block, feature_gates=gates) for level in levels for block in column((0,), level)
    ]
    source = "Dai et al., arXiv 2108.04690; POSO(MLP) at each level of a shared bottom"
    return Layout("POSO", tuple(layers), (0,) * num_tasks, source, prior=prior)


def with_feature_gates(layout: Layout, places: Collection[GatePlace], *, hidden: int) -> Layout:
    """The layout with PEPNet's gates on its `input` lanes, or on the lanes of its `tasks`."""
    gates, layers = FeatureGates("prior_and_input", hidden), list(layout.layers)
    if "tasks" in places:
        layers[-1] = replace(layers[-1], feature_gates=gates)
    if "input" in places:
        layers.insert(0, _passing(layout.input_lanes, gates))
    return replace(layout, layers=tuple(layers))


def _passing(lanes: int, gates: FeatureGates) -> Layer:
    """A layer that passes lanes on, each multiplied by its gate."""
    each = range(lanes)
    applications, edges = tuple((lane, lane) for lane in each), tuple((lane,) for lane in each)
    return Layer(0, applications, edges, gate="one", experts="carry", feature_gates=gates)

"""The two kinds of level that most published models are stacks of: experts apart, experts mixed."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

from recmtl.grid.layout import GateKind, Layer

__all__ = ["Level", "apart", "column", "mixed", "wired"]

Level = Sequence[int] | Sequence[Layer]
"""What an expert of a level is: one stack of products by its widths, or blocks one after another,
each a layer of one expert whose wiring does not matter."""


def wired(
    block: Layer,
    applications: Sequence[tuple[int, int]],
    edges: Sequence[Sequence[int]],
    **changes: Any,
) -> Layer:
    """A layer of experts like that of `block`; `changes` are further fields of a layer."""
    fresh: dict[str, Any] = dict.fromkeys(
        ("queries", "shortcut", "again", "stopped", "through"), ()
    )
    lanes = tuple(map(tuple, edges))
    return replace(block, applications=tuple(applications), edges=lanes, **(fresh | changes))


def apart(reads: Sequence[int], widths: Sequence[int] | Layer) -> Layer:
    """One expert and one lane for each entry of `reads`, the lane that it reads; nothing mixed.

    Experts have these widths, or are like that of a given block.
    """
    numbers = range(len(reads))
    block = widths if isinstance(widths, Layer) else _products(widths)
    return wired(block, tuple(zip(numbers, reads, strict=True)), [(n,) for n in numbers])


def column(reads: Sequence[int], level: Level) -> list[Layer]:
    """A level of experts apart, each a column of the level's blocks; `reads` as for `apart`."""
    if all(isinstance(width, int) for width in level):
        return [apart(reads, cast(Sequence[int], level))]
    first, *rest = cast(Sequence[Layer], level)
    return [apart(reads, first), *(apart(range(len(reads)), block) for block in rest)]


def mixed(
    num_tasks: int,
    *,
    experts: int,
    levels: Sequence[Level],
    gate: GateKind = "softmax",
    searched: bool = False,
) -> tuple[Layer, ...]:
    """Levels of experts where every lane may listen to every expert of its level.

    Experts of the first level read the input. A level writes a lane for each expert of the next
    level, which reads it, and the last level a lane for each task. Softmax gates look at the input.
    """
    everyone, layers = tuple(range(experts)), list[Layer]()
    for depth, level in enumerate(levels):
        lanes = experts if depth + 1 < len(levels) else num_tasks
        *below, last = column(everyone if depth else (0,) * experts, level)
        edges = (everyone,) * lanes
        layers += [
            *below,
            wired(last, last.applications, edges, gate=gate, searched=searched),
        ]
    return tuple(layers)


def _products(widths: Sequence[int]) -> Layer:
    hidden = tuple(widths[:-1])
    return Layer(widths[-1], ((0, 0),), ((0,),), hidden=hidden, gate="one")

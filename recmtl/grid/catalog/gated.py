"""Sharing through softmax gates: mixtures of experts, with shared experts or experts of a task.

The published codes end an expert with ReLU and let a gate be one linear map; so do these layouts.
Where a code's gate is deeper, the reading says so.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from recmtl.grid.catalog.shared import Level, mixed
from recmtl.grid.layout import INPUT, Layer, Layout, Selection

__all__ = ["adatt", "cgc", "dselect_k", "ml_mmoe", "mmoe", "omoe", "ple", "stem"]


def mmoe(num_tasks: int, *, experts: int, widths: Level) -> Layout:
    """One softmax gate a task over shared experts (Ma et al., KDD 2018, equations 6 to 8)."""
    layers = mixed(num_tasks, experts=experts, levels=(widths,))
    source = "Ma et al., KDD 2018; gates read the input"
    return Layout("MMoE", layers, tuple(range(num_tasks)), source)


def dselect_k(num_tasks: int, *, experts: int, select: int, widths: Level) -> Layout:
    """MMoE whose gates select at most `select` experts for an example (Hazimeh et al., 2021).

    See `recmtl.grid.gates.selection`.
    """
    *below, last = mixed(num_tasks, experts=experts, levels=(widths,))
    selection = Selection.of(last.edges, select)
    layers = (*below, replace(last, gate="dselect", selection=selection))
    source = "Hazimeh et al., NeurIPS 2021; gates of an example, every code is an expert"
    return Layout("DSelect-k", layers, tuple(range(num_tasks)), source)


def omoe(num_tasks: int, *, experts: int, widths: Level) -> Layout:
    """One softmax gate for all tasks over shared experts (Ma et al., KDD 2018, section 4.2)."""
    layers = mixed(1, experts=experts, levels=(widths,))
    source = "Ma et al., KDD 2018; one gate, reading the input, for all tasks"
    return Layout("OMoE", layers, (0,) * num_tasks, source)


def ml_mmoe(num_tasks: int, *, experts: int, levels: Sequence[Level]) -> Layout:
    """Levels of mixtures, a lane for each expert of the next level (RecSys 2020, section 5.1.2).

    Reading: "all gating networks share the same selector" is the raw input at every level, as in
    AdaTT's code.
    """
    layers = mixed(num_tasks, experts=experts, levels=levels)
    source = "Tang et al., RecSys 2020; gates of every level read the input"
    return Layout("ML-MMoE", layers, tuple(range(num_tasks)), source)


def cgc(num_tasks: int, *, own: int, shared: int, widths: Sequence[int]) -> Layout:
    """Customised gate control: own and shared experts (RecSys 2020, equations 2 to 5)."""
    source = "Tang et al., RecSys 2020; one level of PLE, where both readings agree"
    layout = ple(num_tasks, own=own, shared=shared, levels=(widths,))
    return replace(layout, name="CGC", source=source)


def ple(
    num_tasks: int,
    *,
    own: int,
    shared: int,
    levels: Sequence[Sequence[int]],
    shared_gate: Literal["all", "shared"] = "all",
) -> Layout:
    """Progressive layered extraction (Tang et al., RecSys 2020, equations 6 and 7).

    The gate of a level looks at the level's own input of its task; the last level has no shared
    gate.

    Args:
        num_tasks: T tasks.
        own: experts of each task, a level.
        shared: shared experts, a level.
        levels: each level's expert widths.
        shared_gate: what the gate of the shared lane mixes: all experts, as in the paper and in
            most codes, or the shared experts only, as in FuxiCTR, STEM's code and Merlin.
    """
    owners = _owners(num_tasks, own=own, shared=shared)
    rows = [_experts_of(owners, (t, num_tasks)) for t in range(num_tasks)]
    groups = range(num_tasks + 1) if shared_gate == "all" else (num_tasks,)
    layers = []
    for depth, widths in enumerate(levels):
        last = depth + 1 == len(levels)
        edges = (*rows, *(() if last else (_experts_of(owners, groups),)))
        queries = tuple((lane if depth else INPUT,) for lane in range(len(edges)))
        reads = tuple((e, owner if depth else 0) for e, owner in enumerate(owners))
        layers.append(Layer(widths[-1], reads, edges, hidden=tuple(widths[:-1]), queries=queries))
    everyone = shared_gate == "all"
    name = "PLE" if everyone else "PLE (shared gate: shared experts only)"
    reading = "all experts" if everyone else "the shared experts only"
    source = f"Tang et al., RecSys 2020; the shared gate mixes {reading}"
    return Layout(name, tuple(layers), tuple(range(num_tasks)), source)


def adatt(num_tasks: int, *, own: int, levels: Sequence[Sequence[int]]) -> Layout:
    """Adaptive task-to-task fusion (Li et al., KDD 2023): a mixture, and residual own experts.

    `lane'_t = softmax(W lane_t) E + v_t E_t`, E all tasks' experts, E_t those of the task.
    Reading: AdaTT-sp, without a shared unit. `v_t` is free also where a task has one expert; it
    starts at 1 there, where the published code fixes it.
    """
    owners = _owners(num_tasks, own=own, shared=0)
    layers = []
    for depth, widths in enumerate(levels):
        layer = Layer(
            widths[-1],
            tuple((e, owner if depth else 0) for e, owner in enumerate(owners)),
            (tuple(range(len(owners))),) * num_tasks,
            hidden=tuple(widths[:-1]),
            queries=tuple((t if depth else INPUT,) for t in range(num_tasks)),
            residual_edges=tuple(_experts_of(owners, (t,)) for t in range(num_tasks)),
        )
        layers.append(layer)
    source = "Li et al., KDD 2023; AdaTT-sp: no shared unit, residual weights always free"
    return Layout("AdaTT", tuple(layers), tuple(range(num_tasks)), source)


def stem(num_tasks: int, *, own: int, shared: int, widths: Sequence[int]) -> Layout:
    """Shared and task-specific embeddings (Su et al., AAAI 2024).

    The encoder writes T+1 lanes, one embedding of the row for each task and a shared one. Own
    experts read their task's lane, shared experts the last. A task's gate mixes all experts and
    looks at its embedding plus the shared one; a task's loss sends no gradient to other tasks' own
    experts. Reading: one level, the default of the published code; the gate is one linear map,
    where that code's has hidden layers.
    """
    owners, tasks = _owners(num_tasks, own=own, shared=shared), range(num_tasks)
    lanes = tuple(range(num_tasks + 1))
    passed, sums = tuple((n,) for n in lanes), tuple((t, num_tasks) for t in tasks)
    sources = Layer(0, tuple((n, n) for n in lanes), (*passed, *sums), gate="one", experts="carry")
    others = [[other for other in tasks if other != t] for t in tasks]
    level = Layer(
        widths[-1],
        tuple(enumerate(owners)),
        (tuple(range(len(owners))),) * num_tasks,
        hidden=tuple(widths[:-1]),
        queries=tuple((num_tasks + 1 + t,) for t in tasks),
        detached_edges=tuple(_experts_of(owners, groups) for groups in others),
    )
    source = "Su et al., AAAI 2024; one level, linear gates (the code's have hidden layers)"
    return Layout("STEM", (sources, level), tuple(tasks), source, input_lanes=len(lanes))


def _owners(num_tasks: int, *, own: int, shared: int) -> list[int]:
    """For each expert the task that owns it, or T for a shared one."""
    groups = [(t, own) for t in range(num_tasks)] + [(num_tasks, shared)]
    return [group for group, count in groups for _ in range(count)]


def _experts_of(owners: Sequence[int], groups: Sequence[int]) -> tuple[int, ...]:
    return tuple(e for e, owner in enumerate(owners) if owner in groups)

"""Named layouts: ways to share that the field publishes, each a point of one grid.

Every function takes the number of tasks and sizes, and returns a `Layout`. `widths` are an
expert's layers from the first hidden width to its output.
"""

from collections.abc import Sequence

from recmtl.grid.layout import INPUT, Layer, Layout

__all__ = ["mmoe", "ple", "recmtl_grid", "shared_bottom", "single_task"]


def single_task(num_tasks: int, *, widths: Sequence[int]) -> Layout:
    """One tower of experts a task, nothing shared above the encoder."""
    own = tuple((t, 0) for t in range(num_tasks))
    edges = tuple((t,) for t in range(num_tasks))
    layer = Layer(widths[-1], own, edges, hidden=tuple(widths[:-1]), gate="one")
    return Layout("single task", (layer,), tuple(range(num_tasks)))


def shared_bottom(num_tasks: int, *, widths: Sequence[int]) -> Layout:
    """One expert for all tasks: `y_k = h_k(f(x))` (Caruana 1997)."""
    layer = Layer(widths[-1], ((0, 0),), ((0,),), hidden=tuple(widths[:-1]), gate="one")
    return Layout("shared bottom", (layer,), (0,) * num_tasks, "Caruana 1997")


def mmoe(num_tasks: int, *, experts: int, widths: Sequence[int]) -> Layout:
    """One softmax gate a task over shared experts; gates read the raw input (KDD 2018, eq. 6)."""
    layer = Layer(
        widths[-1],
        tuple((e, 0) for e in range(experts)),
        (tuple(range(experts)),) * num_tasks,
        hidden=tuple(widths[:-1]),
    )
    return Layout("MMoE", (layer,), tuple(range(num_tasks)), "Ma et al., KDD 2018")


def ple(num_tasks: int, *, own: int, shared: int, levels: Sequence[Sequence[int]]) -> Layout:
    """Progressive layered extraction (RecSys 2020), reading A: the shared gate sees all experts.

    Args:
        num_tasks: T tasks.
        own: experts of each task, a level.
        shared: shared experts, a level.
        levels: each level's expert widths. The gate of a level reads the level's own input of
            its task (section 4.3); the last level has no shared gate.
    """
    groups = [(t, own) for t in range(num_tasks)] + [(num_tasks, shared)]
    owners = [group for group, count in groups for _ in range(count)]
    rows = [
        tuple(a for a, group in enumerate(owners) if group in (t, num_tasks))
        for t in range(num_tasks)
    ]
    layers = []
    for depth, widths in enumerate(levels):
        last = depth + 1 == len(levels)
        edges = (*rows, *(() if last else (tuple(range(len(owners))),)))
        queries = tuple((INPUT if depth == 0 else lane,) for lane in range(len(edges)))
        reads = tuple((e, owner if depth else 0) for e, owner in enumerate(owners))
        layers.append(Layer(widths[-1], reads, edges, hidden=tuple(widths[:-1]), queries=queries))
    return Layout(
        "PLE",
        tuple(layers),
        tuple(range(num_tasks)),
        "Tang et al., RecSys 2020, shared gate over all experts",
    )


def recmtl_grid(num_tasks: int, *, cells: int, widths: Sequence[int], depth: int = 2) -> Layout:
    """The default search space: routes into columns of experts, and experts that may be skipped.

    `cells` columns start with one expert each on the input; up to `depth` a column applies one
    more expert to its lane, or skips it (AdaShare). A last layer without experts mixes columns:
    each task listens to a searched subset of them, through a softmax gate whose query, the input
    or the column of the task's own number, is searched too (our reading of MTNAS).
    """
    own = tuple((cell,) for cell in range(cells))
    columns = tuple((cell, cell) for cell in range(cells))
    layers = [
        Layer(
            widths[-1],
            tuple((cell, 0) for cell in range(cells)),
            own,
            hidden=tuple(widths[:-1]),
            gate="one",
        )
    ]
    layers += [
        Layer(widths[-1], columns, own, gate="one", shortcut=tuple(range(cells)))
        for _ in range(depth - 1)
    ]
    mixing = Layer(
        widths[-1],
        columns,
        (tuple(range(cells)),) * num_tasks,
        queries=tuple((INPUT, task % cells) for task in range(num_tasks)),
        searched=True,
        carries=True,
    )
    return Layout(
        "recmtl grid",
        (*layers, mixing),
        tuple(range(num_tasks)),
        "routes: our reading of MTNAS; skips: AdaShare",
    )

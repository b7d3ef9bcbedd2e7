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
    """The default search space: routes through cells, and cells that may be skipped.

    Layer 1 is `cells` experts on the input; layers up to `depth` apply one expert to each cell.
    Every output lane may listen to any subset of its layer's experts, through a softmax gate
    whose query is searched too (our reading of MTNAS). Between cells a layer may be skipped
    (AdaShare). The last layer writes one lane a task.
    """
    layers = []
    everyone = tuple(range(cells))
    for level in range(depth):
        last = level + 1 == depth
        lanes = num_tasks if last else cells
        middle = 0 < level and not last
        layers.append(
            Layer(
                widths[-1],
                tuple((e, e if level else 0) for e in everyone),
                (everyone,) * lanes,
                hidden=tuple(widths[:-1]) if level == 0 else (),
                queries=((INPUT, *everyone) if level else (INPUT,),) * lanes,
                shortcut=everyone if middle else (),
                searched=True,
            )
        )
    return Layout("recmtl grid", tuple(layers), tuple(range(num_tasks)), "MTNAS x AdaShare, our reading")

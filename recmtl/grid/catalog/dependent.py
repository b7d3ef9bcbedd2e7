"""Tasks that read what other tasks have come to: a graph of dependencies between them."""

from collections.abc import Sequence

from recmtl.errors import ConfigError
from recmtl.grid.catalog.shared import Level, column
from recmtl.grid.layout import Layer, Layout

__all__ = ["dbmtl"]


def dbmtl(num_tasks: int, *, widths: Level, parents: Sequence[Sequence[int]] = ()) -> Layout:
    """Task dependencies as a Bayesian network (Wang et al., "Deep Bayesian multi-target learning").

    `P(y_t | x, parents of t)`: after towers of their own, a task's lane is a product of the
    concatenation of its tower and its parents' lanes, `r_t = relu(W [h_t; r_p, ...] + b)`, in the
    order of the graph; the lane of a task without parents is its tower. Readings (arXiv
    1902.09154, and EasyRec's code): parents are read as lanes and not as probabilities; the
    concatenation is mapped by a matrix for each part, whose sum another product maps.

    Args:
        num_tasks: T tasks.
        widths: of an expert of the towers.
        parents: of each task those on which it depends; by default each on the one before it.

    Raises:
        ConfigError: the parents are of another number of tasks, or a task is its own ancestor.

    >>> [layer.num_lanes for layer in dbmtl(2, widths=(4,)).layers]
    [2, 2, 2]
    """
    chain = [tuple(range(max(task - 1, 0), task)) for task in range(num_tasks)]
    graph = [tuple(of_task) for of_task in parents] or chain
    if len(graph) != num_tasks:
        raise ConfigError(f"DBMTL: {len(graph)} entries of parents for {num_tasks} tasks")
    order, layers = _order(graph), column((0,) * num_tasks, widths)
    for depth in range(1, max(order) + 1):
        children = [task for task in range(num_tasks) if order[task] == depth]
        width = layers[-1].width
        layers += [_joined(graph, children, width), _related(graph, children, width)]
    source = "Wang et al., arXiv 1902.09154; parents are read as lanes, in the order of the graph"
    return Layout("DBMTL", tuple(layers), tuple(range(num_tasks)), source)


def _order(graph: Sequence[Sequence[int]]) -> list[int]:
    """Of each task the length of the longest way to it."""
    order = [0] * len(graph)
    for _ in graph:
        order = [1 + max((order[p] for p in parents), default=-1) for parents in graph]
    if any(order[task] <= order[p] for task, parents in enumerate(graph) for p in parents):
        raise ConfigError("DBMTL: a task is its own ancestor; let parents come before children")
    return order


def _joined(graph: Sequence[Sequence[int]], children: Sequence[int], width: int) -> Layer:
    """A lane of each child: a matrix for its tower and each parent's lane, added up."""
    applications, edges = list[tuple[int, int]](), list[tuple[int, ...]]()
    for task, parents in enumerate(graph):
        reads = (task, *parents) if task in children else ()
        first = len(applications)
        applications += [(first + number, lane) for number, lane in enumerate(reads)]
        edges.append(tuple(range(first, len(applications))))
    return Layer(
        width,
        tuple(applications),
        tuple(edges),
        gate="one",
        shortcut=_passed(graph, children),
        experts="linear",
    )


def _related(graph: Sequence[Sequence[int]], children: Sequence[int], width: int) -> Layer:
    """A product for the lane of each child."""
    number = {task: n for n, task in enumerate(children)}
    edges = tuple((number[task],) if task in number else () for task in range(len(graph)))
    applications = tuple((n, task) for task, n in number.items())
    return Layer(width, applications, edges, gate="one", shortcut=_passed(graph, children))


def _passed(graph: Sequence[Sequence[int]], children: Sequence[int]) -> tuple[int | None, ...]:
    """Lanes of tasks that are not children pass on as they are."""
    return tuple(None if task in children else task for task in range(len(graph)))

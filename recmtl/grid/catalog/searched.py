"""Search spaces: layouts in which policies choose connections, routes or blocks to skip."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from recmtl.grid.catalog.shared import Level, apart, column, cross_features, mixed, wired
from recmtl.grid.layout import INPUT, Interaction, Layer, Layout

__all__ = [
    "adashare",
    "adashare_of_blocks",
    "dynashare",
    "mtnas",
    "recmtl_grid",
    "recmtl_grid_of_blocks",
    "snr_aver",
    "snr_trans",
    "upper_half_rates",
]

GRID_SOURCE = "this package; routes: our reading of MTNAS; skips: AdaShare; stopped gradients: STEM"


def snr_aver(num_tasks: int, *, experts: int, levels: Sequence[Level]) -> Layout:
    """Sub-network routing by weighted sums (Ma et al., AAAI 2019): `v_i = sum_j z_ij u_j`.

    `u_j` are a level's experts, `v_i` the inputs of the next level's and, at the end, of the task
    heads; `z_ij` in 0..1 is the policy's keep, hard concrete in the paper. Reading: the input goes
    to every expert of the first level, and the sum is not divided by the number of connections.
    """
    layers = mixed(num_tasks, experts=experts, levels=levels, gate="one", searched=True)
    source = "Ma et al., AAAI 2019; a plain sum, all first experts read the input"
    return Layout("SNR-Aver", layers, tuple(range(num_tasks)), source)


def snr_trans(num_tasks: int, *, experts: int, levels: Sequence[Sequence[int]]) -> Layout:
    """Sub-network routing with a matrix a connection (AAAI 2019): `v_i = sum_j z_ij W_ij u_j`.

    As `snr_aver`; matrices are square, from an expert's width to the same width.
    """
    layers: list[Layer] = []
    for depth, widths in enumerate(levels):
        lanes = experts if depth + 1 < len(levels) else num_tasks
        pairs = [(i, j) for i in range(lanes) for j in range(experts)]
        connections = Layer(
            widths[-1],
            tuple((number, j) for number, (_, j) in enumerate(pairs)),
            tuple(tuple(range(i * experts, (i + 1) * experts)) for i in range(lanes)),
            gate="one",
            searched=True,
            experts="linear",
        )
        layers += [apart(range(experts) if depth else (0,) * experts, widths), connections]
    source = "Ma et al., AAAI 2019; square matrices, all first experts read the input"
    return Layout("SNR-Trans", tuple(layers), tuple(range(num_tasks)), source)


def mtnas(num_tasks: int, *, cells: int, levels: Sequence[Level]) -> Layout:
    """Routes through levels of cells, our reading of MTNAS (Chen et al., WWW 2021 companion).

    Every lane listens to a searched subset of its level's experts through a softmax gate over that
    subset, whose query is searched too: the input, or any lane of the level below. The full text
    is not public; gate, query sources and the blocks that tasks read are our choices.
    """
    first, *upper = mixed(num_tasks, experts=cells, levels=levels, searched=True)
    sources = (INPUT, *range(cells))
    upper = [replace(layer, queries=(sources,) * layer.num_lanes) for layer in upper]
    source = "Chen et al., WWW 2021 companion; our reading: gates, queries and last blocks are ours"
    return Layout("MTNAS routes", (first, *upper), tuple(range(num_tasks)), source)


def adashare(
    num_tasks: int, *, widths: Sequence[int], blocks: int, hidden: Sequence[int] = ()
) -> Layout:
    """One expert a block for all tasks, which each task runs or skips (Sun et al., NeurIPS 2020).

    `lane_t <- u F(lane_t) + (1 - u) lane_t` with `F(x) = relu(x + block(x))`, as in the published
    code; u is the skip policy's run for the block and the task.

    Args:
        num_tasks: T tasks.
        widths: the stem's, an expert that always runs; its last width is every lane's.
        blocks: how many.
        hidden: hidden widths of a block, before its last product back to the lane's width.
    """
    source = "Sun et al., NeurIPS 2020; a block is relu(x + products), as in the code"
    layers = _skipping(num_tasks, widths, hidden=hidden, rates=(1.0,) * blocks)
    return Layout("AdaShare", layers, tuple(range(num_tasks)), source)


def dynashare(
    num_tasks: int, *, widths: Sequence[int], rates: Sequence[float], hidden: Sequence[int] = ()
) -> Layout:
    """AdaShare whose blocks are also skipped for single examples (Rahimian et al., CVPR-W 2023).

    `run = u a(lane_t)` with an instance gate `a` in 0..1 a block, shared by the tasks.

    Args:
        num_tasks: T tasks.
        widths: the stem's, an expert that always runs; its last width is every lane's.
        rates: for each block the share of examples that it should run for; 1 has no instance gate.
        hidden: hidden widths of a block, before its last product back to the lane's width.
    """
    source = "Rahimian et al., CVPR-W 2023; a block is relu(x + products), as in the code"
    layers = _skipping(num_tasks, widths, hidden=hidden, rates=rates)
    return Layout("DynaShare", layers, tuple(range(num_tasks)), source)


def upper_half_rates(blocks: int) -> tuple[float, ...]:
    """DynaShare's rates: 1 in the lower half of the blocks, 0.55 above, as published for NYUv2."""
    return (1.0,) * (blocks // 2) + (0.55,) * (blocks - blocks // 2)


def recmtl_grid(
    num_tasks: int,
    *,
    cells: int,
    widths: Sequence[int],
    depth: int = 2,
    embeddings: Literal["shared", "apart"] = "shared",
    experts: Literal["mlp", "cross"] = "mlp",
    interactions: Sequence[Interaction] = (),
) -> Layout:
    """The default search space: routes into columns of experts, and experts that may be skipped.

    `cells` columns start with one expert each on the input; up to `depth` a column applies one
    more expert to its lane, or skips it (AdaShare). A last layer without experts mixes columns:
    each task listens to a searched subset of them, through a softmax gate whose query, the input
    or the column of the task's own number, is searched too (our reading of MTNAS).

    If there are more columns than tasks, the first T belong to the tasks. Other tasks may listen
    to them but do not train them (STEM), so that listening never hurts the owner. A task that
    leaves its own column altogether trains the owned columns that it listens to. All tasks that
    listen to the remaining, common columns train them.

    With `embeddings="apart"` the encoder writes one input lane for each task and a common one
    (STEM): the first T columns read their task's lane, the others the common one. A task's route
    then also decides whose embeddings it uses, and gates look at the task's own column or at the
    first common one.

    The experts on the input are perceptrons of these `widths`, or with `experts="cross"` cross
    features (see `cross_features`).

    Each of the `interactions` is an input lane more, made of the common one, with a column of its
    own that reads it. A route that does not listen to the column drops the lane, and its price.
    """
    lanes = num_tasks + 1 if embeddings == "apart" else 1
    reads = tuple(min(cell, lanes - 1) for cell in range(cells))
    reads += tuple(range(lanes, lanes + len(interactions)))
    lanes += len(interactions)
    # A gate that looked at the whole input would need every lane.
    common, cells = num_tasks % cells if lanes > 1 else INPUT, len(reads)
    step = replace(apart(range(cells), widths[-1:]), shortcut=tuple(range(cells)))
    layout = Layout(
        "recmtl grid",
        (apart(reads, widths), *(step,) * (depth - 1), _mixing(num_tasks, cells, common)),
        tuple(range(num_tasks)),
        GRID_SOURCE,
        input_lanes=lanes,
        interactions=tuple(interactions),
    )
    return cross_features(layout) if experts == "cross" else layout


def recmtl_grid_of_blocks(num_tasks: int, *, cells: int, blocks: Sequence[Layer]) -> Layout:
    """`recmtl_grid` whose columns are given blocks; all but the first may be skipped."""
    first, *rest = column((0,) * cells, blocks)
    steps = [replace(layer, shortcut=tuple(range(cells))) for layer in rest]
    layers = (first, *steps, _mixing(num_tasks, cells, INPUT))
    return Layout("recmtl grid", layers, tuple(range(num_tasks)), GRID_SOURCE)


def adashare_of_blocks(
    num_tasks: int, *, blocks: Sequence[Layer], rates: Sequence[float] = ()
) -> Layout:
    """`adashare` with given blocks and no stem; with rates below 1 it is `dynashare`.

    The first block reads the encoder's lane once for all tasks. Blocks are ResNet's in the papers:
    `relu(R + block(x))`, R the lane or its down-sampling, which always runs.
    """
    tasks, layers = tuple(range(num_tasks)), list[Layer]()
    for depth, block in enumerate(blocks):
        rate = rates[depth] if rates else 1.0
        if depth:
            applications, edges = [(0, task) for task in tasks], [(task,) for task in tasks]
            layers.append(wired(block, applications, edges, shortcut=tasks, rate=rate))
        else:
            shortcut = (0,) * num_tasks
            layers.append(wired(block, ((0, 0),), [(0,)] * num_tasks, shortcut=shortcut, rate=rate))
    if rates:
        name, source = "DynaShare", "Rahimian et al., CVPR-W 2023; blocks as in its code"
    else:
        name, source = "AdaShare", "Sun et al., NeurIPS 2020; blocks as in its code"
    return Layout(name, tuple(layers), tasks, source)


def _mixing(num_tasks: int, cells: int, common: int) -> Layer:
    """The last layer of the grid: each task listens to some of the columns."""
    owned = range(num_tasks if cells > num_tasks else 0)
    return Layer(
        0,
        tuple((cell, cell) for cell in range(cells)),
        (tuple(range(cells)),) * num_tasks,
        queries=tuple((common, task % cells) for task in range(num_tasks)),
        searched=True,
        experts="carry",
        detached_edges=tuple(tuple(c for c in owned if c != task) for task in range(num_tasks)),
    )


def _skipping(
    num_tasks: int, widths: Sequence[int], *, hidden: Sequence[int], rates: Sequence[float]
) -> tuple[Layer, ...]:
    """A stem that writes a lane for each task, then blocks, each one expert on every lane."""
    tasks, width = tuple(range(num_tasks)), widths[-1]
    stem = Layer(width, ((0, 0),), ((0,),) * num_tasks, hidden=tuple(widths[:-1]), gate="one")
    block = Layer(
        width,
        tuple((0, task) for task in tasks),
        tuple((task,) for task in tasks),
        hidden=tuple(hidden),
        gate="one",
        shortcut=tasks,
        experts="residual",
    )
    return (stem, *(replace(block, rate=rate) for rate in rates))

"""Sharing without gates, a second time from the formulas: equal outputs and gradients."""

import pytest
import torch
from torch import Tensor

from recmtl.errors import ConfigError
from recmtl.grid import SharingGrid, branched, cross_stitch, shared_bottom, single_task
from tests.grids import random_lanes, scrambled
from tests.parity.plain import TASKS, assert_equal_with_gradients, expert

TREE = [[0, 0, 0, 0], [0, 0, 1, 0], [7, 7, 3, 5], [1, 1, 2, 3]]
"""All, then {0, 1, 3} and {2}, then {0, 1}, {2} and {3}; tasks 0 and 1 never part."""


def plain_single_task(grid: SharingGrid, x: Tensor) -> list[Tensor]:
    return [expert(grid, 0, task, x) for task in range(TASKS)]


def plain_shared_bottom(grid: SharingGrid, x: Tensor) -> list[Tensor]:
    return [expert(grid, 0, 0, x)] * TASKS


def plain_cross_stitch(grid: SharingGrid, x: Tensor) -> list[Tensor]:
    """`h_t = sum_s alpha_ts f_s(h_s)`."""
    h = [x] * TASKS
    for depth in range(len(grid.layers)):
        alpha = grid.layer(depth).gate.scalar
        f = [expert(grid, depth, s, h[s]) for s in range(TASKS)]
        h = [sum(alpha[t, s] * f[s] for s in range(TASKS)) for t in range(TASKS)]
    return h


def plain_tree(grid: SharingGrid, x: Tensor) -> list[Tensor]:
    """`TREE`, branch by branch."""
    root = expert(grid, 0, 0, x)
    most, two = expert(grid, 1, 0, root), expert(grid, 1, 1, root)
    pair, two, three = expert(grid, 2, 0, most), expert(grid, 2, 1, two), expert(grid, 2, 2, most)
    pair, two, three = (expert(grid, 3, n, below) for n, below in enumerate((pair, two, three)))
    return [pair, pair, two, three]


LAYOUTS = {
    "single task": (single_task(TASKS, widths=(6, 4)), plain_single_task),
    "shared bottom": (shared_bottom(TASKS, widths=(6, 5, 4)), plain_shared_bottom),
    "cross-stitch, one level": (cross_stitch(TASKS, levels=[(6, 4)]), plain_cross_stitch),
    "cross-stitch": (cross_stitch(TASKS, levels=[(6, 4), (3,), (5, 4)]), plain_cross_stitch),
    "branched tree": (branched(TREE, levels=[(6, 4), (3,), (5, 4), (4,)]), plain_tree),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_without_gates_is_its_formula(name: str) -> None:
    layout, plain = LAYOUTS[name]
    grid, lanes = scrambled(layout), random_lanes(layout)
    want = torch.stack(plain(grid, lanes[:, 0]), 1)
    assert_equal_with_gradients(grid, lanes, grid(lanes), want)


def test_branches_are_named_by_any_number() -> None:
    levels = [(4,)] * 2
    first = branched([[0, 0, 1], [0, 1, 2]], levels=levels)
    assert branched([[9, 9, -1], [5, 0, 3]], levels=levels) == first
    assert [layer.reads for layer in first.layers] == [(0, 0), (0, 0, 1)]


@pytest.mark.parametrize(
    ("partitions", "message"),
    [
        ([[0, 0, 1], [0, 1, 1]], "tasks that part at one depth share a branch below it"),
        ([[0, 1], [0, 1, 2]], "every partition must name a branch for each task"),
        ([[0, 0, 0]], "1 partitions for 2 levels"),
        ([], "0 partitions for 2 levels"),
    ],
)
def test_what_is_no_tree_is_refused(partitions: list[list[int]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        branched(partitions, levels=[(4,), (4,)])

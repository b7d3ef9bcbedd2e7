"""Sharing without gates, a second time from the formulas: equal outputs and gradients."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from recmtl.errors import ConfigError
from recmtl.grid import (
    CATALOG,
    Layer,
    Layout,
    SharingGrid,
    all_apart,
    branched,
    cross_features,
    cross_stitch,
    embeddings_apart,
    shared_bottom,
    single_task,
    towers_apart,
)
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


def plain_column(grid: SharingGrid, number: int, x: Tensor) -> Tensor:
    """The experts of one number, one above the other."""
    for depth in range(len(grid.layers)):
        x = expert(grid, depth, number, x)
    return x


LEVELS = [(6, 4), (3,), (5, 4)]
APART = {
    "towers apart": (towers_apart, lambda task: task, lambda task: 0),
    "embeddings apart": (embeddings_apart, lambda task: 0, lambda task: task),
    "all apart": (all_apart, lambda task: task, lambda task: task),
}
"""Layout, and for a task the number of its column and the embedding that it reads."""


@pytest.mark.parametrize("kind", ["mlp", "cross"])
@pytest.mark.parametrize("name", APART)
def test_columns_that_are_apart_are_their_formulas(name: str, kind: str) -> None:
    build, column_of, embedding_of = APART[name]
    layout = build(TASKS, levels=LEVELS)
    if kind == "cross":
        layout = cross_features(layout)
    grid, lanes = scrambled(layout), random_lanes(layout)
    want = [plain_column(grid, column_of(t), lanes[:, embedding_of(t)]) for t in range(TASKS)]
    assert_equal_with_gradients(grid, lanes, grid(lanes), torch.stack(want, 1))


@pytest.mark.parametrize("name", APART)
def test_what_is_apart_hears_nothing_of_another_task(name: str) -> None:
    """A task's loss trains its own embedding and column, or those of all tasks, and no other."""
    build, column_of, embedding_of = APART[name]
    grid = scrambled(layout := build(TASKS, levels=[(16, 8)]))
    for task in range(TASKS):
        lanes = random_lanes(layout).requires_grad_()
        grid.zero_grad()
        grid(lanes)[:, task].square().sum().backward()
        trained = grid.layer(0).experts.weights[0].grad.abs().sum((1, 2)).nonzero().flatten()
        assert trained.tolist() == [column_of(task)]
        heard = lanes.grad.abs().sum((0, 2)).nonzero().flatten()
        assert heard.tolist() == [embedding_of(task)]


def test_one_task_apart_is_the_shared_bottom() -> None:
    layers = {build(1, levels=[(6, 4)]).layers for build, *_ in APART.values()}
    assert layers == {shared_bottom(1, widths=(6, 4)).layers}


@pytest.mark.parametrize("name", [n for n in CATALOG if n != "recmtl_grid"])
def test_cross_features_change_the_experts_on_the_input_and_no_wiring(name: str) -> None:
    sizes = {"cells": 4, "widths": (16, 8), "depth": 2}
    plain, crossed = (CATALOG[name].layout(3, **sizes, experts=kind) for kind in ("mlp", "cross"))
    changed = [a != b for a, b in zip(plain.layers, crossed.layers, strict=True)]
    assert changed.count(True) == 1
    layer = crossed.layers[changed.index(True)]
    assert (layer.experts, layer.hidden) == ("cross", (2, 2))
    assert all(below.only_mixes for below in crossed.layers[: changed.index(True)])
    before = plain.layers[changed.index(True)]
    assert replace(layer, experts="mlp", hidden=before.hidden) == before


def test_cross_features_need_perceptrons_to_replace() -> None:
    carried = Layer(0, ((0, 0),), ((0,),), gate="one", experts="carry")
    with pytest.raises(ConfigError, match="no perceptrons"):
        cross_features(Layout("mixing", (carried,), (0,)))


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

"""DBMTL, a second time from the formulas, in float64; its graph in the configuration of tasks."""

import pytest
import torch

from recmtl.errors import ConfigError
from recmtl.grid import CATALOG, dbmtl, layout_cost
from recmtl.train.config import Grid
from tests.grids import WIDTH, assert_pruned_is_masked, random_lanes, random_routes, scrambled
from tests.parity.plain import assert_equal_with_gradients, expert
from tests.tabular_problems import make_problem

GRAPHS = {
    "chain": ((), (0,), (1,), (2,)),
    "none": ((), (), (), ()),
    "diamond": ((), (0,), (0,), (1, 2)),
    "children first": ((1,), (), (0, 3), ()),
    "long and short way": ((), (0,), (0, 1), (0,)),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_dbmtl_is_its_formula(name: str) -> None:
    graph = GRAPHS[name]
    layout = dbmtl(4, widths=(6, 3), parents=graph)
    grid, lanes = scrambled(layout), random_lanes(layout)
    related = {t: expert(grid, 0, t, lanes[:, 0]) for t in range(4)}
    order: dict[int, int] = {}
    while len(order) < 4:
        for task, parents in enumerate(graph):
            if task not in order and all(p in order for p in parents):
                order[task] = 1 + max((order[p] for p in parents), default=-1)
    for depth in range(1, max(order.values()) + 1):
        first = 0
        children = [task for task in range(4) if order[task] == depth]
        for number, task in enumerate(children):
            parts = [related[task], *(related[p] for p in graph[task])]
            matrices = grid.layer(2 * depth - 1).experts.weights[0]
            joined = sum(part @ matrices[first + n] for n, part in enumerate(parts))
            first += len(parts)
            related[task] = expert(grid, 2 * depth, number, joined)
    want = torch.stack([related[t] for t in range(4)], 1)
    assert len(grid.layers) == 1 + 2 * max(order.values())
    assert_equal_with_gradients(grid, lanes, grid(lanes), want)


def test_a_concatenation_is_a_matrix_for_each_part() -> None:
    layout = dbmtl(2, widths=(3,))
    grid, lanes = scrambled(layout), random_lanes(layout)
    towers = [expert(grid, 0, t, lanes[:, 0]) for t in range(2)]
    matrix = torch.cat([*grid.layer(1).experts.weights[0]], 0)
    joined = torch.cat([towers[1], towers[0]], 1) @ matrix
    torch.testing.assert_close(grid(lanes)[:, 1], expert(grid, 2, 0, joined), rtol=0, atol=1e-12)
    torch.testing.assert_close(grid(lanes)[:, 0], towers[0], rtol=0, atol=1e-12)


def test_by_default_each_task_depends_on_the_one_before_it() -> None:
    assert dbmtl(4, widths=(6, 3)) == dbmtl(4, widths=(6, 3), parents=GRAPHS["chain"])
    assert CATALOG["dbmtl"].searched == ()


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_pruned_graph_computes_what_the_masked_one_does(name: str, seed: int) -> None:
    layout = dbmtl(4, widths=(5,), parents=GRAPHS[name])
    grid = scrambled(layout)
    assert_pruned_is_masked(grid, random_lanes(layout), random_routes(layout, seed), atol=1e-10)
    cost = layout_cost(layout, input_width=WIDTH)
    assert cost.parameters == sum(parameter.numel() for parameter in grid.parameters())


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (((), (0,)), "2 entries of parents for 4 tasks"),
        (((1,), (0,), (), ()), "a task is its own ancestor"),
        (((0,), (), (), ()), "a task is its own ancestor"),
    ],
)
def test_a_graph_that_is_none_is_refused(graph: tuple[tuple[int, ...], ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        dbmtl(4, widths=(3,), parents=graph)


def test_the_funnel_of_the_schema_is_the_graph() -> None:
    problem = make_problem(40)  # buy follows click; watch and stars stand alone
    layout = problem.layout("dbmtl", Grid(widths=(4,)))
    assert layout == dbmtl(4, widths=(4,), parents=((), (0,), (), ()))

"""Trees as data: what is one, its cost by hand, its size, its JSON, and all there are."""

import json

import numpy as np
import pytest

from recmtl.errors import ConfigError
from recmtl.policies import Tree, all_trees, tree_cost, tree_parameters

TREE = Tree.of([(0, 0, 0, 0), (5, 2, 5, 2), (9, 1, 7, 1)])


def test_branches_are_ordered_by_their_first_task() -> None:
    assert TREE.clusters == (((0, 1, 2, 3),), ((0, 2), (1, 3)), ((0,), (1, 3), (2,)))
    assert TREE.partitions() == ((0, 0, 0, 0), (0, 1, 0, 1), (0, 1, 2, 1))
    assert (TREE.num_tasks, TREE.counts) == (4, (1, 2, 3))
    assert Tree.of(TREE.partitions()) == TREE


def test_json_goes_there_and_back() -> None:
    assert Tree.from_json(json.loads(json.dumps(TREE.to_json()))) == TREE


@pytest.mark.parametrize(
    ("clusters", "fault"),
    [
        ((), "at least one depth"),
        (((),), "at least one depth"),
        ((((0, 2),),), "depth 0 must hold each task once"),
        ((((0, 1),), ((0,),)), "depth 1 must hold each task once"),
        ((((0, 1), (1, 2)),), "depth 0 must hold each task once"),
        ((((1, 2), (0,)),), "depth 0 is not in order"),
        ((((0,), (1,)), ((0, 1),)), "branches that split below rejoin at depth 1"),
        ((((0, 1), (2, 3)), ((0, 2), (1, 3))), "branches that split below rejoin at depth 1"),
    ],
)
def test_what_is_no_tree_is_refused(clusters: tuple, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        Tree(clusters)


def test_cost_by_hand() -> None:
    """Depth 0: all share, the worst pair .9. Depth 1: (.4 + .1) / 2. Depth 2: (0 + .3 + 0) / 3."""
    affinity = np.ones((3, 4, 4))
    for depth, i, j, unlike in ((0, 0, 3, 0.9), (0, 1, 2, 0.5), (1, 0, 2, 0.4), (1, 1, 3, 0.1)):
        affinity[depth, i, j] = affinity[depth, j, i] = 1.0 - unlike
    affinity[2, 1, 3] = affinity[2, 3, 1] = 0.7
    affinity[1:, 0, 1] = affinity[1:, 1, 0] = -1.0  # apart, so it does not matter
    assert tree_cost(TREE, affinity) == pytest.approx(0.9 + 0.25 + 0.1)


def test_size_is_branches_times_blocks() -> None:
    assert tree_parameters(TREE, [100, 20, 3]) == 100 + 2 * 20 + 3 * 3


def test_tasks_apart_cost_nothing_whatever_the_affinity() -> None:
    apart = Tree.of([(0, 1, 2)])
    assert tree_cost(apart, -np.ones((1, 3, 3))) == 0.0


@pytest.mark.parametrize(
    ("tasks", "depths", "count"),
    [(1, 3, 1), (4, 1, 15), (3, 2, 12), (4, 2, 60), (5, 2, 358), (3, 3, 22), (4, 3, 154)],
)
def test_all_trees_are_as_many_as_is_known_and_differ(tasks: int, depths: int, count: int) -> None:
    """Bell numbers for one depth, OEIS A000258 for two, A000307 for three."""
    trees = list(all_trees(tasks, depths))
    assert len(trees) == len(set(trees)) == count
    assert {(tree.num_tasks, len(tree.clusters)) for tree in trees} == {(tasks, depths)}

"""Trees as data: what is one, its cost by hand, its size, its JSON, and all there are."""

import json
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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


partitions = st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=1, max_size=3)


def refined(levels: list[list[int]]) -> list[list[tuple[int, ...]]]:
    """A chain of partitions: tasks share a branch if they do so at every depth so far."""
    return [list(zip(*levels[: depth + 1], strict=True)) for depth in range(len(levels))]


def numbered(levels: list[list[tuple[int, ...]]]) -> list[list[int]]:
    return [[level.index(branch) for branch in level] for level in levels]


@given(partitions)
def test_any_refining_chain_is_a_tree_with_one_spelling(levels: list[list[int]]) -> None:
    chain = numbered(refined(levels))
    tree = Tree.of(chain)
    assert Tree.of(tree.partitions()) == tree == Tree.from_json(tree.to_json())
    for level, again in zip(chain, tree.partitions(), strict=True):
        for i, j in combinations(range(4), 2):
            assert (level[i] == level[j]) == (again[i] == again[j])
        assert again[0] == 0 and set(again) == set(range(len(set(level))))
    assert list(tree.counts) == sorted(tree.counts), "branches never rejoin"


@given(partitions, st.permutations(range(4)), st.integers(0, 9))
def test_cost_and_size_do_not_depend_on_the_names_of_the_tasks(
    levels: list[list[int]], order: list[int], seed: int
) -> None:
    chain = numbered(refined(levels))
    upper = np.triu(np.random.default_rng(seed).uniform(-1, 1, (len(chain), 4, 4)), 1)
    affinity = upper + upper.transpose(0, 2, 1) + np.eye(4)
    tree, renamed = Tree.of(chain), Tree.of([[level[task] for task in order] for level in chain])
    sizes = list(range(1, len(chain) + 1))
    assert tree_parameters(renamed, sizes) == tree_parameters(tree, sizes)
    cost = tree_cost(renamed, affinity[:, order][:, :, order])
    assert cost == pytest.approx(tree_cost(tree, affinity))


@given(partitions)
def test_cost_lies_between_nothing_and_the_worst_pair_at_every_depth(
    levels: list[list[int]],
) -> None:
    tree = Tree.of(numbered(refined(levels)))
    depths = len(tree.clusters)
    affinity = np.full((depths, 4, 4), 0.4)
    affinity[:, range(4), range(4)] = 1.0
    cost = tree_cost(tree, affinity)
    shared = sum(
        sum(len(branch) > 1 for branch in clusters) / len(clusters) for clusters in tree.clusters
    )
    assert cost == pytest.approx(0.6 * shared)
    assert 0.0 <= cost <= 0.6 * depths


@pytest.mark.parametrize(("tasks", "depths"), [(3, 1), (3, 3), (4, 2)])
def test_all_trees_are_the_chains_of_partitions_that_refine(tasks: int, depths: int) -> None:
    """Against every sequence of labellings, kept where each level refines the one below."""

    def refines(fine: tuple[int, ...], coarse: tuple[int, ...]) -> bool:
        return all(
            coarse[i] == coarse[j] or fine[i] != fine[j] for i, j in combinations(range(tasks), 2)
        )

    labellings = {Tree.of([p]).partitions()[0] for p in product(range(tasks), repeat=tasks)}
    chains = {
        chain
        for chain in product(labellings, repeat=depths)
        if all(refines(chain[d + 1], chain[d]) for d in range(depths - 1))
    }
    assert {tree.partitions() for tree in all_trees(tasks, depths)} == chains

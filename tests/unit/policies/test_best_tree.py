"""The search for a tree against all trees there are, and what its result must obey."""

import numpy as np
import pytest

from recmtl.errors import ConfigError
from recmtl.policies import Tree, all_trees, branch_tree, tree_cost, tree_parameters

ENOUGH = 25
"""The beam that holds every partition of five tasks: 25 of them have three branches."""


def random_affinity(depths: int, tasks: int, seed: int, *, digits: int = 12) -> np.ndarray:
    """Any numbers, symmetric; few digits make many ties."""
    random = np.random.default_rng(seed)
    upper = np.triu(random.uniform(-0.2, 1.0, (depths, tasks, tasks)), 1).round(digits)
    return upper + upper.transpose(0, 2, 1) + np.eye(tasks)


def random_problem(
    depths: int, tasks: int, seed: int, *, digits: int = 12
) -> tuple[np.ndarray, list[int], float]:
    """Affinity, sizes and a budget between all shared and all apart."""
    random = np.random.default_rng(seed + 999)
    sizes = random.integers(1, 100, depths).tolist()
    budget = random.uniform(sum(sizes), tasks * sum(sizes))
    return random_affinity(depths, tasks, seed, digits=digits), sizes, budget


def least_cost(affinity: np.ndarray, sizes: list[int], budget: float) -> float:
    depths, tasks, _ = affinity.shape
    trees = all_trees(tasks, depths)
    return min(tree_cost(t, affinity) for t in trees if tree_parameters(t, sizes) <= budget)


@pytest.mark.parametrize("beam", [None, ENOUGH])
@pytest.mark.parametrize("digits", [12, 1])
@pytest.mark.parametrize(("tasks", "depths", "cases"), [(3, 4, 15), (4, 3, 15), (5, 2, 12)])
def test_up_to_five_tasks_no_tree_costs_less(
    tasks: int, depths: int, cases: int, digits: int, beam: int | None
) -> None:
    for seed in range(cases):
        affinity, sizes, budget = random_problem(depths, tasks, seed, digits=digits)
        found = branch_tree(affinity, sizes, budget=budget, beam=beam)
        assert tree_parameters(found, sizes) <= budget
        want = least_cost(affinity, sizes, budget)
        assert tree_cost(found, affinity) == pytest.approx(want, abs=1e-7)


def test_a_narrow_beam_falls_short() -> None:
    """The comparison above can fail."""
    problems = [random_problem(2, 5, seed) for seed in range(12)]
    costs = [
        (tree_cost(branch_tree(a, sizes, budget=budget, beam=1), a), least_cost(a, sizes, budget))
        for a, sizes, budget in problems
    ]
    assert sum(found > want + 1e-6 for found, want in costs) >= 3


@pytest.mark.parametrize("seed", range(3))
def test_the_beam_finds_the_exact_tree_of_six_tasks_over_many_depths(seed: int) -> None:
    affinity, sizes, budget = random_problem(8, 6, seed)
    exact = branch_tree(affinity, sizes, budget=budget)
    beam = branch_tree(affinity, sizes, budget=budget, beam=ENOUGH)
    assert tree_cost(beam, affinity) == pytest.approx(tree_cost(exact, affinity), abs=1e-7)
    assert len(set(exact.counts)) > 1


def test_more_budget_never_costs_more() -> None:
    affinity, sizes, _ = random_problem(4, 5, 0)
    budgets = np.linspace(sum(sizes), 5 * sum(sizes), 30)
    costs = [tree_cost(branch_tree(affinity, sizes, budget=b), affinity) for b in budgets]
    assert costs == sorted(costs, reverse=True)
    assert len(set(costs)) > 5


@pytest.mark.parametrize("tasks", [1, 4, 9])
def test_the_two_ends_of_the_budget(tasks: int) -> None:
    affinity, sizes, _ = random_problem(3, tasks, 0)
    shared = branch_tree(affinity, sizes, budget=sum(sizes))
    apart = branch_tree(affinity, sizes, budget=tasks * sum(sizes))
    assert shared.counts == (1, 1, 1)
    assert apart.counts == (tasks,) * 3


@pytest.mark.parametrize("tasks", [5, 9])
def test_relabelling_tasks_relabels_the_tree(tasks: int) -> None:
    """Ties included: one large dissimilarity in a branch hides all smaller ones."""
    for seed in range(4):
        affinity, sizes, budget = random_problem(3, tasks, seed)
        order = np.random.default_rng(seed).permutation(tasks)
        tree = branch_tree(affinity, sizes, budget=budget)
        moved = branch_tree(affinity[:, order][:, :, order], sizes, budget=budget)
        assert moved == Tree.of([[level[task] for task in order] for level in tree.partitions()])


def test_identical_tasks_share_everything_whatever_may_be_spent() -> None:
    assert branch_tree(np.ones((3, 4, 4)), [5, 1, 2], budget=999).counts == (1, 1, 1)


@pytest.mark.parametrize("depths", range(3, 12))
def test_sizes_need_not_be_whole(depths: int) -> None:
    """Their sums round, and in another order otherwise."""
    sizes = np.random.default_rng(depths).uniform(0.0, 1.0, depths).tolist()
    affinity = random_affinity(depths, 3, 0)
    assert branch_tree(affinity, sizes, budget=sum(sizes)).counts == (1,) * depths
    assert branch_tree(affinity, sizes, budget=3 * sum(sizes)).counts == (3,) * depths


def test_a_budget_below_all_shared_is_refused_with_the_least() -> None:
    affinity = random_affinity(2, 3, 0)
    with pytest.raises(ConfigError, match=r"budget of 1,299: sharing everything costs 1,300"):
        branch_tree(affinity, [1000, 300], budget=1299)


def test_an_affinity_that_does_not_fit_is_refused() -> None:
    affinity = random_affinity(2, 3, 0)
    with pytest.raises(ConfigError, match=r"affinity \[2, 3, 3\] is not"):
        branch_tree(affinity, [1, 2, 3], budget=99)
    for broken in (np.nan, 0.3):
        wrong = affinity.copy()
        wrong[1, 0, 1] = broken
        with pytest.raises(ConfigError, match="finite, symmetric"):
            branch_tree(wrong, [1, 2], budget=99)
    with pytest.raises(ConfigError, match="1 on its diagonal"):
        branch_tree(0.5 * affinity, [1, 2], budget=99)

"""The authors' tree of the 40 CelebA attributes: its size, and that a search finds such a tree.

Branch counts by layer of a thin VGG-16, and who is together in layers 7 to 12, are those of the
published model; how its branches part from layer 13 on is made up here, with the right counts.
"""

import numpy as np
import pytest

from recmtl.policies import Tree, branch_tree, tree_cost, tree_parameters

COUNTS = (1,) * 6 + (2,) * 5 + (3, 10, 18, 33, 40)
TASKS = 40
EYEGLASSES, MALE_AND_ALIKE = 0, range(1, 19)


def thin_vgg(width: int) -> list[int]:
    """Parameters of a block of each layer: bias and batch norm with all but the last product."""

    def block(products: int, outputs: int) -> int:
        return products + outputs + 2 * outputs

    last = 2 * width
    convolutions = [block(3 * width * 9, width), *[block(width * width * 9, width)] * 12]
    flat = 7 * 7 * width
    return [*convolutions, block(flat * last, last), block(last * last, last), last + 1]


def part(branches: list[int], count: int, random: np.random.Generator) -> list[int]:
    """Refine a partition: split a branch in two until there are so many."""
    branches = list(branches)
    while (used := max(branches) + 1) < count:
        chosen = random.choice([b for b in range(used) if branches.count(b) > 1])
        members = [task for task, b in enumerate(branches) if b == chosen]
        for task in random.permutation(members)[: random.integers(1, len(members))]:
            branches[task] = used
    return branches


def celeba_tree() -> Tree:
    random = np.random.default_rng(0)
    levels = [[0] * TASKS, [int(task != EYEGLASSES) for task in range(TASKS)]]
    levels.append([0 if t == EYEGLASSES else 1 if t in MALE_AND_ALIKE else 2 for t in range(TASKS)])
    for count in COUNTS[12:]:
        levels.append(part(levels[-1], count, random))
    return Tree.of([levels[0]] * 6 + [levels[1]] * 5 + levels[2:])


def planted_affinity(tree: Tree, *, noise: float, least: float) -> np.ndarray:
    """Dissimilarities up to `noise` inside the tree's branches, and of `least` or more between."""
    random = np.random.default_rng(1)
    affinity = []
    for branches in map(np.array, tree.partitions()):
        between = random.uniform(least, 1.2, (TASKS, TASKS))
        inside = random.uniform(0.0, noise, (TASKS, TASKS))
        upper = np.triu(np.where(branches[:, None] == branches, inside, between), 1)
        affinity.append(1.0 - upper - upper.T)
    return np.stack(affinity)


@pytest.mark.parametrize(
    ("width", "parameters", "millions"), [(64, 8_830_248, 8.83), (32, 2_215_592, 2.22)]
)
def test_the_published_tree_has_the_published_size(
    width: int, parameters: int, millions: float
) -> None:
    size = tree_parameters(celeba_tree(), thin_vgg(width))
    assert size == parameters
    assert round(size / 1e6, 2) == millions


def test_the_tree_here_has_the_published_counts() -> None:
    tree = celeba_tree()
    assert tree.counts == COUNTS
    assert [len(cluster) for cluster in tree.clusters[6]] == [1, 39]
    assert [len(cluster) for cluster in tree.clusters[11]] == [1, 18, 21]


def test_a_planted_tree_is_found_within_its_own_size() -> None:
    """It is the best there is: what sharing more costs, splitting elsewhere cannot win back.

    Merging wrongly costs `least / 40` or more, and all that splitting could save is `16 * noise`.
    """
    noise, least = 0.0002, 0.3
    assert 16 * noise < least / TASKS
    tree, sizes = celeba_tree(), thin_vgg(64)
    affinity = planted_affinity(tree, noise=noise, least=least)
    budget = tree_parameters(tree, sizes)
    found = branch_tree(affinity, sizes, budget=budget)
    assert found.counts == COUNTS
    assert found == tree
    assert 0.0 < tree_cost(found, affinity) < 16 * noise

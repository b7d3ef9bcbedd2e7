"""Trees from trained networks: what is compared, what is found, and whether the cost ranks."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from recmtl.data.encoded_log import LogSplit
from recmtl.data.encoding import Encoding, NumericField
from recmtl.errors import ConfigError
from recmtl.grid import layout_cost
from recmtl.grid.catalog import branched
from recmtl.model import ModelSizes, TabularModel
from recmtl.model.heads import HeadSpec
from recmtl.policies import Tree, all_trees, tree_cost, tree_parameters
from recmtl.policies.affinity import dissimilarity_ranks
from recmtl.schema import Condition, TaskSpec
from recmtl.search import tree_search
from recmtl.search.tree_search import (
    CostRanking,
    TreeSearchResult,
    block_sizes,
    check_cost_ranking,
    search_tree,
)
from recmtl.train.config import Config, Grid, Training
from recmtl.train.loop import train
from recmtl.train.tabular_problem import TabularProblem
from recmtl.train.training_state import TrainingState
from tests.tabular_problems import TASKS, make_problem

CONFIG = Config(
    sizes=ModelSizes(embedding=3, tower=(4,)),
    grid=Grid(widths=(8, 6), depth=2),
    training=Training(batch_size=64, epochs=1, checks=1),
)
LEVELS = ((8,), (6,), (6,))


@pytest.fixture(scope="module")
def problem() -> TabularProblem:
    return make_problem()


@pytest.fixture(scope="module")
def found(problem: TabularProblem) -> TreeSearchResult:
    return search_tree(problem, CONFIG, seed=1)


@pytest.mark.parametrize("unit", ["parameters", "multiply_adds"])
def test_branches_times_blocks_are_the_cost_of_the_layout(unit: str) -> None:
    levels = ((7, 5), (4,))
    sizes = block_sizes(levels, input_width=11, unit=unit)
    for tree in all_trees(3, 2):
        cost = layout_cost(branched(tree.partitions(), levels=levels), input_width=11)
        assert tree_parameters(tree, sizes) == getattr(cost, unit)


def test_a_search_finds_a_tree_within_its_budget(
    found: TreeSearchResult, problem: TabularProblem
) -> None:
    assert found.levels == LEVELS
    assert found.affinity.shape == (len(LEVELS), len(TASKS), len(TASKS))
    width = problem.encoding.num_fields * 3
    sizes = block_sizes(LEVELS, input_width=width)
    assert found.budget == sum(sizes) * (1 + 0.5 * (len(TASKS) - 1))
    assert tree_parameters(found.tree, sizes) <= found.budget
    assert (found.layout.num_tasks, found.seconds > 0.0) == (len(TASKS), True)
    others = found.affinity[~np.eye(len(TASKS), dtype=bool)[None].repeat(len(LEVELS), 0)]
    assert np.ptp(others) > 0.01


def test_a_search_again_finds_the_same(found: TreeSearchResult, problem: TabularProblem) -> None:
    again = search_tree(problem, CONFIG, seed=1)
    assert again.tree == found.tree
    np.testing.assert_array_equal(again.affinity, found.affinity)


def test_json_goes_there_and_back(found: TreeSearchResult) -> None:
    again = TreeSearchResult.from_json(json.loads(json.dumps(found.to_json())))
    np.testing.assert_array_equal(again.affinity, found.affinity)
    assert replace(again, affinity=found.affinity) == found
    assert again.layout == found.layout


def test_features_are_what_each_depth_puts_out_for_the_same_rows(
    problem: TabularProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Networks left untrained, and the layers applied by hand to the rows of the seed."""
    seen: list[np.ndarray] = []

    def ranks(features: np.ndarray, *, weight: np.ndarray) -> np.ndarray:
        seen.append(features)
        return dissimilarity_ranks(features, weight=weight)

    monkeypatch.setattr(tree_search, "train", lambda *_, **__: TrainingState())
    monkeypatch.setattr(tree_search, "dissimilarity_ranks", ranks)
    dropping = replace(CONFIG, sizes=replace(CONFIG.sizes, dropout=0.5, field_dropout=0.5))
    search_tree(problem, dropping, seed=4, rows=40)
    rows = np.sort(np.random.default_rng(4).permutation(len(problem.validation))[:40])
    torch.manual_seed(4)
    layout = branched(((0,), (0,), (0,)), levels=LEVELS)
    model = TabularModel(problem.encoding, problem.heads[:1], layout=layout, sizes=CONFIG.sizes)
    with torch.no_grad():
        ids, numeric = problem.validation.ids[rows], problem.validation.numeric[rows]
        lane = model.encoder(torch.from_numpy(ids).long(), torch.from_numpy(numeric))[:, 0]
        for depth in range(len(LEVELS)):
            stack = model.grid.layer(depth).experts
            lane = torch.relu(lane @ stack.weights[0][0] + stack.biases[0][0])
            for features in seen[depth :: len(LEVELS)]:
                np.testing.assert_allclose(features, lane.numpy(), rtol=0, atol=1e-5)
    assert len(seen) == len(LEVELS) * len(TASKS)


@pytest.mark.parametrize(("share", "branches"), [(0.0, 1), (1.0, len(TASKS))])
def test_the_ends_of_the_budget(problem: TabularProblem, share: float, branches: int) -> None:
    ends = search_tree(problem, CONFIG, seed=0, share=share, levels=((5,), (4, 3)))
    assert ends.tree.counts == (branches, branches)
    assert [layer.hidden for layer in ends.layout.layers] == [(), (4,)]


def test_what_has_no_tree_is_refused(problem: TabularProblem) -> None:
    with pytest.raises(ConfigError, match="share between 0 and 1"):
        search_tree(problem, CONFIG, seed=0, share=1.5)
    with pytest.raises(ConfigError, match="two tasks or more"):
        search_tree(problem.only(TASKS[0]), CONFIG, seed=0)


def related_tasks(seed: int) -> TabularProblem:
    """Four tasks of eight numbers: 0 and 2 follow one half of them, 1 and 3 the other."""
    random = np.random.default_rng(seed)

    def split(rows: int) -> LogSplit:
        numeric = random.normal(size=(rows, 8)).astype(np.float32)
        halves = numeric.reshape(rows, 2, 4).sum(2)
        labels = random.random((rows, 4)) < 1.0 / (1.0 + np.exp(-2.0 * np.tile(halves, 2)))
        whole = np.arange(rows, dtype=np.int64)
        ones, ids = np.ones(rows, np.float32), np.empty((rows, 0), np.int32)
        return LogSplit(ids, numeric, labels.astype(np.float32), ones, 0 * whole, whole)

    names = [f"task_{number}" for number in range(4)]
    encoding = Encoding(1, (), (), tuple(NumericField(f"x{n}", "standard", 1) for n in range(8)))
    tasks = tuple(TaskSpec(name, "binary", Condition(name)) for name in names)
    heads = tuple(HeadSpec(name, "binary", mean=0.5, std=0.5) for name in names)
    return TabularProblem(split(2000), split(400), split(10), encoding, tasks, heads)


@pytest.mark.parametrize("seed", range(3))
def test_related_tasks_share_a_branch(seed: int) -> None:
    """The budget is for two branches and a bit."""
    config = replace(CONFIG, training=Training(batch_size=128, epochs=2))
    found = search_tree(related_tasks(seed), config, seed=seed, levels=((16, 8),), share=0.4)
    assert found.tree.clusters == (((0, 2), (1, 3)),)


def test_agreement_by_hand() -> None:
    """Costs descend, scores ascend: rank correlation 1; one exchange of neighbours makes it .8."""
    costs, scores = [0.4, 0.3, 0.2, 0.1], [0.5, 0.6, 0.7, 0.8]
    assert CostRanking.of(costs, scores).correlation == pytest.approx(1.0)
    assert CostRanking.of(costs[::-1], scores).correlation == pytest.approx(-1.0)
    assert CostRanking.of(costs, [0.6, 0.5, 0.7, 0.8]).correlation == pytest.approx(0.8)
    assert np.isnan(CostRanking.of(costs, [0.5] * 4).correlation)
    with pytest.raises(ConfigError, match="three trees or more"):
        CostRanking.of(costs[:2], scores[:2])


def test_given_trees_are_trained_and_ranked(
    found: TreeSearchResult, problem: TabularProblem
) -> None:
    numbers = ((0, 0, 0, 0), (0, 0, 1, 1), (0, 1, 2, 3))
    trees = [Tree.of([branches] * len(LEVELS)) for branches in numbers]
    agreement = check_cost_ranking(trees, found, problem, CONFIG, seed=2)
    assert agreement.costs == tuple(tree_cost(tree, found.affinity) for tree in trees)
    torch.manual_seed(2)
    layout = branched(trees[1].partitions(), levels=LEVELS)
    model = TabularModel(problem.encoding, problem.heads, layout=layout, sizes=CONFIG.sizes)
    fitted = train(model, problem, CONFIG.training, seed=2)
    assert agreement.scores[1] == fitted.checks[fitted.best].score
    assert CostRanking.of(agreement.costs, agreement.scores) == agreement


def test_a_file_of_an_older_search_is_read() -> None:
    """As a study wrote it: plain lists, and the names of its fields."""
    data = {
        "tree": {"clusters": [[[0, 1]], [[0], [1]]]},
        "levels": [[8], [6]],
        "affinity": [[[1.0, 0.5], [0.5, 1.0]]] * 2,
        "budget": 250.0,
        "seconds": 1.5,
    }
    result = TreeSearchResult.from_json(data)
    assert result.tree == Tree.of([(0, 0), (0, 1)])
    assert result.layout == branched(((0, 0), (0, 1)), levels=((8,), (6,)))
    assert json.loads(json.dumps(result.to_json())) == data


@pytest.mark.parametrize("unit", ["parameters", "multiply_adds"])
def test_block_sizes_are_products_by_hand(unit: str) -> None:
    """A product of n inputs and m outputs has n m weights, and m biases that are parameters."""
    biases = unit == "parameters"
    sizes = block_sizes(((8, 5), (4,), (3,)), input_width=10, unit=unit)
    products = [10 * 8 + 8 * 5, 5 * 4, 4 * 3]
    outputs = [8 + 5, 4, 3]
    assert sizes == [p + biases * o for p, o in zip(products, outputs, strict=True)]


def test_too_little_for_a_tree_says_what_there_is(problem: TabularProblem) -> None:
    with pytest.raises(ConfigError, match=r"there are 4 tasks, and the share is -0\.1"):
        search_tree(problem, CONFIG, seed=0, share=-0.1)
    with pytest.raises(ConfigError, match="there are 3 costs and 4 scores"):
        CostRanking.of([1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0])

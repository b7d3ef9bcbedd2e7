"""Weights of rows in all that learns and chooses: 2 is twice, 0 is absent, a factor nothing.

Weights of a common factor are compared to the bit with powers of two, and to 1e-5 otherwise, since
weights are float32 in a network. Where a penalty or a prior counts rows (logistic regression,
Platt's), the weights of a log do so too: `prepare` gives them mean 1.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch

from recmtl.baselines import constant, lightgbm, logistic
from recmtl.data.encoded_log import LogSplit
from recmtl.forest.settings import ForestSettings
from recmtl.grid import Routes
from recmtl.grid.catalog import CATALOG
from recmtl.policies.affinity import dissimilarity_ranks, rank_affinity
from recmtl.search.budget import CostMultiplier
from recmtl.search.policy_factory import make_policy
from recmtl.search.selection import RouteObjective, choose_route
from recmtl.search.supernet import Supernet
from recmtl.search.task_merging import task_agreement
from recmtl.train.config import Config, Grid, Training
from recmtl.train.loop import take_step, train
from recmtl.train.optimizer import Optimizer
from recmtl.train.tabular_problem import TabularProblem
from tests.tabular_problems import ENCODING, TASKS, make_model, make_problem, rows_of

SETTINGS = Training(batch_size=64, epochs=2, checks=1, patience=9)
CLASSES = {"stars": ("1", "2", "3")}
FACTORS = (2.0**-20, 2.0**20, 1e-7, 1e7)
TREES = ForestSettings(rounds=20, smallest_leaf=5, tune=False)


def weighted(problem: TabularProblem, change: Callable[[np.ndarray], np.ndarray]) -> TabularProblem:
    """The problem with other weights of all its rows."""
    parts = {
        name: replace(getattr(problem, name), weight=change(getattr(problem, name).weight))
        for name in ("train", "validation", "test")
    }
    return replace(problem, **parts)


def scaled(problem: TabularProblem, factor: float) -> TabularProblem:
    return weighted(problem, lambda w: (w.astype(np.float64) * factor).astype(np.float32))


def exact(factor: float) -> bool:
    return float(np.log2(factor)).is_integer()


@pytest.fixture(scope="module")
def problem() -> TabularProblem:
    return make_problem(300)


@pytest.mark.parametrize("factor", FACTORS)
def test_a_training_does_not_notice_a_common_factor(problem: TabularProblem, factor: float) -> None:
    outcomes = []
    for rows in (problem, scaled(problem, factor)):
        torch.manual_seed(0)
        model = make_model(problem=rows)
        state = train(model, rows, SETTINGS, seed=0)
        outcomes.append((state, rows.scored(model)[0]))
    (one, its), (other, like) = outcomes
    assert one.best == other.best
    tolerance = 0.0 if exact(factor) else 1e-5
    for first, second in zip(one.checks, other.checks, strict=True):
        assert first.loss == pytest.approx(second.loss, rel=tolerance)
        assert first.score == pytest.approx(second.score, rel=tolerance)
    for column, scores in its.items():
        np.testing.assert_allclose(scores, like[column], rtol=100 * tolerance)


def test_a_step_of_one_batch_counts_a_weight_of_two_as_the_row_twice(
    problem: TabularProblem,
) -> None:
    times = np.random.default_rng(0).integers(1, 4, len(problem.train))
    once = replace(problem.train, weight=times.astype(np.float32))
    twice = rows_of(
        replace(problem.train, weight=np.ones_like(once.weight)),
        np.repeat(np.arange(len(times)), times),
    )
    models = []
    for rows in (once, twice):
        torch.manual_seed(0)
        model = make_model(problem=problem)
        batch = next(rows.batches(batch_size=len(rows), seed=None))
        take_step(model, Optimizer(model, SETTINGS, total_steps=9), batch)
        models.append(model)
    for (name, one), other in zip(
        models[0].named_parameters(), models[1].parameters(), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5, msg=name)


def test_losses_survive_the_lightest_weights(problem: TabularProblem) -> None:
    model, light = make_model(problem=problem), scaled(problem, 1e-30)
    one, other = (next(p.train.batches(batch_size=300, seed=None)) for p in (problem, light))
    losses = [
        model.heads.losses(model(*batch.inputs), batch.labels, batch.weight)
        for batch in (one, other)
    ]
    torch.testing.assert_close(*losses)


def test_several_batches_of_a_step_count_with_their_weight(problem: TabularProblem) -> None:
    """As one batch, where a task is defined on all rows: of one task, to the bit of a sum."""
    alone = problem.only(TASKS[0])
    heavy = np.where(np.arange(300) < 150, 10.0, 0.1).astype(np.float32)
    rows = replace(alone.train, weight=heavy)
    losses = []
    for size in (150, 300):
        torch.manual_seed(0)
        model = make_model(
            CATALOG["shared_bottom"].layout(1, cells=1, widths=(8,), depth=1), problem=alone
        )
        group = list(rows.batches(batch_size=size, seed=None))
        losses.append(take_step(model, Optimizer(model, SETTINGS, total_steps=9), *group))
    torch.testing.assert_close(*losses)


def test_checks_use_weights(problem: TabularProblem) -> None:
    model = make_model(problem=problem)
    only_ten = np.where(np.arange(120) < 60, 1.0, 1e-9).astype(np.float32)
    light = replace(problem, validation=replace(problem.validation, weight=only_ten))
    few = replace(problem, validation=rows_of(problem.validation, slice(0, 60)))
    few = weighted(few, np.ones_like)
    one, other = light.evaluate(model), few.evaluate(model)
    for task in one:
        assert one[task] == pytest.approx(other[task], rel=1e-4, nan_ok=True)


def test_equal_weights_give_the_figures_of_none_to_the_bit(problem: TabularProblem) -> None:
    model = make_model(problem=problem)
    one, other = weighted(problem, np.ones_like), weighted(problem, lambda w: w * 0 + 3)
    assert str(one.evaluate(model)) == str(other.evaluate(model))


def test_a_task_alone_has_the_weighted_statistics_of_its_rows(problem: TabularProblem) -> None:
    for task in TASKS:
        alone = problem.only(task)
        label = alone.train.labels[:, 0].astype(np.float64)
        label = np.log1p(label) if task.transform == "log1p" else label
        mean = np.average(label, weights=alone.train.weight)
        assert alone.heads[0].mean == pytest.approx(mean)
        std = np.average((label - mean) ** 2, weights=alone.train.weight) ** 0.5
        assert alone.heads[0].std == pytest.approx(std)


def baselines() -> Mapping[str, Callable[[TabularProblem], Mapping[str, np.ndarray]]]:
    def fit(method, **options):
        return lambda p: (
            method.fit_predict(
                p.train, p.validation, p.test, TASKS, ENCODING, classes=CLASSES, **options
            ).predictions
        )

    return {
        "constant": fit(constant),
        "logistic": fit(logistic),
        "lightgbm": fit(lightgbm, threads=1, settings=TREES),
    }


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("name", ["constant", "lightgbm"])
def test_baselines_do_not_notice_a_common_factor(
    problem: TabularProblem, name: str, factor: float
) -> None:
    if name == "lightgbm" and not exact(factor):
        pytest.skip("a tree may split elsewhere if float32 rounds weights to another last bit")
    fit = baselines()[name]
    one, other = fit(problem), fit(scaled(problem, factor))
    for column, scores in one.items():
        np.testing.assert_allclose(scores, other[column], rtol=0 if exact(factor) else 1e-3)


@pytest.mark.parametrize("name", ["constant", "logistic", "lightgbm"])
def test_baselines_do_not_notice_rows_of_weight_zero(problem: TabularProblem, name: str) -> None:
    zero = np.random.default_rng(3).random(300) < 0.3
    weight = np.where(zero, 0.0, problem.train.weight).astype(np.float32)
    labels = problem.train.labels.copy()
    labels[zero, 2] = 1e6
    train_rows = replace(problem.train, weight=weight, labels=labels)
    fit = baselines()[name]
    there = fit(replace(problem, train=train_rows))
    absent = fit(replace(problem, train=rows_of(train_rows, np.flatnonzero(~zero))))
    for column, scores in there.items():
        np.testing.assert_array_equal(scores, absent[column])


def test_trees_are_grown_on_weights_of_any_size(problem: TabularProblem) -> None:
    """LightGBM's least sum of Hessians in a leaf is .001: light rows grew no tree at all."""
    scores = baselines()["lightgbm"](scaled(problem, 1e-12))["p_click"]
    assert len(np.unique(scores)) > 10


@pytest.fixture(scope="module")
def supernet(problem: TabularProblem) -> Supernet:
    torch.manual_seed(0)
    config = Config(grid=Grid(cells=4, depth=1, widths=(8,), max_edges=2))
    return Supernet(problem.layout("recmtl_grid", config.grid), problem=problem, config=config)


@pytest.mark.parametrize("factor", FACTORS)
def test_routes_are_chosen_alike_under_a_common_factor(
    problem: TabularProblem, supernet: Supernet, factor: float
) -> None:
    config = Config(grid=Grid(cells=4, depth=1, widths=(8,), max_edges=2))
    objective = RouteObjective(supernet, multiplier=CostMultiplier(0.01, steps=1), target=None)
    chosen: list[tuple[Routes, list[tuple[float, float]]]] = []
    for rows in (problem, scaled(problem, factor)):
        torch.manual_seed(1)
        policy = make_policy(supernet.layout, config)
        search = replace(config.search, refine=0, candidates=6)
        chosen.append(choose_route(objective, policy, rows.validation, settings=search, seed=0))
    (one, its), (other, like) = chosen
    assert one == other
    np.testing.assert_allclose(its, like, rtol=0 if exact(factor) else 1e-5)


def test_batches_of_a_comparison_count_with_their_weight(
    problem: TabularProblem, supernet: Supernet
) -> None:
    class Small(LogSplit):
        largest_batch = 40

    decisions = [Routes.of(supernet.layout, make_policy(supernet.layout, Config())(None))]
    decided = [decisions[0].decisions(supernet.layout)]
    weight = np.where(np.arange(120) < 40, 10.0, 0.1).astype(np.float32)
    whole = replace(problem.validation, weight=weight)
    small = Small(*(getattr(whole, name) for name in LogSplit.__annotations__))
    one, other = (supernet.compare(rows, decided)[0] for rows in (whole, small))
    torch.testing.assert_close(one[:2], other[:2])  # the other tasks lack labels of some rows


def test_affinities_count_pairs_of_rows_by_weight() -> None:
    random = np.random.default_rng(0)
    features = [random.normal(size=(40, 5)) for _ in range(3)]
    features[1][:30] = features[0][:30]
    few = rank_affinity([[dissimilarity_ranks(f[:30]) for f in features]])
    weight = np.where(np.arange(40) < 30, 1.0, 1e-12)
    light = rank_affinity([[dissimilarity_ranks(f, weight=weight) for f in features]])
    np.testing.assert_allclose(few, light, atol=1e-6)
    uneven = random.uniform(0.5, 2, 40)
    one, other = (
        rank_affinity([[dissimilarity_ranks(f, weight=uneven * c) for f in features]])
        for c in (1.0, 1e-7)
    )
    np.testing.assert_allclose(one, other, atol=1e-12)
    assert np.abs(one).max() <= 1.0


def test_agreement_of_tasks_counts_rows_by_weight(
    problem: TabularProblem, supernet: Supernet
) -> None:
    routes = Routes.of(supernet.layout, make_policy(supernet.layout, Config())(None))
    rows = problem.validation
    few = replace(rows_of(rows, slice(0, 90)), weight=np.ones(90, np.float32))
    light = replace(rows, weight=np.where(np.arange(120) < 90, 1.0, 1e-12).astype(np.float32))
    one, other = (task_agreement(routes, supernet, part) for part in (few, light))
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)

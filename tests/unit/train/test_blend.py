"""Which members a blend has, as validation rows say."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from recmtl.data.encoded_log import LogSplit
from recmtl.model import TabularModel, predict
from recmtl.train.blend import FOREST, FittedBlend, ForestLogits, fit_blend
from recmtl.train.tabular_problem import TabularProblem
from tests.tabular_problems import make_model, make_problem, make_split, rows_of

ROWS = 3000
PLACES = ((0,), (1,), (2,), ())


@pytest.fixture(scope="module")
def problem() -> TabularProblem:
    return replace(make_problem(600), validation=make_split(ROWS, 8), test=make_split(400, 9))


def network(seed: int) -> TabularModel:
    torch.manual_seed(seed)
    return make_model().eval()


def truth(rows: LogSplit) -> np.ndarray:
    """Forests that know how labels came about, of click, buy and watch `[R, 3]`."""
    user, item = rows.ids[:, 0] - 1, rows.ids[:, 1] - 31
    price = np.nan_to_num(rows.numeric[:, 1], nan=2.0)
    click = 2 * (np.sin(user) + np.cos(item) + 0.5 * price - 1.0)
    return np.stack([click, np.sin(user), 1 + np.cos(item)], 1).astype(np.float64)


def fitted(problem: TabularProblem, *, knows: bool = True) -> FittedBlend:
    parts = [truth(rows) for rows in (problem.validation, problem.test)]
    if not knows:
        parts = [np.random.default_rng(len(p)).normal(size=p.shape) for p in parts]
    forest = ForestLogits(PLACES, parts[0], parts[1])
    return fit_blend({"searched-0": network(0), "searched-1": network(1)}, problem, forest)


def test_a_member_that_knows_more_gets_the_weight_of_its_tasks(problem: TabularProblem) -> None:
    blend = fitted(problem)
    assert blend.model is not None and blend.hears_forest
    tasks = blend.facts["tasks"]
    for name in ("click", "buy", "watch"):
        assert tasks[name]["taken"] and tasks[name]["weights"][FOREST] > 0.6
        assert tasks[name]["gain"] > 2 * tasks[name]["error"] > 0
    assert tasks["stars"]["weights"][FOREST] == 0, "it has no forest"
    before = problem.score(problem.evaluate(network(0)))
    assert blend.problem.score(blend.problem.evaluate(blend.model)) > before + 0.1


def test_the_regression_of_a_forest_is_blended_on_the_scale_of_training(
    problem: TabularProblem,
) -> None:
    blend = fitted(problem)
    assert blend.model is not None
    value = predict(blend.model, blend.problem.test)["value_watch"]
    label = problem.test.labels[:, 2]
    seen = ~np.isnan(label)
    assert np.corrcoef(np.log1p(value[seen]), np.log1p(label[seen]))[0, 1] > 0.8


def test_members_without_any_weight_are_not_in_the_blend(problem: TabularProblem) -> None:
    blend = fitted(problem, knows=False)
    assert FOREST not in blend.facts["members"]
    for task in blend.facts["tasks"].values():
        assert task["taken"] or task["weights"]["searched-0"] == 1, "what is served is shown"
    assert not blend.hears_forest
    if blend.model is None:
        assert blend.facts["members"] == ["searched-0"]
        assert blend.problem is problem
    else:
        assert len(blend.model.networks) == 2


def test_one_network_alone_is_never_a_blend(problem: TabularProblem) -> None:
    blend = fit_blend({"searched-0": network(0)}, problem)
    assert blend.model is None and blend.facts["members"] == ["searched-0"]


def test_copies_of_a_network_are_no_blend(problem: TabularProblem) -> None:
    blend = fit_blend({"searched-0": network(0), "searched-1": network(0)}, problem)
    assert blend.model is None


def test_test_rows_have_no_say(problem: TabularProblem) -> None:
    order = np.random.default_rng(0).permutation(len(problem.test))
    shuffled = replace(problem, test=rows_of(problem.test, order))
    first, second = fitted(problem), fitted(shuffled)
    assert first.facts == second.facts
    assert first.model is not None and second.model is not None
    assert torch.equal(first.model.weights, second.model.weights)


def test_rows_of_no_weight_and_undefined_labels_do_not_count(problem: TabularProblem) -> None:
    extra = make_split(500, 10)
    labels = 1.0 - extra.labels
    ignored = replace(extra, labels=labels, weight=np.zeros(500, np.float32))
    both = LogSplit(
        *(
            np.concatenate([getattr(problem.validation, name), getattr(ignored, name)])
            for name in LogSplit.__annotations__
        )
    )
    assert fitted(replace(problem, validation=both)).facts == fitted(problem).facts


def test_no_rows_blend_nothing(problem: TabularProblem) -> None:
    none = rows_of(problem.validation, slice(0, 0))
    assert fitted(replace(problem, validation=none)).model is None

"""Importance: what a network does not use loses nothing, what it rests on loses most."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from recmtl.grid import shared_bottom
from recmtl.job.analysis import importance as module
from recmtl.job.analysis.importance import importance
from recmtl.model import ModelSizes, TabularModel
from recmtl.train.tabular_problem import TabularProblem
from tests.tabular_problems import make_problem

PRICE = 1
"""Column of the price among the numbers."""


class PriceAlone(TabularModel):
    """Scores every task by the price and by nothing else."""

    calls = 0

    def predict(self, ids: Tensor, numeric: Tensor, decisions: object = None) -> Tensor:
        PriceAlone.calls += len(ids)
        score = torch.sigmoid(torch.nan_to_num(numeric[:, [PRICE]]) - 2.0)
        return score.expand(-1, len(self.columns))


@pytest.fixture(scope="module")
def problem() -> TabularProblem:
    whole = make_problem(400)
    sources = {"ids": ("user", "item", "history"), "numbers": ("age", "price")}
    return replace(whole, sources=sources)


@pytest.fixture(scope="module")
def network(problem: TabularProblem) -> TabularModel:
    layout = shared_bottom(len(problem.tasks), widths=(4,))
    return PriceAlone(problem.encoding, problem.heads, layout=layout, sizes=ModelSizes()).eval()


def test_only_what_a_network_reads_matters_to_it(
    problem: TabularProblem, network: TabularModel
) -> None:
    facts = importance(network, problem, row_scores=10**6)
    assert facts is not None and facts["part"] == "validation"
    assert facts["rows"] == len(problem.validation)
    click = facts["tasks"]["click"]
    assert list(click["features"]) == ["user", "item", "history", "age", "price"]
    for name, entry in click["features"].items():
        assert entry["source"] == ("numbers" if name in ("age", "price") else "ids")
        if name == "price":
            assert entry["loss"] > 0.02, "labels follow the price"
        else:
            assert entry["loss"] == entry["std"] == 0.0
    assert click["sources"]["ids"]["loss"] == 0.0
    assert click["sources"]["numbers"]["loss"] == pytest.approx(click["features"]["price"]["loss"])


def test_a_loss_is_positive_where_a_higher_metric_is_worse_too(
    problem: TabularProblem, network: TabularModel
) -> None:
    labels = np.array(problem.validation.labels)
    watch = [task.name for task in problem.tasks].index("watch")
    price = np.nan_to_num(problem.validation.numeric[:, PRICE])
    labels[:, watch] = 1 / (1 + np.exp(2.0 - price))
    exact = replace(problem, validation=replace(problem.validation, labels=labels))
    facts = importance(network, exact, row_scores=10**6)
    assert facts is not None
    entry = facts["tasks"]["watch"]
    assert entry["metric"] == "rmse" and entry["value"] == pytest.approx(0.0, abs=1e-6)
    assert entry["features"]["price"]["loss"] > 0.1


def test_the_cost_is_bounded_and_the_same_rows_are_drawn_again(
    problem: TabularProblem, network: TabularModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FEWEST_ROWS", 20)
    groups = len(problem.encoding.fields) + len(problem.sources)
    PriceAlone.calls, most = 0, 50 * module.REPEATS * groups
    facts = importance(network, problem, row_scores=most)
    assert facts is not None and facts["rows"] == 50
    assert most + 50 == PriceAlone.calls, "one pass is that of the rows as they are"
    assert importance(network, problem, row_scores=most) == facts
    assert importance(network, problem, row_scores=0) is None


def test_without_validation_rows_nothing_is_said(
    problem: TabularProblem, network: TabularModel
) -> None:
    empty = replace(problem, validation=problem.validation.take(np.array([], np.int64)))
    assert importance(network, empty, row_scores=10**6) is None


def test_lists_aligned_with_a_history_are_shuffled_with_it(problem: TabularProblem) -> None:
    first, lists = len(problem.encoding.single), []
    for name, align in (("history", None), ("ages", "history")):
        field = replace(problem.encoding.lists[0], name=name, pooling="attention", align=align)
        lists.append(replace(field, first=first, length=3, target="item" if not align else None))
        first += 3
    encoding = replace(problem.encoding, lists=tuple(lists))
    groups = module._features(replace(problem, encoding=encoding))
    assert "ages" not in groups and groups["history"].ids == [2, 3, 4, 5, 6, 7]

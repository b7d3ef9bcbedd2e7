"""Results of trained models: mean costs, what searches share, and how far they agree."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.errors import DataError
from recmtl.grid import Layout, Routes, mmoe
from recmtl.grid.catalog.shared import branched, single_task
from recmtl.job.fit import ModelResult
from recmtl.job.outcome import (
    Models,
    TabularStudy,
    agreement,
    mean_costs,
    reliability,
    sharing,
    trained_models,
    validation_results,
)
from recmtl.job.problem_kind import TABULAR_PROBLEMS
from recmtl.job.study import Study
from recmtl.job.work.items import WorkItem
from recmtl.search.race import EntrantRecord
from recmtl.search.search import SearchResult
from recmtl.train.config import Config, Evidence
from tests.tabular_problems import TASKS, make_problem

SAME = np.array([[1.0, 0.5, 0.0], [0.5, 1.0, 0.2], [0.0, 0.2, 1.0]])


def other(value: float) -> np.ndarray:
    """`SAME` with another overlap of the first two tasks."""
    changed = SAME.copy()
    changed[0, 1] = changed[1, 0] = value
    return changed


def test_equal_searches_agree_wholly() -> None:
    assert agreement(np.stack([SAME, SAME, SAME])) == 1.0


def test_searches_that_share_nothing_agree_wholly() -> None:
    assert agreement(np.stack([np.eye(3), np.eye(3)])) == 1.0


def test_searches_that_share_other_pairs_do_not_agree() -> None:
    nothing, apart = np.eye(3), np.eye(3)
    nothing[0, 1] = nothing[1, 0] = 1.0
    apart[1, 2] = apart[2, 1] = 1.0
    assert agreement(np.stack([nothing, apart])) == 0.0


def test_agreement_is_the_jaccard_index_of_the_overlaps_above_the_diagonal() -> None:
    assert agreement(np.stack([SAME, other(0.1)])) == pytest.approx(0.3 / 0.7, abs=1e-4)


def test_agreement_is_the_mean_over_all_pairs_of_seeds() -> None:
    pairs = [agreement(np.stack([SAME, other(v)])) for v in (0.1, 0.5)]
    pairs.append(agreement(np.stack([other(0.1), other(0.5)])))
    of_three = agreement(np.stack([SAME, other(0.1), other(0.5)]))
    assert of_three == pytest.approx(np.mean(pairs), abs=1e-4)


OVERLAPS = st.lists(
    st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=6, max_size=6), min_size=2, max_size=4
)


def symmetric(above: list[list[float]]) -> np.ndarray:
    """Overlaps `[seeds, 4, 4]` with these values above the diagonal."""
    overlaps = np.zeros((len(above), 4, 4))
    for seed, values in enumerate(above):
        overlaps[seed][np.triu_indices(4, k=1)] = values
        overlaps[seed] += overlaps[seed].T + np.eye(4)
    return overlaps


@given(OVERLAPS, st.permutations(range(4)))
def test_agreement_does_not_depend_on_the_order_of_tasks_or_seeds(
    above: list[list[float]], order: list[int]
) -> None:
    overlaps = symmetric(above)
    value = agreement(overlaps)
    assert 0.0 <= value <= 1.0
    assert agreement(overlaps[::-1]) == pytest.approx(value, abs=2e-4)
    assert agreement(overlaps[:, order][:, :, order]) == pytest.approx(value, abs=2e-4)


@given(OVERLAPS, st.sampled_from([0.1, 0.5]))
def test_agreement_measures_the_pattern_and_not_the_amount(
    above: list[list[float]], factor: float
) -> None:
    scaled = agreement(symmetric(above) * factor)
    assert scaled == pytest.approx(agreement(symmetric(above)), abs=2e-4)


def result(cost: dict[str, float | None] | None = None, **more: object) -> ModelResult:
    return ModelResult({}, cost or {}, **more)  # type: ignore[arg-type]


def test_costs_are_means_over_the_seeds_that_count_them() -> None:
    models: Models = {
        "mmoe": {
            0: result({"train_s": 2.0, "multiply_adds": 10.0}),
            1: result({"train_s": 4.0, "multiply_adds": None}),
        },
        "lightgbm": {0: result({"train_s": 1.0, "multiply_adds": None})},
    }
    assert mean_costs(models) == {
        "mmoe": {"train_s": 3.0, "multiply_adds": 10.0},
        "lightgbm": {"train_s": 1.0, "multiply_adds": None},
    }


class Wired(Study):
    """A study whose networks have layouts that the test gives it."""

    layouts: dict[tuple[str, int], Layout]

    def wiring(self, name: str, seed: int) -> Layout:
        return self.layouts[name, seed]

    def search_result(self, name: str, seed: int) -> SearchResult:
        """What raced is in the name of the layout."""
        layout = self.wiring(name, seed)
        won = EntrantRecord(name=layout.name, standing="won", score=0.5 + 0.1 * seed)
        routes, layout_json = Routes.full(layout), layout.to_json()
        return SearchResult(routes, layout_json, race=[won], winner=layout.name)


@pytest.fixture
def study(tmp_path: Path) -> TabularStudy:
    evidence = Evidence(seeds=2, control_seeds=2, controls=("random_route",))
    return Wired(tmp_path, TABULAR_PROBLEMS, make_problem(60), Config(evidence=evidence))


def wired(study: TabularStudy, searched: list[Layout], random: list[Layout]) -> TabularStudy:
    layouts = {("searched", seed): layout for seed, layout in enumerate(searched)}
    layouts |= {("random_route", seed): layout for seed, layout in enumerate(random)}
    object.__setattr__(study, "layouts", layouts)
    return study


SHARED, APART = mmoe(4, experts=2, widths=(4,)), single_task(4, widths=(4,))


def test_tasks_that_share_everything_in_one_search_and_nothing_in_the_other_differ(
    study: TabularStudy, tmp_path: Path
) -> None:
    facts = sharing(wired(study, [SHARED, APART], [APART, APART]), tmp_path / "none.json")
    assert facts["seeds"] == 2 and facts["tasks"] == [task.name for task in TASKS]
    expected = np.full((4, 4), 0.5) + 0.5 * np.eye(4)
    np.testing.assert_allclose(facts["overlap"], expected)
    np.testing.assert_allclose(facts["std"], 0.5 * (1 - np.eye(4)))
    assert (facts["agreement"], facts["agreement_of_random_routes"]) == (0.0, 1.0)
    pairs = [pair["tasks"] for pair in facts["differs"]]
    assert len(pairs) == 6 and pairs[0] == ("click", "buy")
    assert all((pair["lowest"], pair["highest"]) == (0.0, 1.0) for pair in facts["differs"])
    assert "planted" not in facts
    race = facts["race"]
    assert race["by_seed"] == {"0": "MMoE", "1": "single task"} and race["disagree"]
    assert (race["winner"], race["agreement"]) == ("single task", 0.0)
    json.dumps(facts)


def test_searches_that_are_one_have_nothing_to_differ_in(
    study: TabularStudy, tmp_path: Path
) -> None:
    evidence = Evidence(seeds=1, control_seeds=1, controls=("random_route",))
    alone = Wired(tmp_path, TABULAR_PROBLEMS, study.problem, Config(evidence=evidence))
    facts = sharing(wired(alone, [SHARED], [APART]), tmp_path / "none.json")
    assert set(facts) == {"tasks", "overlap", "std", "seeds", "race"}
    assert facts["race"]["says"] == "MMoE won the race of the only seed"


def test_the_planted_gap_is_the_overlap_of_related_tasks_above_that_of_others(
    study: TabularStudy, tmp_path: Path
) -> None:
    truth = tmp_path / "log.truth.json"
    truth.write_text(json.dumps({"related": [["buy", "click"], ["stars", "watch"]]}))
    pairs = branched([(0, 0, 1, 1)], levels=((4,),))
    planted = sharing(wired(study, [pairs, SHARED], [APART, APART]), truth)["planted"]
    assert planted == {"related": 1.0, "unrelated": 0.5, "gap_by_seed": [1.0, 0.0]}
    truth.write_text('{"related": []}')
    facts = sharing(wired(study, [pairs, SHARED], [APART, APART]), truth)
    assert "planted" not in facts, "without pairs of both kinds there is no gap"
    truth.write_text("{")
    with pytest.raises(DataError, match=r"truth\.json: is damaged .*; delete it"):
        sharing(wired(study, [pairs, SHARED], [APART, APART]), truth)


def scored(study: TabularStudy, value: float) -> dict[str, np.ndarray]:
    rows = len(study.problem.test)
    return {"p_click": np.full(rows, value), "p_buy_given_click": np.full(rows, value)}


def test_reliability_is_drawn_for_binary_tasks_of_the_models_shown(study: TabularStudy) -> None:
    models: Models = {
        name: {seed: ModelResult(scored(study, value), {}) for seed, value in enumerate((0.2, 0.9))}
        for name in ("searched", "lightgbm", "mmoe")
    }
    curves = reliability(study, models)
    assert {task: list(by_model) for task, by_model in curves.items()} == {
        "click": ["searched", "lightgbm"],
        "buy": ["searched", "lightgbm"],
    }
    labels, weight = np.asarray(study.problem.test.labels), study.problem.test.weight
    clicked = labels[:, 0] == 1
    for task, rows, column in (("click", slice(None), 0), ("buy", clicked, 1)):
        curve = curves[task]["searched"]
        assert curve.weight.sum() == pytest.approx(weight[rows].sum())
        assert curve.predicted == pytest.approx([0.2]), "of the first seed"
        assert curve.observed == pytest.approx(
            [np.average(labels[rows, column], weights=weight[rows])]
        )


def test_a_binary_task_without_a_defined_test_row_has_no_curve(study: TabularStudy) -> None:
    labels = np.array(study.problem.test.labels)
    labels[:, 0] = 0.0
    test = replace(study.problem.test, labels=labels)
    nobody = replace(study, problem=replace(study.problem, test=test))
    models: Models = {"searched": {0: ModelResult(scored(study, 0.2), {})}}
    assert list(reliability(nobody, models)) == ["click"], "nobody clicked, so nobody could buy"


def test_validation_results_hold_validation_figures_and_no_verdict(study: TabularStudy) -> None:
    metrics = {task.name: {"auc": 0.75, "r2": 0.25} for task in TASKS}
    models: Models = {"mmoe": {0: result({"train_s": 1.0}, validation=metrics)}}
    results = validation_results(study, models, fingerprint="abc")
    assert results["fingerprint"] == "abc"
    assert results["score"]["mmoe"]["mean"] == pytest.approx((0.75 * 3 + 0.25) / 4)
    assert all("verdict" not in entry for entry in results["tasks"].values())
    assert results["tasks"]["click"]["mmoe"]["auc"] == {"mean": 0.75, "std": 0.0, "seeds": 1}


def test_models_are_read_by_name_and_seed(tmp_path: Path) -> None:
    study = Study(tmp_path, TABULAR_PROBLEMS, make_problem(60), Config())
    items = [WorkItem("mmoe", 1), WorkItem("mmoe", 0), WorkItem("ple", 0)]
    for item in items:
        folder = study.model_folder(item.name, item.seed)
        folder.parent.mkdir(parents=True, exist_ok=True)
        result({"train_s": float(item.seed)}).save(folder)
    models = trained_models(study, items)
    assert {name: list(seeds) for name, seeds in models.items()} == {"mmoe": [1, 0], "ple": [0]}
    assert models["mmoe"][1].cost == {"train_s": 1.0}

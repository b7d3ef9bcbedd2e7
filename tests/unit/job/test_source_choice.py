"""Sources that matter are found, others are dropped, by validation rows alone."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from recmtl.data.encoded_log import LogSplit
from recmtl.errors import DataError
from recmtl.job.fit import ModelResult
from recmtl.job.outcome import TabularStudy
from recmtl.job.problem_kind import TABULAR_PROBLEMS
from recmtl.job.study import Study
from recmtl.job.what_matters.compare import Comparison, compare_models
from recmtl.job.what_matters.source_choice import LEVEL, choose_sources, plain_sources, with_source
from recmtl.job.work.items import WorkItem
from recmtl.train.config import Config, Search
from recmtl.train.tabular_problem import TabularProblem
from tests.planted_sources import CONFIG, PLANTED_TASKS, SOURCES, make_planted


def choose(
    folder: Path, problem: TabularProblem, config: Config = CONFIG
) -> tuple[TabularStudy, list[WorkItem]]:
    study, done = Study(folder, TABULAR_PROBLEMS, problem, config), list[WorkItem]()
    choose_sources(study, done.append)
    return study, done


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> tuple[TabularStudy, list[WorkItem]]:
    return choose(tmp_path_factory.mktemp("choice"), make_planted())


def test_a_source_that_decides_labels_is_heard_and_noise_is_dropped(
    chosen: tuple[TabularStudy, list[WorkItem]],
) -> None:
    study, done = chosen
    assert study.hears == ("ids", "statistics")
    assert study.heard.encoding.fields == ("user", "past")
    steps = json.loads((study.folder / "sources.json").read_text())["steps"]
    assert [(step["source"], step["kept"]) for step in steps] == [
        ("counts", False),
        ("statistics", True),
    ]
    assert steps[1]["beside"] == ["ids"], "a dropped source is not heard by those after it"
    assert steps[1]["gains"]["mean"]["verdict"] == "helped"
    assert len(done) == 9, "plain, counts and statistics, each with three seeds"


def test_every_network_of_the_choice_costs_the_same(
    chosen: tuple[TabularStudy, list[WorkItem]],
) -> None:
    study, done = chosen
    costs = {item.name: study.trained(item.name, item.seed).cost["multiply_adds"] for item in done}
    assert len(costs) == 3
    for cost in costs.values():
        assert cost == pytest.approx(study.equal_cost, rel=0.05)


def test_a_choice_is_made_once(chosen: tuple[TabularStudy, list[WorkItem]]) -> None:
    study, _ = chosen
    again, done = choose(study.folder, study.problem)
    assert done == [] and again.hears == study.hears


@pytest.mark.slow
def test_a_choice_that_was_killed_goes_on_to_the_same(
    chosen: tuple[TabularStudy, list[WorkItem]], tmp_path: Path
) -> None:
    def killed(done: list[WorkItem]) -> Iterator[None]:
        for _ in range(4):
            yield None
        raise KeyboardInterrupt

    study = Study(tmp_path, TABULAR_PROBLEMS, make_planted(), CONFIG)
    steps = killed([])
    with pytest.raises(KeyboardInterrupt):
        choose_sources(study, lambda item: next(steps))
    assert not (tmp_path / "sources.json").exists()
    choose_sources(study, lambda item: None)
    expected = (chosen[0].folder / "sources.json").read_text()
    assert (tmp_path / "sources.json").read_text() == expected


def test_test_rows_change_no_choice(
    chosen: tuple[TabularStudy, list[WorkItem]], tmp_path: Path
) -> None:
    problem = make_planted()
    random = np.random.default_rng(1)
    labels = problem.test.labels[random.permutation(len(problem.test))]
    choose(tmp_path, replace(problem, test=replace(problem.test, labels=labels)))
    expected = (chosen[0].folder / "sources.json").read_text()
    assert (tmp_path / "sources.json").read_text() == expected


def test_without_seeds_for_it_every_source_is_heard_and_nothing_is_trained(tmp_path: Path) -> None:
    config = replace(CONFIG, search=replace(CONFIG.search, source_seeds=0))
    study, done = choose(tmp_path, make_planted(), config)
    assert done == [] and study.hears == tuple(SOURCES) and study.heard is study.problem


def test_a_log_with_ids_and_numbers_only_has_nothing_to_choose(tmp_path: Path) -> None:
    plain = {"ids": SOURCES["ids"], "numbers": ("noise", "past")}
    study, done = choose(tmp_path, replace(make_planted(), sources=plain))
    assert done == [] and study.hears == ("ids", "numbers")


def test_a_damaged_choice_is_refused(tmp_path: Path) -> None:
    study = Study(tmp_path, TABULAR_PROBLEMS, make_planted(), CONFIG)
    (tmp_path / "sources.json").write_text('{"steps": []}')
    with pytest.raises(DataError, match=r"sources\.json.*so that sources are chosen again"):
        _ = study.hears


def test_one_seed_proves_nothing() -> None:
    with pytest.raises(ValueError, match="source_seeds must be 0, or at least 2"):
        Search(source_seeds=1)


@pytest.mark.parametrize(
    ("sources", "plain"),
    [
        (("ids", "numbers", "counts"), ("ids", "numbers")),
        (("counts", "statistics"), ("counts",)),
        ((), ()),
    ],
)
def test_every_network_hears_ids_and_numbers_or_what_comes_first(
    sources: tuple[str, ...], plain: tuple[str, ...]
) -> None:
    assert plain_sources(sources) == plain


def test_a_source_is_added_in_the_order_of_all() -> None:
    assert with_source(("ids", "trees"), "counts") == ("ids", "counts", "trees")


GAIN, LOSS, NOTHING = {"verdict": "helped"}, {"verdict": "hurt"}, {"verdict": "not proven"}


@pytest.mark.parametrize(
    ("mean", "tasks", "helps"),
    [
        (GAIN, [NOTHING], True),
        (NOTHING, [GAIN, NOTHING], True),
        (NOTHING, [NOTHING], False),
        (LOSS, [GAIN], False),
        (NOTHING, [LOSS], False),
        ({}, [NOTHING], False),
    ],
)
def test_a_source_helps_if_the_mean_or_a_task_surely_gains_and_the_mean_does_not_lose(
    mean: dict[str, str], tasks: list[dict[str, str]], helps: bool
) -> None:
    assert Comparison(mean, dict(zip("ab", tasks, strict=False))).helps is helps


def noisy(labels: np.ndarray, *, worth: float, luck: float, seeds: int, random: int) -> dict:
    """Scores of `seeds` networks: what is known of the labels, and the luck of a training."""
    dice, results = np.random.default_rng(random), {}
    known = np.random.default_rng(0).normal(size=labels.shape)
    for seed in range(seeds):
        skill = 0.6 + worth + luck * dice.normal()
        logits = skill * (2 * labels - 1) + known + 0.3 * dice.normal(size=labels.shape)
        click, dislike = 1 / (1 + np.exp(-logits.T))
        results[seed] = ModelResult({}, {}, on_validation={"p_click": click, "p_dislike": dislike})
    return results


def kept_share(worth: float, *, seeds: int, studies: int) -> float:
    """In which share of simulated studies a source of this worth is heard."""
    tasks, kept = PLANTED_TASKS, 0
    for number in range(studies):
        labels = np.random.default_rng(number).integers(0, 2, (600, 2)).astype(np.float32)
        nothing = np.zeros((600, 1), np.float32)
        rows = LogSplit(
            nothing, nothing, labels, np.ones(600, np.float32), *[np.zeros(600, int)] * 2
        )
        problem = mock.Mock(validation=rows, tasks=tasks)
        study = mock.Mock(problem=problem, config=CONFIG)
        models = [
            noisy(labels, worth=gain, luck=0.03, seeds=seeds, random=2 * number + side)
            for side, gain in enumerate((worth, 0.0))
        ]
        confidence = 1 - 2 * LEVEL / (1 + len(tasks))
        comparison = compare_models(study, *models, part="validation", confidence=confidence)
        kept += comparison.helps
    return kept / studies


@pytest.mark.slow
def test_a_source_without_worth_is_rarely_heard_and_one_of_worth_nearly_always() -> None:
    """By luck, at most `LEVEL` of worthless sources are heard: 3 standard errors are allowed."""
    studies = 300
    by_luck = kept_share(0.0, seeds=3, studies=studies)
    assert by_luck <= LEVEL + 3 * (LEVEL * (1 - LEVEL) / studies) ** 0.5
    assert kept_share(0.3, seeds=3, studies=40) >= 0.9

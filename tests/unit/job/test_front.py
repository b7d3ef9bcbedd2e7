"""The front: a network a task's emphasis, the one that meets the aim, and trainings that follow."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recmtl.errors import ConfigError, DataError
from recmtl.job.problem_kind import TABULAR_PROBLEMS
from recmtl.job.study import FRONT_FILE, Study
from recmtl.job.what_matters import front
from recmtl.job.what_matters.front import choose_point
from recmtl.job.work.items import WorkItem, at_point
from recmtl.model import ModelSizes
from recmtl.train.config import Aim, Config, Evidence, Grid, Search, Training
from recmtl.train.tabular_problem import TabularProblem
from recmtl.vision.config import VisionConfig
from tests.tabular_problems import TASKS, make_problem

NAMES = [task.name for task in TASKS]
CONFIG = Config(
    sizes=ModelSizes(embedding=4, tower=(6,)),
    grid=Grid(cells=3, depth=1, widths=(8, 4)),
    training=Training(batch_size=64, epochs=1, checks=1, health_rows=0),
    search=Search(epochs=1, race=False, refine=0, candidates=1),
    evidence=Evidence(seeds=1, baselines=(), controls=()),
    aim=Aim(enabled=True, task="buy", others="not worse", within=0.3, seeds=1),
    workers=1,
)
TabularStudy = Study[TabularProblem, Config]


def study_in(folder: Path, config: Config = CONFIG) -> TabularStudy:
    return Study(folder, TABULAR_PROBLEMS, make_problem(), config)


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> tuple[TabularStudy, list[WorkItem]]:
    """A study whose point is chosen, and what was done for it."""
    study, done = study_in(tmp_path_factory.mktemp("front")), list[WorkItem]()
    choose_point(study, done.append)
    return study, done


def test_a_network_is_trained_for_each_emphasis_and_for_none(
    chosen: tuple[TabularStudy, list[WorkItem]],
) -> None:
    study, done = chosen
    assert [str(item) for item in done if not item.search] == [
        f"searched_aim_{number}-0" for number in range(5)
    ]
    points = study.front["points"]
    assert [point["name"] for point in points] == ["none", *NAMES]
    assert [point["factors"] for point in points] == [{}, *({name: 4.0} for name in NAMES)]
    assert all(set(point["scores"]) == set(NAMES) for point in points)
    assert points[0]["meets"] and points[0]["value"] == points[0]["scores"]["buy"]
    best = max((p for p in points if p["meets"]), key=lambda point: point["value"])
    assert study.front["chosen"] == best["name"]
    again: list[WorkItem] = []
    choose_point(study, again.append)
    assert again == []


@pytest.mark.parametrize("race", [False, True])
def test_the_searched_network_is_trained_as_the_chosen_point(race: bool, tmp_path: Path) -> None:
    """Also where a race has trained a part of it with losses as they are."""
    config = replace(CONFIG, search=replace(CONFIG.search, race=race))
    study = study_in(tmp_path, config)
    (tmp_path / FRONT_FILE).write_text(json.dumps({"chosen": "buy", "factors": {"buy": 4.0}}))
    served, point = (study.trained(name, 0) for name in ("searched", at_point("searched", 2)))
    for column, scores in served.predictions.items():
        np.testing.assert_array_equal(scores, point.predictions[column])
    even = study.trained(at_point("searched", 0), 0)
    assert any((even.predictions[c] != s).any() for c, s in served.predictions.items())
    saved = json.loads((study.model_folder("searched", 0) / "network.json").read_text())
    assert [head["weight"] for head in saved["heads"]] == [1.0, 8.0, 1.0, 1.0]
    assert study.heard_by("single_task") is study.problem


def test_the_best_of_those_that_keep_the_promise_is_chosen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scores = [dict.fromkeys(NAMES, 0.7) for _ in range(5)]
    scores[1]["buy"], scores[2]["buy"], scores[4]["buy"] = 0.72, 0.8, 0.71
    scores[2]["watch"] = 0.39
    answers = iter(scores)
    monkeypatch.setattr(front, "complete", lambda *_: None)
    monkeypatch.setattr(front, "_mean_scores", lambda *_: next(answers))
    study = study_in(tmp_path)
    choose_point(study, lambda _: None)
    assert study.front["chosen"] == "click", "buy gains most where watch loses more than .3"
    assert [point["meets"] for point in study.front["points"]] == [True, True, False, True, True]
    answers = iter(scores)
    (tmp_path / FRONT_FILE).unlink()
    free = replace(study, config=replace(CONFIG, aim=Aim(enabled=True, task="buy", seeds=1)))
    choose_point(free, lambda _: None)
    assert free.front["chosen"] == "buy"


def test_without_an_aim_no_front_is_trained(tmp_path: Path) -> None:
    study = study_in(tmp_path, replace(CONFIG, aim=Aim(task="buy")))
    choose_point(study, pytest.fail)
    assert study.front == {} and study.factors("searched") == {}
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_choice_is_one_line_that_says_what_to_delete(tmp_path: Path) -> None:
    (tmp_path / FRONT_FILE).write_text("{")
    with pytest.raises(DataError, match=r"front\.json: is damaged .*; delete it with models/"):
        study_in(tmp_path).factors("searched")


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"task": "click", "weights": {"buy": 1.0}}, "give task or weights, not both"),
        ({"weights": {"buy": 0.0}}, "all are 0"),
        ({"emphasis": 1.0}, "emphasis"),
        ({"others": "worse"}, "others"),
    ],
)
def test_an_aim_that_makes_no_sense_is_refused(settings: dict[str, object], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        Aim(enabled=True, **settings)


def test_a_task_that_does_not_exist_is_refused_with_what_was_meant() -> None:
    for aim in (Aim(task="clik"), Aim(weights={"clik": 1.0})):
        with pytest.raises(ConfigError, match=r"aim: there is no task 'clik'; did you mean 'click"):
            aim.check(NAMES)
    Aim(task="click").check(NAMES)


def test_images_have_no_front() -> None:
    with pytest.raises(ConfigError, match=r"aim\.enabled is for tables"):
        VisionConfig(aim=Aim(enabled=True))

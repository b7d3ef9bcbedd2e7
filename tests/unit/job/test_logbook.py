"""The logbook tracks what every work item has left, the health of experts included."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

import pytest

from recmtl.job.fit import ModelResult
from recmtl.job.logbook import Logbook
from recmtl.job.problem_kind import TABULAR_PROBLEMS
from recmtl.job.study import Study
from recmtl.job.work.items import WorkItem
from recmtl.model import ModelSizes
from recmtl.tracking import Tracker
from recmtl.train.config import Config, Evidence, Grid, Training
from recmtl.train.recipe.training import Weighting
from tests.tabular_problems import TASKS, make_problem

CONFIG = Config(
    sizes=ModelSizes(embedding=4, tower=(6,)),
    grid=Grid(cells=3, depth=1, widths=(8, 4)),
    training=Training(batch_size=64, epochs=1, checks=2),
    evidence=Evidence(seeds=1, baselines=()),
)


class Remembering:
    """A tracker, and its only run, that remember what is logged."""

    def __init__(self) -> None:
        self.curves: dict[str, list[tuple[int, float]]] = {}
        self.texts: dict[str, str] = {}
        self.names: list[str] = []
        self.params: dict[str, Any] = {}

    @contextmanager
    def run(self, name: str) -> Iterator["Remembering"]:
        self.names.append(name)
        yield self

    def log_params(self, config: Mapping[str, Any]) -> None:
        self.params = {"seed": config["seed"]}

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        for name, value in metrics.items():
            self.curves.setdefault(name, []).append((step, value))

    def log_text(self, text: str, path: str) -> None:
        self.texts[path] = text

    def log_json(self, content: object, path: str) -> None:
        self.texts[path] = json.dumps(content)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return Study(tmp_path_factory.mktemp("study"), TABULAR_PROBLEMS, make_problem(), CONFIG)


def test_the_health_of_a_network_is_kept(study: Study) -> None:
    fresh, kept = study.trained("mmoe", 0).health, study.trained("mmoe", 0).health
    assert fresh == kept
    assert kept["tasks"] == [task.name for task in TASKS]
    assert kept["experts"] == ["1.0", "1.1", "1.2"]
    assert len(kept["checks"]) == 2


def test_networks_of_single_tasks_have_no_experts_to_watch(study: Study) -> None:
    assert study.trained("single_task", 0).health == {}


@pytest.mark.parametrize("name", ["mmoe", "single_task"])
def test_the_logbook_tells_of_it(study: Study, name: str) -> None:
    tracker = Remembering()
    Logbook(study, cast(Tracker, tracker), False).finished(WorkItem(name, 0))
    steps = [step for step, _ in tracker.curves.get("use.click.1.0", [])]
    entropy = tracker.curves.get("entropy.watch", [])
    if name == "mmoe":
        assert len(steps) == len(entropy) == 2 and steps[-1] == 1000
        assert tracker.texts == {"expert_warnings.txt": "none"}
    else:
        assert steps == entropy == [] and tracker.texts == {}


@pytest.mark.parametrize("test", [True, False])
def test_figures_on_test_rows_are_logged_only_if_they_may_be_seen(study: Study, test: bool) -> None:
    tracker = Remembering()
    Logbook(study, cast(Tracker, tracker), test).finished(WorkItem("mmoe", 0))
    parts = {name.split(".")[0] for name in tracker.curves if name.count(".") == 2}
    assert ("test" in parts) == test and "validation" in parts
    result = study.trained("mmoe", 0)
    assert tracker.curves["validation.click.auc"] == [(0, result.validation["click"]["auc"])]
    if test:
        metrics = study.problem.judged(result.predictions)
        assert tracker.curves["test.click.auc"] == [(0, metrics["click"]["auc"])]


def test_what_is_not_defined_or_not_counted_is_not_logged(study: Study) -> None:
    nan = float("nan")
    result = ModelResult({}, {"parameters": 3, "multiply_adds": None}, validation={"a": {"x": nan}})
    result = replace(result, test={"a": {"auc": 0.5, "log_loss": nan}})
    folder = study.model_folder("lightgbm", 0)
    folder.parent.mkdir(parents=True)
    result.save(folder)
    tracker = Remembering()
    Logbook(study, cast(Tracker, tracker), True).finished(WorkItem("lightgbm", 0))
    assert tracker.curves == {"parameters": [(0, 3)], "test.a.auc": [(0, 0.5)]}


@pytest.mark.parametrize(
    ("name", "record", "file"),
    [
        (
            "searched",
            {"routes": {"r": 1}, "history": [{"entropy": 1.5, "epoch": 1}]},
            "routes.json",
        ),
        ("branched", {"tree": {"t": 1}, "levels": []}, "tree.json"),
    ],
)
def test_a_search_leaves_its_record_and_its_curves(
    study: Study, name: str, record: dict[str, Any], file: str
) -> None:
    (study.folder / "search").mkdir(exist_ok=True)
    (study.folder / "search" / f"{name}-7.json").write_text(json.dumps(record))
    tracker = Remembering()
    Logbook(study, cast(Tracker, tracker), True).finished(WorkItem(name, 7, search=True))
    assert tracker.names == [f"{name}-search-7"] and tracker.params == {"seed": 7}
    assert tracker.texts == {file: json.dumps(record[file.removesuffix(".json")])}
    assert tracker.curves == ({"entropy": [(0, 1.5)]} if name == "searched" else {})


def test_weights_of_the_tasks_are_curves(study: Study) -> None:
    training = replace(CONFIG.training, weighting=Weighting(method="uncertainty"))
    weighed = replace(study, config=replace(CONFIG, training=training))
    weighed = replace(weighed, folder=study.folder / "weighed")
    weighed.folder.mkdir()
    result, tracker = weighed.trained("mmoe", 0), Remembering()
    assert result.weights["method"] == "uncertainty"
    Logbook(weighed, cast(Tracker, tracker), test=False).finished(WorkItem("mmoe", 0))
    for number, task in enumerate(TASKS):
        curve = tracker.curves[f"weight.{task.name}"]
        assert [value for _, value in curve] == [w[number] for w in result.weights["weights"]]
    assert curve[-1][0] == 1000, "a pass"
    assert ModelResult.load(weighed.model_folder("mmoe", 0)) is not None
    assert study.trained("mmoe", 0).weights == {}, "fixed"

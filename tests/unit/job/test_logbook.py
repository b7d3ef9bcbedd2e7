"""A study keeps the health of its experts, and its logbook tells the tracker of it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import pytest

from recmtl.job.logbook import Logbook
from recmtl.job.problem_kind import TABULAR_PROBLEMS
from recmtl.job.study import Study
from recmtl.job.work_items import WorkItem
from recmtl.model import ModelSizes
from recmtl.tracking import Tracker
from recmtl.train.config import Config, Evidence, Grid, Training
from tests.tabular_problems import TASKS, make_problem

CONFIG = Config(
    sizes=ModelSizes(embedding=4, tower=(6,)),
    grid=Grid(cells=3, depth=1, widths=(8, 4)),
    training=Training(batch_size=64, epochs=1, checks=2),
    evidence=Evidence(seeds=1, baselines=()),
)


class Remembering:
    """A tracker, and its only run, that remember what they are told."""

    def __init__(self) -> None:
        self.curves: dict[str, list[tuple[int, float]]] = {}
        self.texts: dict[str, str] = {}

    @contextmanager
    def run(self, name: str) -> Iterator["Remembering"]:
        yield self

    def log_params(self, config: Mapping[str, Any]) -> None:
        pass

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        for name, value in metrics.items():
            self.curves.setdefault(name, []).append((step, value))

    def log_text(self, text: str, path: str) -> None:
        self.texts[path] = text


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

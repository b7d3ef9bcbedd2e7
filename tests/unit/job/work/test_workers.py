"""Several processes train a study to the same bits, and fail without losing what is done."""

import json
import multiprocessing
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
from recmtl.errors import DataError, RecmtlError
from recmtl.job.problem_kind import TABULAR_PROBLEMS
from recmtl.job.study import Study
from recmtl.job.work.agenda import Agenda, Outlook
from recmtl.job.work.items import WorkItem, all_items, with_needed
from recmtl.job.work.limit import Limit
from recmtl.job.work.workers import complete
from recmtl.model import ModelSizes
from recmtl.schema import load_schema
from recmtl.simulate import simulate
from recmtl.train.config import Config, Evidence, Grid, Search, Training
from recmtl.train.loop import OnProgress, silent
from recmtl.train.tabular_problem import TabularProblem
from recmtl.train.training_state import ValidationCheck

SCHEMA = Path(__file__).resolve().parents[4] / "datasets" / "simulated" / "schema.yaml"
CONFIG = Config(
    sizes=ModelSizes(embedding=4, tower=(8,), dropout=0.1),
    grid=Grid(cells=3, depth=2, widths=(8,), max_edges=2),
    training=Training(batch_size=256, epochs=1),
    search=Search(epochs=1, candidates=2, race=False),
    evidence=Evidence(seeds=1, controls=("mmoe", "random_route"), baselines=("lightgbm",)),
    workers=1,
)
ITEMS = with_needed(all_items(CONFIG), CONFIG)


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds an encoded log of 3,000 rows."""
    folder = tmp_path_factory.mktemp("encoded")
    simulate(folder / "log.parquet", 3000, users=100, items=50)
    prepare(str(folder / "log.parquet"), load_schema(SCHEMA), folder / "log")
    return folder


@pytest.fixture(scope="module")
def alone(encoded: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """The study as one process does it."""
    study = open_study(encoded, tmp_path_factory.mktemp("alone"), workers=1)
    complete(study, ITEMS, lambda item: None)
    return study


def open_study(
    encoded: Path, folder: Path, *, workers: int, on_progress: OnProgress = silent
) -> Study:
    shutil.copytree(encoded / "log", folder / "log")
    config = replace(CONFIG, workers=workers)
    problem = TabularProblem.of(EncodedLog.open(folder / "log"))
    return Study(folder, TABULAR_PROBLEMS, problem, config, on_progress)


def results(study: Study) -> dict[str, bytes | dict[str, Any]]:
    """Everything that the models and searches left, but for the clock's part of it."""
    found: dict[str, bytes | dict[str, Any]] = {}
    for path in sorted([*study.folder.glob("models/*/*/*"), *study.folder.glob("search/*")]):
        name = str(path.relative_to(study.folder))
        found[name] = path.read_bytes()
        if path.name == "trained.json" or path.parent.name == "search":
            facts = json.loads(path.read_text())
            facts.pop("seconds", None)
            for clock in ("train_s", "cpu_s", "score_rows_per_s"):
                facts.get("cost", {}).pop(clock, None)
            found[name] = facts
    return found


def test_two_processes_leave_the_same_bits_as_one(
    alone: Study, encoded: Path, tmp_path: Path
) -> None:
    told: list[str] = []
    finished: list[WorkItem] = []

    def on_progress(what: str, done: int, total: int, check: ValidationCheck | None) -> None:
        told.append(what)

    study = open_study(encoded, tmp_path, workers=2, on_progress=on_progress)
    complete(study, ITEMS, finished.append)
    assert results(study) == results(alone)
    assert sorted(map(str, finished)) == sorted(map(str, ITEMS))
    assert finished.index(WorkItem("searched", 0, search=True)) < finished.index(
        WorkItem("random_route", 0)
    )
    heard = set(told)
    assert heard >= {str(item) for item in ITEMS if item.name != "single_task"}
    assert "single_task-0-click" in heard
    assert multiprocessing.active_children() == []


def test_a_killed_process_is_named_and_the_study_goes_on(
    alone: Study, encoded: Path, tmp_path: Path
) -> None:
    def finished(item: WorkItem) -> None:
        if item.search:
            for process in multiprocessing.active_children():
                process.kill()

    study = open_study(encoded, tmp_path, workers=2)
    with pytest.raises(RecmtlError, match=r"its process was ended \(exit code -9\).*run again"):
        complete(study, ITEMS, finished)
    done = [item for item in ITEMS if study.has(item)]
    assert WorkItem("searched", 0, search=True) in done and len(done) < len(ITEMS)
    complete(replace(study, config=alone.config), ITEMS, lambda item: None)
    assert results(study) == results(alone)


@pytest.mark.slow
def test_an_error_of_a_item_is_raised_here(encoded: Path, tmp_path: Path) -> None:
    study = open_study(encoded, tmp_path, workers=2)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "mmoe-0.safetensors").write_bytes(b"garbage")
    finished: list[WorkItem] = []
    with pytest.raises(DataError, match=r"mmoe-0\.safetensors: not a checkpoint"):
        complete(study, [WorkItem("mmoe", 0), WorkItem("logistic", 0)], finished.append)
    assert finished == [WorkItem("logistic", 0)], "what was under way is finished"


def test_an_interrupt_ends_all_processes(encoded: Path, tmp_path: Path) -> None:
    def on_progress(what: str, done: int, total: int, check: ValidationCheck | None) -> None:
        raise KeyboardInterrupt

    study = open_study(encoded, tmp_path, workers=2, on_progress=on_progress)
    with pytest.raises(KeyboardInterrupt):
        complete(study, ITEMS, lambda item: None)
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_once_time_is_up_only_the_verdict_of_one_seed_is_made(
    encoded: Path, tmp_path: Path
) -> None:
    study = open_study(encoded, tmp_path, workers=2)
    late = replace(study, limit=Limit(until=0.0, unit=1.0))
    finished: list[WorkItem] = []
    complete(late, ITEMS, finished.append)
    assert {str(item) for item in finished} == {
        "searched-search-0",
        "searched-0",
        "single_task-0",
        "constant-0",
    }
    done = late.without([item for item in ITEMS if not late.has(item)])
    assert (done.config.evidence.controls, done.config.evidence.baselines) == ((), ())
    assert not set(with_needed(all_items(done.config), done.config)) - set(finished)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_under_way_when_time_is_up_is_given_up_and_gone_on_with(
    alone: Study, encoded: Path, tmp_path: Path, workers: int
) -> None:
    study = open_study(encoded, tmp_path, workers=workers)
    soon = replace(study, limit=Limit(until=time.monotonic() + 60.0, unit=1e-6))
    items = [WorkItem("constant", 0), WorkItem("mmoe", 0), WorkItem("mmoe", 1)]

    def stopping(what: str, done: int, total: int, check: ValidationCheck | None) -> None:
        if what.startswith("mmoe"):
            clock.extend([0.0])

    clock: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Agenda, "is_late", property(lambda agenda: bool(clock)))
        complete(replace(soon, on_progress=stopping), items, lambda item: None)
    assert study.has(items[0]) and not study.has(items[1])
    complete(replace(study, config=alone.config), items[:2], lambda item: None)
    trained = results(study)
    assert trained == {name: results(alone)[name] for name in trained}


@pytest.mark.slow
def test_the_outlook_ends_with_all_pieces_done(encoded: Path, tmp_path: Path) -> None:
    outlooks: list[Outlook] = []
    study = replace(open_study(encoded, tmp_path, workers=2), on_outlook=outlooks.append)
    items = [WorkItem("constant", 0), WorkItem("shared_bottom", 0), WorkItem("mmoe", 0)]
    complete(study, items, lambda item: None)
    assert (outlooks[0].done, outlooks[0].pieces) == (0, 3)
    assert outlooks[-1] == Outlook(3, 3, 1.0, 0.0)

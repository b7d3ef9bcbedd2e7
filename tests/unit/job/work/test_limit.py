"""A time limit changes settings only as far as it has to, once and for all in a folder."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
from recmtl.errors import DataError
from recmtl.job.work import limit
from recmtl.job.work.limit import LIMIT_FILE, NO_LIMIT, seconds_a_row, within_limit
from recmtl.model import ModelSizes
from recmtl.schema import load_schema
from recmtl.simulate import simulate
from recmtl.train.config import Config, Evidence, Grid, Search, Training
from recmtl.train.tabular_problem import TabularProblem

SCHEMA = Path(__file__).resolve().parents[4] / "datasets" / "simulated" / "schema.yaml"
CONFIG = Config(
    sizes=ModelSizes(embedding=4, tower=(8,)),
    grid=Grid(cells=3, widths=(8,)),
    training=Training(batch_size=256, epochs=1),
    search=Search(epochs=1, source_seeds=2),
    evidence=Evidence(seeds=1),
)


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> TabularProblem:
    folder = tmp_path_factory.mktemp("log")
    simulate(folder / "log.parquet", 3000, users=100, items=50)
    prepare(str(folder / "log.parquet"), load_schema(SCHEMA), folder / "log")
    return TabularProblem.of(EncodedLog.open(folder / "log"))


@pytest.fixture
def a_second_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """One training of a shared bottom takes 2,100 seconds, and samples may be small."""
    monkeypatch.setattr(limit, "seconds_a_row", lambda problem, config: 1.0)
    monkeypatch.setattr(limit, "FEWEST_ROWS", 100)


def limited(problem: TabularProblem, folder: Path, seconds: float) -> Config:
    deadline = time.monotonic() + seconds
    return within_limit(problem, CONFIG, folder=folder, processes=2, deadline=deadline)[0]


def test_without_a_limit_nothing_changes(problem: TabularProblem, tmp_path: Path) -> None:
    limited = within_limit(problem, CONFIG, folder=tmp_path, processes=2, deadline=None)
    assert limited == (CONFIG, NO_LIMIT)
    assert list(tmp_path.iterdir()) == []


def test_speed_is_measured_in_about_a_second(problem: TabularProblem) -> None:
    began = time.perf_counter()
    assert 0.0 < seconds_a_row(problem, CONFIG) < 0.1
    assert time.perf_counter() - began < 20.0


@pytest.mark.usefixtures("a_second_a_row")
def test_less_time_leaves_out_choices_then_rows(problem: TabularProblem, tmp_path: Path) -> None:
    changes = []
    for number, seconds in enumerate((1e6, 70_000.0, 20_000.0, 10_000.0, 5_000.0, 10.0)):
        folder = tmp_path / str(number)
        folder.mkdir()
        limited(problem, folder, seconds)
        changes.append(json.loads((folder / LIMIT_FILE).read_text()))
    assert changes[0] == {}
    sizes = [len(change) for change in changes]
    assert sizes == sorted(sizes)
    assert all(list(c) == ["source_seeds", "race", "rows"][: len(c)] for c in changes)
    assert changes[-1]["rows"] >= 100 > changes[-1]["rows"] // 2, "the least that there is"


@pytest.mark.usefixtures("a_second_a_row")
def test_what_was_chosen_for_a_folder_stays(problem: TabularProblem, tmp_path: Path) -> None:
    first = limited(problem, tmp_path, 5_000.0)
    assert first.search.race is False and first.search.source_seeds == 0
    assert limited(problem, tmp_path, 1e9) == first
    again = within_limit(problem, CONFIG, folder=tmp_path, processes=2, deadline=None)
    assert again == (first, NO_LIMIT)


@pytest.mark.usefixtures("a_second_a_row")
def test_time_is_kept_for_what_follows_the_study(problem: TabularProblem, tmp_path: Path) -> None:
    deadline = time.monotonic() + 1e6
    _, until = within_limit(problem, CONFIG, folder=tmp_path, processes=2, deadline=deadline)
    training = len(problem.train) * 1.0
    assert until.unit == training
    assert until.until == pytest.approx(deadline - training - limit.LAST_STEPS_SECONDS)


def test_a_damaged_file_is_named(problem: TabularProblem, tmp_path: Path) -> None:
    (tmp_path / LIMIT_FILE).write_text('{"epochs": 3}')
    with pytest.raises(DataError, match=r"time_limit\.json.*delete it with models/"):
        limited(problem, tmp_path, 100.0)


def test_a_sample_of_the_rows_is_the_same_wherever_it_is_drawn(problem: TabularProblem) -> None:
    sample, again = problem.sampled(500), problem.sampled(500)
    assert len(sample.train) == 500
    np.testing.assert_array_equal(sample.train.labels, again.train.labels)
    assert len(sample.validation) == len(problem.validation)
    assert problem.sampled(None) is problem and problem.sampled(10_000) is problem

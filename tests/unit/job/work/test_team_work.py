"""A study on two ranks is that of one process; a rank that is killed ends it, and it goes on."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from recmtl.data.prepare import prepare
from recmtl.engines.team import team
from recmtl.errors import RecmtlError
from recmtl.job.study import Study
from recmtl.job.work.items import WorkItem, all_items, with_needed
from recmtl.job.work.limit import Limit
from recmtl.job.work.team_work import team_of
from recmtl.job.work.workers import complete
from recmtl.model import ModelSizes
from recmtl.schema import load_schema
from recmtl.simulate import simulate
from recmtl.train.config import Config, Evidence, Grid, Search, Training
from recmtl.train.loop import OnProgress, silent
from recmtl.train.training_state import ValidationCheck
from tests.exact_study import EXACT, open_exact

SCHEMA = Path(__file__).resolve().parents[4] / "datasets" / "simulated" / "schema.yaml"
CONFIG = Config(
    sizes=ModelSizes(embedding=4, tower=(8,), dropout=0.1, field_dropout=0.1),
    grid=Grid(cells=3, depth=2, widths=(8,), max_edges=2),
    training=Training(batch_size=128, epochs=1, rare_ids=3.0, save_every=2),
    search=Search(epochs=1, race=True, samples=2, votes=1),
    evidence=Evidence(seeds=1, controls=("dynashare",), baselines=("logistic",)),
)
ITEMS = with_needed(all_items(CONFIG), CONFIG)


@pytest.fixture(scope="module", autouse=True)
def usual_precision() -> Iterator[None]:
    """Double precision is that of these tests alone."""
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds an encoded log of 1,500 rows."""
    folder = tmp_path_factory.mktemp("encoded")
    simulate(folder / "log.parquet", 1500, users=60, items=30)
    prepare(str(folder / "log.parquet"), load_schema(SCHEMA), folder / "log")
    return folder


def open_study(encoded: Path, folder: Path, on_progress: OnProgress = silent) -> Study:
    if not (folder / "log").is_dir():
        shutil.copytree(encoded / "log", folder / "log")
    config = replace(CONFIG, workers=1)
    return Study(folder, EXACT, open_exact(folder, config), config, on_progress)


@pytest.fixture(scope="module")
def alone(encoded: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = open_study(encoded, tmp_path_factory.mktemp("alone"))
    complete(study, ITEMS, lambda item: None)
    return study


def assert_same(study: Study, other: Study, *, exactly: bool = False) -> None:
    """The same routes; metrics and scores to 1e-9, or the same bits."""
    searches = sorted(path.name for path in (study.folder / "search").iterdir())
    assert searches == sorted(path.name for path in (other.folder / "search").iterdir())
    for name in searches:
        mine, theirs = (
            json.loads((s.folder / "search" / name).read_text()) for s in (study, other)
        )
        for part in ("routes", "layout", "winner", "tree"):
            assert mine.get(part) == theirs.get(part), (name, part)
    for item in (item for item in ITEMS if not item.search):
        mine, theirs = (s.trained(item.name, item.seed) for s in (study, other))
        bound = 0.0 if exactly else 1e-9
        for column, scores in mine.predictions.items():
            largest = max(1.0, float(np.abs(scores).max()))
            np.testing.assert_allclose(
                theirs.predictions[column], scores, rtol=0, atol=bound * largest
            )
        for task, metrics in mine.validation.items():
            for metric, value in metrics.items():
                near = pytest.approx(value, rel=bound, abs=bound)
                assert theirs.validation[task][metric] == near or math.isnan(value)


@pytest.fixture(scope="module")
def by_two(encoded: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = open_study(encoded, tmp_path_factory.mktemp("two"))
    finished: list[WorkItem] = []
    with team_of(2):
        leader = team()
        assert leader is not None and leader.count == 2
        complete(study, ITEMS, finished.append)
    assert sorted(map(str, finished)) == sorted(map(str, ITEMS))
    return study


@pytest.mark.slow
def test_two_ranks_train_what_one_process_does(alone: Study, by_two: Study) -> None:
    assert_same(alone, by_two)
    assert list((by_two.folder / "checkpoints").iterdir()) == []


class OutOfTimeError(Exception):
    """Ends a study in the middle of a training."""


@pytest.mark.slow
def test_a_study_of_two_ranks_goes_on_to_the_same_bits(
    encoded: Path, by_two: Study, tmp_path: Path
) -> None:
    ends = {"searched-search-0": 5, "dynashare-0": 3}
    steps = dict.fromkeys(ends, 0)

    def count(what: str, done: int, total: int, check: ValidationCheck | None) -> None:
        if what in steps:
            steps[what] += 1
            if steps[what] == ends[what]:
                raise OutOfTimeError

    for _ in ends:
        with pytest.raises(OutOfTimeError), team_of(2):
            complete(open_study(encoded, tmp_path, count), ITEMS, lambda item: None)
    assert list((tmp_path / "checkpoints").iterdir())
    with team_of(2):
        complete(open_study(encoded, tmp_path), ITEMS, lambda item: None)
    assert_same(by_two, open_study(encoded, tmp_path), exactly=True)
    weights = "models/dynashare/0/weights.safetensors"
    mine, theirs = load_file(by_two.folder / weights), load_file(tmp_path / weights)
    assert all(np.array_equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.slow
def test_a_study_that_is_late_ends_on_all_ranks(encoded: Path, tmp_path: Path) -> None:
    late = Limit(until=time.monotonic() - 1.0, unit=1e-9)
    study = replace(open_study(encoded, tmp_path), limit=late)
    with team_of(2):
        complete(study, ITEMS, lambda item: None)
        assert study.has(WorkItem("searched", 0))
        assert not study.has(WorkItem("dynashare", 0))


@pytest.mark.slow
def test_a_rank_that_is_killed_ends_the_study_with_one_line_and_it_goes_on(
    encoded: Path, by_two: Study, tmp_path: Path
) -> None:
    def kill(what: str, done: int, total: int, check: ValidationCheck | None) -> None:
        leader = team()
        assert leader is not None
        member = leader.members[0].process.pid
        if what == "dynashare-0" and member is not None:
            os.kill(member, signal.SIGKILL)

    with pytest.raises(RecmtlError, match=r"rank 1 was ended \(exit code -9\)"), team_of(2):
        complete(open_study(encoded, tmp_path, kill), ITEMS, lambda item: None)
    assert not (tmp_path / "models" / "dynashare" / "0").exists()
    with team_of(2):
        complete(open_study(encoded, tmp_path), ITEMS, lambda item: None)
    assert_same(by_two, open_study(encoded, tmp_path), exactly=True)


@pytest.mark.slow
def test_torchrun_starts_the_ranks_of_a_command(encoded: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "sizes: {embedding: 4, tower: [8]}\n"
        "grid: {cells: 3, depth: 2, widths: [8]}\n"
        "training: {batch_size: 512, epochs: 1}\n"
        "search: {epochs: 1, race: false, candidates: 2}\n"
        "evidence: {seeds: 1}\n"
    )
    options = {
        "--data": encoded / "log.parquet",
        "--schema": SCHEMA,
        "--config": tmp_path / "config.yaml",
        "--out": tmp_path / "out",
    }
    words = [str(word) for pair in options.items() for word in pair]
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    done = subprocess.run(
        [sys.executable, *launcher, "-m", "recmtl", "train", "--quiet", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("models ") == 1
    assert (tmp_path / "out" / "models" / "searched" / "0" / "trained.json").is_file()

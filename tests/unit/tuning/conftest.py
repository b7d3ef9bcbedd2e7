"""A small tuning on a simulated log, and what runs one in an output folder."""

import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from recmtl.job.open_job import open_job, tracked_run
from recmtl.model import ModelSizes
from recmtl.simulate import simulate
from recmtl.train.config import Config, Evidence, Grid, Training, Tune
from recmtl.train.loop import OnProgress, silent
from recmtl.tuning.tune import tune_job

SCHEMA = Path(__file__).resolve().parents[3] / "datasets" / "simulated" / "schema.yaml"
SPACE = {
    "training.learning_rate": {"low": 1e-3, "high": 3e-2, "log": True},
    "sizes.embedding": [2, 4],
}
CONFIG = Config(
    sizes=ModelSizes(embedding=4, tower=(4,)),
    grid=Grid(cells=2, depth=1, widths=(8,)),
    training=Training(batch_size=64, epochs=1, checks=4, health_rows=0),
    evidence=Evidence(bootstrap=20),
    tune=Tune(space=SPACE, model="shared_bottom", trials=4, generation=4, finalists=1, seeds=2),
    workers=1,
)
TIMES = ("cpu_s", "versions")
Tuned = dict[str, Any]
RunTuning = Callable[..., Tuned]


def without_times(results: Any) -> Any:
    """Results without what no two runs have in common."""
    if isinstance(results, dict):
        return {name: without_times(v) for name, v in results.items() if name not in TIMES}
    return [without_times(value) for value in results] if isinstance(results, list) else results


def read(out: Path) -> Tuned:
    """The content of tune.json, as it is written."""
    results: Tuned = without_times(json.loads((out / "tune.json").read_text()))
    return results


@pytest.fixture(autouse=True)
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No store takes what is tracked: the journal shows it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recmtl.tracking.tracker.Tracker.feed", lambda self: True)
        yield


@pytest.fixture(autouse=True)
def short_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds of few steps, as small trainings have them."""
    monkeypatch.setattr("recmtl.search.race.FEWEST_STEPS", 1)


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated log."""
    path = tmp_path_factory.mktemp("shop") / "log.parquet"
    simulate(path, 700, users=40, items=30)
    return path


@pytest.fixture(scope="session")
def run_tuning(shop: Path) -> RunTuning:
    """Runs a tuning in an output folder; settings of the section `tune` may differ."""

    def run(
        out: Path,
        config: Config = CONFIG,
        *,
        on_progress: OnProgress = silent,
        time_limit: float | None = None,
        **settings: Any,
    ) -> Tuned:
        config = replace(config, tune=replace(config.tune, **settings))
        with (
            open_job(
                data=shop,
                schema=SCHEMA,
                config=config,
                out=out,
                time_limit=time_limit,
                console=Console(file=io.StringIO()),
                on_progress=on_progress,
            ) as job,
            tracked_run(job, "tune") as tracked,
        ):
            tune_job(job, tracked)
        return read(out)

    return run


@pytest.fixture(scope="session")
def tuned(run_tuning: RunTuning, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tuning that went through at once."""
    out = tmp_path_factory.mktemp("tuned") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recmtl.search.race.FEWEST_STEPS", 1)
        patch.setattr("recmtl.tracking.tracker.Tracker.feed", lambda self: True)
        run_tuning(out)
    return out


@pytest.fixture
def prepared(tuned: Path, tmp_path: Path) -> Path:
    """A folder with the encoded log of that tuning, and nothing else of it."""
    shutil.copytree(tuned / "log", tmp_path / "out" / "log")
    return tmp_path / "out"

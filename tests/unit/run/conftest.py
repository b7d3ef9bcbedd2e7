"""One small job from a frame, which several tests look at."""

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd
import pytest

import recmtl
from recmtl.model import ModelSizes
from recmtl.simulate import simulate
from recmtl.train.config import Config, Evidence, Grid, Search, Training

CONFIG = Config(
    sizes=ModelSizes(embedding=4, tower=(8,), dropout=0.1),
    grid=Grid(cells=3, depth=2, widths=(8,), max_edges=2),
    training=Training(batch_size=256, epochs=1, checks=1),
    search=Search(epochs=1, candidates=2, race=False),
    evidence=Evidence(seeds=2, controls=("shared_bottom",), baselines=("logistic",), bootstrap=20),
    workers=1,
)
TASKS = ["click", "purchase"]
COLUMNS = ["request_id", "time_ms", "user_id", "item_id", "device", "price", "tags", *TASKS]


@dataclass(frozen=True)
class Fitted:
    """What `fit` returned, what it was given, and what it showed."""

    run: recmtl.Run
    frame: pd.DataFrame
    shown: str


@pytest.fixture(scope="session")
def frame(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """A simulated log in memory, some of its columns."""
    folder = tmp_path_factory.mktemp("frame")
    simulate(folder / "log.parquet", 2500, users=100, items=50)
    return pd.read_parquet(folder / "log.parquet")[COLUMNS]


@contextlib.contextmanager
def tracking(uri: str) -> Iterator[None]:
    """A tracking store of these tests' own, whatever the environment names."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME"):
            patch.delenv(name, raising=False)
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        yield


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}"


@pytest.fixture(autouse=True)
def tracked(store: str) -> Iterator[None]:
    with tracking(store):
        yield


@pytest.fixture(scope="session")
def fitted(frame: pd.DataFrame, store: str, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """A whole job, whose schema is drafted."""
    shown, out = io.StringIO(), tmp_path_factory.mktemp("runs") / "my-shop"
    with contextlib.redirect_stderr(shown), tracking(store):
        run = recmtl.fit(
            frame, tasks=TASKS, group="request_id", time="time_ms", out=out, config=CONFIG
        )
    return Fitted(run, frame, shown.getvalue())

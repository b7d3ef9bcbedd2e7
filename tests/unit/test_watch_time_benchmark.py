"""The benchmark of watch time trains arms that differ in the head alone, and writes their page."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.watch_time.__main__ import SCHEMA, run
from benchmarks.watch_time.arms import ARMS, schema_of
from benchmarks.watch_time.page import page
from benchmarks.watch_time.step_cost import HEADS, measured
from benchmarks.watch_time.step_cost import page as cost_page
from recmtl.data.encoding import Encoding, NumericField
from recmtl.model import ModelSizes
from recmtl.schema import refuse_contradictions
from recmtl.train.config import Config, Training

VIDEOS = """
version: 1
name: videos
features:
  video_id: {kind: categorical}
  duration_ms: {kind: numeric, log: true}
tasks: {click: {kind: binary, label: is_click}}
split: {by: random, validation: 0.2, test: 0.2}
ignore: [play_time_ms]
"""
CONFIG = Config(
    sizes=ModelSizes(embedding=4, tower=(4,)),
    training=Training(batch_size=64, epochs=1, checks=1),
)


def figures(xauc: dict[str, list[float]]) -> dict[str, Any]:
    arms = {
        name: {
            str(seed): {
                "metrics": {"xauc": value, "mae": 10.0 - value, "rmse": 20.0, "sum": 0.5},
                "cpu_s": 12.0,
                "rows": 9,
            }
            for seed, value in enumerate(values)
        }
        for name, values in xauc.items()
    }
    return {"rows": "a day", "config": "c.yaml", "arms": arms}


def test_the_page_has_means_and_paired_differences() -> None:
    text = page(figures({"log1p": [0.6, 0.7], "d2q": [0.63, 0.71], "ziln": [0.5]}))
    assert "| `d2q` | 0.6700 ± 0.0566 | 9.330 ± 0.0566 | 20.000 ± 0.0000 | 0.5000" in text
    assert "| `d2q` | +0.0200 ± 0.0100 | -0.0200 ± 0.0100 | +0.0000 ± 0.0000 |" in text
    assert "| `ziln` | -0.1000 | +0.1000 | +0.0000 |" in text
    assert "`cread`" not in text and "2 seeds each" in text


def test_the_schema_of_the_log_has_every_arm_and_no_outcome_among_the_features() -> None:
    schema = schema_of(SCHEMA)
    refuse_contradictions(schema)
    assert [task.name for task in schema.tasks] == list(ARMS)
    assert {"is_click", "is_like", "long_view"} <= set(schema.ignore)


@pytest.fixture
def videos(tmp_path: Path) -> tuple[Path, Path]:
    """A small log of videos that are watched to some share of their length, and its schema."""
    dice = np.random.default_rng(0)
    video = dice.integers(0, 20, 500)
    duration = 1000.0 * (5 + video)
    share = 1 / (1 + np.exp(-np.sin(video) - dice.normal(size=500)))
    table = {"video_id": video, "duration_ms": duration, "play_time_ms": duration * share}
    pq.write_table(pa.table({**table, "is_click": video % 2}), tmp_path / "log.parquet")
    (tmp_path / "videos.yaml").write_text(VIDEOS)
    return tmp_path / "log.parquet", tmp_path / "videos.yaml"


def test_arms_are_trained_on_the_same_rows(videos: tuple[Path, Path]) -> None:
    data, path = videos
    options: dict[str, Any] = {"arms": ("log1p", "d2q"), "rows": 400, "done": [("log1p", 3)]}
    ((name, seed, arm),) = run(data, schema_of(path), CONFIG, [3], **options)
    assert (name, seed) == ("d2q", 3)
    assert 60 < arm.rows < 100 and 0.4 < arm.metrics["xauc"] <= 1 and arm.metrics["sum"] > 0.3


def test_the_cost_of_heads_is_a_share_of_a_step() -> None:
    small = Encoding(50, ("id",), (), (NumericField("number 0", "piecewise", 32),))
    measures = measured(1, small)
    assert list(measures["heads_s"]) == list(HEADS)
    heads = {"plain regression": 0.001, "d2q": 0.0012}
    text = cost_page({**measures, "step_s": 0.01, "heads_s": heads})
    assert "| d2q | 1.20 | 2.0% |" in text

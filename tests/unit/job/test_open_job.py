"""A job opened from Python: objects in place of files, and what a folder keeps of them."""

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from recmtl.errors import ConfigError
from recmtl.job.handed_on import JobContext
from recmtl.job.open_job import SIMULATED_SCHEMA, open_job
from recmtl.schema import load_schema
from recmtl.train.config import Config
from recmtl.train.loop import silent

CONSOLE = Console(file=io.StringIO())


def opened(out: Path, *, admitted: bool = True, **settings: Any) -> JobContext:
    """The context of a job that comes as far as its encoded log, or is refused before that."""
    with open_job(out=out, console=CONSOLE, on_progress=silent, **settings) as job:
        if admitted:
            job.on_admitted()
    return job


@pytest.fixture(autouse=True)
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recmtl.job.open_job.SIMULATED_ROWS", 50)


@pytest.mark.parametrize("preset", ["", "fast", "best"])
def test_a_configuration_written_for_an_object_reads_back_equal(
    tmp_path: Path, preset: str
) -> None:
    config = replace(Config.load(preset=preset), rank_by="p_click", seed=5)
    job = opened(tmp_path, config=config)
    assert job.config == config == Config.load(tmp_path / "config.yaml")


def test_a_schema_object_lies_in_the_folder_and_later_steps_read_it(tmp_path: Path) -> None:
    schema = load_schema(SIMULATED_SCHEMA)
    job = opened(tmp_path, data="log", schema=schema)
    assert load_schema(job.schema) == schema and job.schema == tmp_path / "schema.yaml"
    assert opened(tmp_path).schema == job.schema


def test_a_refused_job_leaves_the_files_of_the_earlier_one(tmp_path: Path) -> None:
    schema = load_schema(SIMULATED_SCHEMA)
    opened(tmp_path, data="log", schema=schema, config=Config(seed=3))
    other = replace(schema, name="other")
    opened(tmp_path, data="log", schema=other, config=Config(seed=4), admitted=False)
    job = opened(tmp_path)
    assert (load_schema(job.schema).name, job.config.seed) == (schema.name, 3)


def test_a_simulated_folder_holds_all_that_it_was_made_with(tmp_path: Path) -> None:
    job = opened(tmp_path)
    kept = json.loads((tmp_path / "job.json").read_text())
    assert {kept["schema"], kept["config"], kept["data"]} == {
        str(tmp_path / name) for name in ("schema.yaml", "config.yaml", "simulated.parquet")
    }
    assert job.config == Config.load(SIMULATED_SCHEMA.with_name("config.yaml"))


def test_a_preset_goes_before_the_configuration_that_ships_with_the_simulated_log(
    tmp_path: Path,
) -> None:
    job = opened(tmp_path, preset="fast")
    assert (job.config.evidence.seeds, job.config.search.race) == (2, False)
    assert job.config.rank_by == "p_click_and_purchase", "the rest stays"
    assert opened(tmp_path).config == job.config
    assert opened(tmp_path, preset="best").config.evidence.seeds == 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"data": "log"}, "give data and schema together"),
        ({"schema": "s.yaml"}, "give data and schema together"),
        ({"preset": "fsat"}, "preset 'fsat'.*did you mean 'fast'"),
        ({"preset": "fast", "config": Config()}, "states every setting"),
    ],
)
def test_what_contradicts_itself_is_refused_before_anything_is_written(
    tmp_path: Path, settings: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        opened(tmp_path / "out", **settings)
    assert not (tmp_path / "out" / "job.json").exists()

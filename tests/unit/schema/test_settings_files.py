"""A schema and a configuration are read from a file and written into one by their classes."""

import dataclasses
from pathlib import Path

import pytest

import recmtl
from recmtl.errors import ConfigError, SchemaError
from recmtl.schema import Numeric, TaskSpec, dump_schema, load_schema
from recmtl.train.config import Config
from recmtl.train.presets import PRESETS
from recmtl.vision.config import VisionConfig

ROOT = Path(__file__).parents[3]
SCHEMAS = sorted(ROOT.glob("datasets/*/*.yaml"))
CONFIGS = sorted(ROOT.glob("pipelines/configs/*/recmtl.yaml"))


def test_there_are_files_to_read() -> None:
    assert len(SCHEMAS) >= 7 and len(CONFIGS) >= 5


@pytest.mark.parametrize("path", SCHEMAS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_schema_comes_back_as_it_was(path: Path, tmp_path: Path) -> None:
    schema = recmtl.Schema.load(path)
    assert schema == load_schema(path) and isinstance(schema, recmtl.Schema)
    text = schema.dump(tmp_path / "schema.yaml")
    assert text == dump_schema(schema) == (tmp_path / "schema.yaml").read_text("utf-8")
    assert recmtl.Schema.load(str(tmp_path / "schema.yaml")) == schema


def test_a_schema_built_in_python_is_a_file_and_back(tmp_path: Path) -> None:
    task = TaskSpec("click", "binary", "is_click")  # type: ignore[arg-type] # the short form
    schema = recmtl.Schema(
        "shop", features=(Numeric("price", "price"),), tasks=(task,), split="random"
    )  # type: ignore[arg-type]
    assert recmtl.Schema.load(_written(tmp_path, schema.dump())) == schema


def test_mistakes_of_a_file_are_told_by_line(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"some\.yaml:1: "):
        recmtl.Schema.load(_written(tmp_path, "name: shop\n"))
    with pytest.raises(ConfigError, match=r"some\.yaml:1: .*did you mean 'seed'"):
        recmtl.Config.load(_written(tmp_path, "sead: 3\n"))
    with pytest.raises(SchemaError, match="no such schema file"):
        recmtl.Schema.load(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="no such configuration"):
        recmtl.Config.load(tmp_path / "none.yaml")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.parent.name)
@pytest.mark.parametrize("preset", ["", *PRESETS])
def test_a_configuration_comes_back_as_it_was(path: Path, preset: str, tmp_path: Path) -> None:
    config = recmtl.Config.load(path, preset=preset)
    config.dump(tmp_path / "config.yaml")
    assert recmtl.Config.load(tmp_path / "config.yaml") == config
    # Every setting is written: no preset changes what the file says.
    assert recmtl.Config.load(tmp_path / "config.yaml", preset="best") == config


def test_a_file_goes_before_its_preset(tmp_path: Path) -> None:
    path = _written(tmp_path, "evidence: {seeds: 7}\n")
    best = Config.load(preset="best")
    expected = dataclasses.replace(best, evidence=dataclasses.replace(best.evidence, seeds=7))
    assert Config.load(path, preset="best") == expected
    assert Config.load() == Config()
    with pytest.raises(ConfigError, match=r"'bset': is unknown; did you mean 'best'"):
        Config.load(path, preset="bset")


def test_a_configuration_of_images_is_read_as_one_and_has_no_presets(tmp_path: Path) -> None:
    config = VisionConfig(compare=("single_task",))
    assert VisionConfig.load(_written(tmp_path, config.dump())) == config
    with pytest.raises(ConfigError, match="'best': is unknown"):
        VisionConfig.load(preset="best")
    with pytest.raises(ConfigError, match="compare"):
        Config.load(tmp_path / "some.yaml")


def _written(folder: Path, text: str) -> Path:
    path = folder / "some.yaml"
    path.write_text(text, encoding="utf-8")
    return path

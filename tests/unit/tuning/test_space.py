"""What may be tried: settings that exist, values that they take, and the one published space."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from recmtl.errors import ConfigError
from recmtl.schema import PastStatistics, Schema
from recmtl.train.config import Config, Tune
from recmtl.train.recipe.tune import DEFAULT_SPACE, Range
from recmtl.tuning.space import Setting, Space, config_with, configured, schema_with
from tests.unit.tuning.conftest import SCHEMA

PAST = tuple(
    PastStatistics(name, key, of=("click",), smoothing=smoothing)
    for name, key, smoothing in (("user", "user_id", 20.0), ("item", "item_id", 30.0))
)


@pytest.fixture(scope="module")
def schema() -> Schema:
    return replace(Schema.load(SCHEMA), statistics=PAST)


def space_of(values: dict[str, Any], schema: Schema, model: str = "mmoe") -> Space:
    return Space.of(Config(tune=Tune(space=values, model=model)), schema)


def test_the_published_space_fits_every_configuration(schema: Schema) -> None:
    space = Space.of(Config(), schema)
    assert [setting.path for setting in space.settings] == list(DEFAULT_SPACE)
    assert all(s.holds(space.as_configured[s.path]) for s in space.settings)


def test_the_guide_shows_the_published_space() -> None:
    text = (Path(__file__).resolve().parents[3] / "docs" / "guides" / "tuning.md").read_text()
    for path, values in DEFAULT_SPACE.items():
        line = next(line for line in text.splitlines() if line.strip().startswith(f"{path}:"))
        shown = _values_of(line)
        assert shown == values or list(shown) == [_listed(v) for v in values], path


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _values_of(line: str) -> Any:
    ((path, values),) = yaml.safe_load(line).items()
    return Tune(space={path: values}).space[path]


@pytest.mark.parametrize(
    ("path", "values", "message"),
    [
        ("training.batchsize", [64], "there is no 'batchsize'; did you mean 'batch_size'"),
        ("training.batch_size.x", [64], "there is no 'x'"),
        ("training.weighting", [1], "is a section"),
        ("evidence.seeds", [1], "is no setting that can be tried"),
        ("training", [1], "is no setting that can be tried"),
        ("training.stop_metric", ["auc"], "the same for all trials"),
        ("training.rows", [100], "the same for all trials"),
        ("search.learning_rate", [0.1], "changes nothing of mmoe; set tune.model: searched"),
        ("training.learning_rate", [0.1, 0.0], "0 is refused: .*must be above 0"),
        ("sizes.dropout", Range(low=0.0, high=1.5), "1.5 is refused"),
        ("training.optimizer", Range(low=0.0, high=1.0), "is no number; list its choices"),
        ("sizes.embedding", Range(low=4.2, high=4.8), "is a whole number, and the range holds no"),
        ("schema.name", ["a"], "write schema.features.NAMES.OPTION"),
        ("schema.roles.x.y", ["a"], "write schema.features.NAMES.OPTION"),
        ("schema.statistics.usr.smoothing", [1], "the schema has no 'usr' there; did you mean"),
        ("schema.statistics.*.smoothness", [1], "nothing there has the option 'smoothness'"),
        ("schema.statistics.*.smoothing", [-1], "-1 is refused"),
    ],
)
def test_what_cannot_be_tried_is_named(
    path: str, values: Any, message: str, schema: Schema
) -> None:
    with pytest.raises(ConfigError, match=rf"tune\.space: {path.replace('*', '.')}: .*{message}"):
        space_of({path: values}, schema)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"low": 2.0, "high": 1.0}, "low 2 is above high 1"),
        ({"low": 0.0, "high": 1.0, "log": True}, "low must be above 0 where log is true"),
        ({"low": 1.0, "hi": 2.0}, "unknown key 'hi'; did you mean 'high'"),
        ([], "names no value"),
        (3, "must be a mapping or a list"),
    ],
)
def test_a_space_without_values_is_refused(values: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Tune(space={"training.learning_rate": values})


def test_a_search_may_be_tuned_where_trials_search(schema: Schema) -> None:
    for model in ("searched", "branched"):
        assert space_of({"search.learning_rate": [0.1]}, schema, model).settings


def test_names_of_the_schema_are_one_several_or_all(schema: Schema) -> None:
    for names, smoothings in (("user", [5, 30]), ("user,item", [5, 5]), ("*", [5, 5])):
        changed = schema_with(schema, {f"schema.statistics.{names}.smoothing": 5})
        assert [entry.smoothing for entry in changed.statistics] == smoothings
        assert replace(changed, statistics=PAST) == schema


def test_values_reach_the_configuration_and_nothing_else_does() -> None:
    values = {"training.batch_size": 64, "grid.widths": [8, 4], "schema.features.*.min_count": 3}
    config = config_with(Config(seed=3), values)
    assert config.training.batch_size == 64 and config.grid.widths == (8, 4)
    back = config_with(config, {"training.batch_size": 1024, "grid.widths": [64, 32]})
    assert back == Config(seed=3)


def test_a_value_is_read_where_it_was_written(schema: Schema) -> None:
    values = {"training.weighting.method": "dwa", "schema.statistics.item.smoothing": 7.0}
    space = space_of({path: [value] for path, value in values.items()}, schema)
    config, changed = space.applied(values)
    assert {path: configured(path, config, changed) for path in values} == values
    assert space.as_configured == {
        "training.weighting.method": "fixed",
        "schema.statistics.item.smoothing": 30.0,
    }
    assert space.tries_schemas
    assert not space_of({"sizes.embedding": [4]}, schema).tries_schemas


def test_choices_are_told_apart_as_json_is() -> None:
    setting = Setting("a", choices=("20", "true", "[64, 32]", "null", "0.5"))
    values = (20, 20.0, 0.5, None, 1, 0)
    assert [setting.choice_of(v) for v in values] == ["20", "20", "0.5", "null", None, None]
    assert setting.choice_of(True) == "true" and setting.choice_of([64, 32]) == "[64, 32]"
    assert not setting.holds([64]) and setting.holds(20.0)


@given(
    st.floats(1e-9, 1e9),
    st.floats(1.0, 1e3),
    st.floats(0, 1),
    st.booleans(),
)
def test_a_rounded_number_is_near_and_within_its_range(
    low: float, ratio: float, share: float, is_whole: bool
) -> None:
    high = low * ratio
    if is_whole:
        low, high = float(math.ceil(low)), float(math.ceil(high))
    setting = Setting("a", range=Range(low=low, high=high), is_whole=is_whole)
    value = low + share * (high - low)
    rounded = setting.rounded(value)
    assert low <= rounded <= high and setting.holds(rounded)
    assert abs(rounded - value) <= (0.5 if is_whole else 0.01 * abs(value))


def test_a_setting_with_choices_has_no_numbers() -> None:
    with pytest.raises(ValueError, match="has choices"):
        Setting("a", choices=("1",)).rounded(1.0)

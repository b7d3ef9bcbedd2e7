"""What the public objects say of themselves, in one line."""

import ast
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from recmtl import Config, Ranker, Schema, Scorer
from recmtl.data.encoded_log import EncodedLog
from recmtl.model import ModelSizes
from recmtl.schema import load_schema
from recmtl.train.config import Budget, Evidence, Search, Training
from tests.unit.run.conftest import CONFIG

DATA = Path(__file__).resolve().parents[2] / "data"


def test_a_schema_counts_its_features_and_names_its_tasks() -> None:
    schema = load_schema(DATA / "logs" / "0.1" / "schema.yaml")
    line = repr(schema)
    assert line.startswith(f"Schema {schema.name}: {len(schema.features)} features (")
    assert all(task.name in line for task in schema.tasks)
    assert line.endswith(f"split by {schema.split.by}")
    assert "\n" not in line


def test_a_schema_says_which_task_follows_another_and_which_is_a_number() -> None:
    schema = Schema(
        "shop",
        features={"price": "numeric", "user": "categorical", "tags": "list"},
        tasks={
            "click": {"kind": "binary", "label": "click"},
            "buy": {"kind": "binary", "label": "buy", "parent": "click"},
            "watch": {"kind": "regression", "label": "watch"},
        },
        split="random",
        roles={"group": "user"},
    )
    assert repr(schema) == (
        "Schema shop: 3 features (1 numeric, 1 categorical, 1 list); "
        "tasks click, buy after click, watch (regression); group user; split by random"
    )


@pytest.mark.parametrize(
    "config",
    [
        Config(),
        CONFIG,
        Config(seed=3, evidence=Evidence(seeds=2), search=Search(budget=Budget(share=0.5))),
        Config(sizes=ModelSizes()),
        Config(training=Training(stop_metric={"click": "gauc"}), rank_by="p_click * 2"),
    ],
    ids=["defaults", "small", "nested", "sizes", "texts"],
)
def test_a_configuration_shows_what_builds_it(config: Config) -> None:
    arguments = repr(config).removeprefix("Config(").removesuffix(")")
    # The settings are literals of Python: read without running anything.
    names = _keywords(arguments)
    assert Config(**names) == config


def _keywords(arguments: str) -> dict[str, object]:
    call = ast.parse(f"f({arguments})", mode="eval").body
    assert isinstance(call, ast.Call)
    return {str(word.arg): ast.literal_eval(word.value) for word in call.keywords}


def test_a_configuration_of_defaults_is_short() -> None:
    assert repr(Config()) == "Config()"
    assert repr(replace(Config(), workers=2)) == "Config(workers=2)"


def test_a_log_says_its_rows_and_a_part_its_columns() -> None:
    log = EncodedLog.open(DATA / "logs" / "0.1" / "log")
    rows = log.manifest["rows"]
    assert f"{sum(rows.values()):,} rows (train {rows['train']:,}, validation" in repr(log)
    part = log.split("test")
    ids = np.shape(part.ids)[1]
    assert repr(part).startswith(f"LogSplit: {rows['test']:,} rows of {ids} columns of ids")


def test_a_scorer_and_a_ranker_say_what_they_score_and_from_where() -> None:
    folder = DATA / "bundles" / "0.1" / "grid"
    scorer = Scorer.load(folder, record=False)
    line = f"Scorer {folder}: {', '.join(scorer.columns)} of {len(scorer.input_columns)} columns"
    assert repr(scorer) == f"{line}, by torch"
    assert repr(Ranker(scorer)) == f"Ranker by {scorer!r}"
    with_user = Ranker(scorer, user=["age"])
    assert "a request gives age once" in repr(with_user)
    assert repr(scorer.bundle).startswith(f"Bundle {folder}: tasks ")

"""Sources of knowledge: which field belongs to which, and what a network hears of a log."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from recmtl.data.arrays.columns import PickedColumns
from recmtl.data.columns.sources import part_of_schema, sources_of
from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
from recmtl.errors import ConfigError
from recmtl.grid import shared_bottom
from recmtl.model import ModelSizes
from recmtl.schema import Schema
from recmtl.schema.yaml_form import parse_schema
from recmtl.train.config import Training
from recmtl.train.loop import train
from recmtl.train.tabular_problem import TabularProblem

TEXT = """
version: 1
name: shop
features:
  user: {kind: categorical}
  age: {kind: numeric, values: {min_count: 1}}
  seen: {kind: list, max_length: 3}
  price: {kind: numeric}
  watched: {kind: list, pooling: attention, target: user, max_length: 4, times: watched_at}
tasks: {click: {kind: binary, label: click}}
roles: {time: at}
statistics:
  - {name: past, key: user, of: [click]}
split: {by: time, validation: 0.2, test: 0.2}
"""
DAY = 86_400_000


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> EncodedLog:
    folder = tmp_path_factory.mktemp("sources")
    return prepare(write_log(folder), schema(), folder / "log")


def schema(text: str = TEXT) -> Schema:
    return parse_schema(text, source="test")


def write_log(folder: Path, rows: int = 500) -> Path:
    random = np.random.default_rng(0)
    lengths = random.integers(0, 4, rows)
    table = pa.table(
        {
            "user": random.integers(0, 20, rows),
            "age": random.integers(18, 60, rows),
            "seen": [list(range(n)) for n in random.integers(0, 6, rows)],
            "watched": [list(range(n)) for n in lengths],
            "watched_at": pa.array([[0] * n for n in lengths], pa.list_(pa.timestamp("ms"))),
            "price": random.normal(size=rows),
            "click": random.integers(0, 2, rows),
            "at": pa.array(np.arange(rows) * (DAY // 50), pa.timestamp("ms")),
        }
    )
    pq.write_table(table, folder / "log.parquet")
    return folder / "log.parquet"


def without_values(whole: Schema) -> Schema:
    return part_of_schema(whole, ("ids", "numbers", "counts", "statistics"))


def trained(problem: TabularProblem) -> dict[str, np.ndarray]:
    """The weights of a small network after one epoch."""
    layout = shared_bottom(len(problem.tasks), widths=(8,))
    torch.manual_seed(0)
    network = problem.network(layout, ModelSizes(embedding=4, tower=(4,)))
    train(network, problem, Training(batch_size=64, epochs=1, checks=1), seed=0)
    return {name: weights.numpy() for name, weights in network.state_dict().items()}


def test_every_field_belongs_to_one_source(log: EncodedLog) -> None:
    sources = sources_of(log.schema, log.encoding)
    assert list(sources) == ["ids", "numbers", "counts", "values", "statistics", "histories"]
    assert sources["ids"] == ("user", "seen") and sources["numbers"] == ("age", "price")
    assert sources["counts"] == ("seen.count",) and sources["values"] == ("age.value",)
    assert sources["histories"] == ("watched", "watched.age", "watched.count")
    assert all(name.startswith("past.") for name in sources["statistics"])
    fields = [name for names in sources.values() for name in names]
    assert sorted(fields) == sorted(log.encoding.fields)


def test_a_field_that_the_schema_does_not_know_is_of_trees(log: EncodedLog) -> None:
    price = log.encoding.numeric[1]
    encoding = replace(log.encoding, numeric=(price, replace(price, name="click.tree")))
    assert sources_of(log.schema, encoding)["trees"] == ("click.tree",)


def test_hearing_is_the_network_of_a_log_without_the_other_sources(
    log: EncodedLog, tmp_path: Path
) -> None:
    heard = ("ids", "numbers")
    plain = schema(
        TEXT.replace("max_length: 3", "max_length: 3, count: false").replace(
            "statistics:\n  - {name: past, key: user, of: [click]}\n", ""
        )
    )
    # Exact values and ages have rows of the table, which drawing the weights would heed.
    full, plain = (without_values(kind) for kind in (schema(), plain))
    data = write_log(tmp_path)
    problems = [
        TabularProblem.of(prepare(data, kind, tmp_path / str(number)), rare_ids=5.0)
        for number, kind in enumerate((full, plain))
    ]
    assert part_of_schema(full, heard) == plain
    whole, expected = trained(problems[0].hearing(heard)), trained(problems[1])
    assert whole.keys() == expected.keys()
    for name, weights in expected.items():
        np.testing.assert_array_equal(whole[name], weights)


def test_hearing_every_source_is_the_problem_itself(log: EncodedLog) -> None:
    problem = TabularProblem.of(log)
    assert problem.hearing(tuple(problem.sources)) is problem


def test_hearing_costs_what_the_columns_left_cost(log: EncodedLog) -> None:
    problem = TabularProblem.of(log)
    heard = problem.hearing(("ids", "numbers", "values"))
    sizes = ModelSizes(embedding=4)
    assert heard.encoding.num_fields == 5
    assert heard.lane_shape(sizes).input_width == 5 * 4
    assert heard.only(heard.tasks[0]).encoding == heard.encoding
    batch = next(heard.train.batches(batch_size=7, seed=0))
    assert batch.ids.shape == (7, 5) and batch.numeric.shape == (7, 2)


def test_a_source_that_is_not_there_cannot_be_heard(log: EncodedLog) -> None:
    problem = TabularProblem.of(log)
    with pytest.raises(ConfigError, match="no source 'trees' to hear; there are ids, numbers"):
        problem.hearing(("ids", "trees"))
    with pytest.raises(ConfigError, match="has to hear a source"):
        problem.hearing(())
    with pytest.raises(ConfigError, match="histories are read against ids"):
        problem.hearing(("numbers", "histories"))


def test_histories_are_heard_whole_or_not_at_all(log: EncodedLog) -> None:
    problem = TabularProblem.of(log)
    without = problem.hearing(("ids", "counts"))
    assert without.encoding.fields == ("user", "seen", "seen.count")
    heard = problem.hearing(("ids", "histories"))
    assert [field.name for field in heard.encoding.lists] == ["seen", "watched", "watched.age"]
    assert log.encoder().hearing(("ids", "histories")).encoding == heard.encoding
    assert trained(heard)


def test_an_encoder_that_hears_less_needs_less_and_encodes_the_same(
    log: EncodedLog, tmp_path: Path
) -> None:
    whole, rows = log.encoder(), pq.read_table(write_log(tmp_path))
    heard = whole.hearing(("ids", "numbers", "counts"))
    assert "at" in whole.input_columns and "at" not in heard.input_columns
    assert heard.past is None and not heard.schema.statistics
    problem = TabularProblem.of(log).hearing(("ids", "numbers", "counts"))
    assert heard.encoding == problem.encoding
    ids, numeric = whole.encoding.columns_of(heard.encoding)
    small = heard.encode(rows.drop_columns(["at", "click", "watched", "watched_at"]))
    np.testing.assert_array_equal(small.ids, whole.encode(rows).ids[:, ids])
    np.testing.assert_array_equal(small.numeric, whole.encode(rows).numeric[:, numeric])
    heard.save(tmp_path / "encoder")
    assert not (tmp_path / "encoder" / "statistics").exists()
    assert type(heard).load(tmp_path / "encoder").encoding == heard.encoding


def test_picked_columns_are_an_array_of_these_columns() -> None:
    array = np.arange(20).reshape(5, 4)
    picked, expected = PickedColumns(array, [3, 1]), array[:, [3, 1]]
    assert len(picked) == 5 and picked.shape == (5, 2) and picked.dtype == array.dtype
    np.testing.assert_array_equal(np.asarray(picked), expected)
    np.testing.assert_array_equal(picked[1:3], expected[1:3])
    np.testing.assert_array_equal(picked[np.array([4, 0])], expected[[4, 0]])
    np.testing.assert_array_equal(picked[:, 1], expected[:, 1])
    np.testing.assert_array_equal(picked[2], expected[2])

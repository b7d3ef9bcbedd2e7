"""The role of a position: what is refused, and how it lies in the encoded log."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
from recmtl.errors import DataError, SchemaError
from recmtl.schema import Schema, dump_schema, parse_schema
from recmtl.train.tabular_problem import TabularProblem

TEXT = """
version: 1
name: shop
features: {item: {kind: categorical}}
tasks:
  click: {kind: binary, label: click}
  buy: {kind: binary, label: buy, parent: click}
roles: {position: slot}
split: {by: random, seed: 3}
"""


def schema_of(roles: str = "slot", **changes: str) -> Schema:
    text = TEXT.replace("{position: slot}", f"{{position: {roles}}}")
    for old, new in changes.items():
        text = text.replace(old, new)
    return parse_schema(text, source="shop.yaml")


def prepared(folder: Path, schema: Schema, **columns: Any) -> EncodedLog:
    dice = np.random.default_rng(0)
    click = dice.integers(0, 2, 400)
    rows: dict[str, Any] = {"item": dice.integers(0, 9, 400), "click": click}
    rows |= {"buy": click * dice.integers(0, 2, 400), "slot": np.arange(400) % 6} | columns
    folder.mkdir()
    pd.DataFrame(rows).to_parquet(folder / "log.parquet")
    return prepare(str(folder / "log.parquet"), schema, folder / "log")


def test_places_stand_beside_the_labels_and_are_no_input(tmp_path: Path) -> None:
    slot = pd.Series(np.arange(400) % 6, dtype="Int64")
    slot[::7] = None
    log = prepared(tmp_path / "a", schema_of(), slot=slot)
    train = log.split("train")
    expected = slot.astype("float64").to_numpy()[train.row]
    assert np.array_equal(train.position[:, 0], expected, equal_nan=True)
    gaps = [gap for gap in log.manifest["counts"] if gap["reason"] == "position_missing"]
    assert sum(gap["rows"] for gap in gaps) == int(slot.isna().sum())
    assert "slot" not in log.encoder().input_columns
    batch = next(iter(train.batches(batch_size=50, seed=1)))
    assert batch.labels.shape == (50, 3)
    heads = TabularProblem.of(log).heads
    assert heads[0].position == log.schema.roles.position and heads[1].position is None
    assert len(heads[0].numbers["places"]) == 6
    assert sum(heads[0].numbers["shares"]) == pytest.approx(1.0)


def test_a_log_without_the_role_has_no_file_of_it(tmp_path: Path) -> None:
    schema = parse_schema(TEXT.replace("roles: {position: slot}\n", ""), source="x")
    log = prepared(tmp_path / "a", schema)
    assert not (log.folder / "train" / "position.npy").exists()
    assert log.split("train").position.shape == (len(log.split("train")), 0)


@pytest.mark.parametrize("slot", [-1, 0.5])
def test_what_is_no_whole_number_from_0_is_refused(tmp_path: Path, slot: float) -> None:
    values = np.where(np.arange(400) == 200, slot, 1.0)
    with pytest.raises(DataError, match=f"holds the position {slot:g}.*column|slot"):
        prepared(tmp_path / "a", schema_of(), slot=values)


def test_a_single_task_network_keeps_the_places_of_its_rows(tmp_path: Path) -> None:
    problem = TabularProblem.of(prepared(tmp_path / "a", schema_of()))
    click, buy = (problem.only(head) for head in problem.heads)
    assert click.heads[0].position is not None and buy.heads[0].position is None
    assert np.array_equal(buy.train.position[:, 0], buy.train.row % 6)


def test_the_role_is_read_and_written() -> None:
    schema = schema_of("{column: slot, at: 1}")
    assert schema.roles.position is not None and schema.roles.position.at == 1
    assert parse_schema(dump_schema(schema), source="again") == schema
    assert schema_of().roles.columns == {"position": "slot"} and "position slot" in repr(schema)


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        (TEXT.replace("{item:", "{slot: {kind: numeric}, item:"), "serving does not know"),
        (TEXT.replace("position: slot", "position: {column: slot, form: product, at: 2}"), "at is"),
        (
            TEXT.replace("kind: binary, label: click", "kind: regression, label: click")
            .replace(", parent: click", "")
            .replace("kind: binary, label: buy", "kind: regression, label: buy"),
            "binary tasks without a parent",
        ),
    ],
)
def test_a_role_that_cannot_be_is_refused(schema: str, fault: str) -> None:
    with pytest.raises(SchemaError, match=fault):
        parse_schema(schema, source="shop.yaml")

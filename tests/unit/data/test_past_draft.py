"""Drafted statistics: proposed where ids repeat, valid once the comment signs are gone."""

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recmtl.data.describe import describe
from recmtl.data.prepare import prepare
from recmtl.data.statistics.draft import statistics_draft
from recmtl.schema import parse_schema

DAYS = np.sort(np.random.default_rng(0).integers(0, 80, 2000))
START = dt.datetime(2024, 5, 1)


def uncommented(text: str) -> str:
    """The draft with its proposal."""
    lines = [line.removeprefix("# ") if "statistics" in line else line for line in text.split("\n")]
    return "\n".join(line[2:] if line.startswith("#   ") else line for line in lines)


@pytest.mark.parametrize(
    ("times", "grain"),
    [
        (DAYS, "1"),
        (DAYS + 20240500, "1"),
        (DAYS * 86_400 + 1_714_521_600, "86400"),
        (DAYS * 86_400_000 + 1_714_521_600_000, "86400000"),
        ([START + dt.timedelta(days=int(day)) for day in DAYS], "1d"),
        ([(START + dt.timedelta(days=int(day))).date() for day in DAYS], "1d"),
    ],
)
def test_the_proposal_can_be_prepared(times: Any, grain: str, tmp_path: Path) -> None:
    dice = np.random.default_rng(1)
    columns = {"user_id": dice.integers(0, 200, 2000), "item_id": dice.integers(0, 1500, 2000)}
    columns |= {"is_click": dice.integers(0, 2, 2000), "hour": dice.integers(0, 24, 2000)}
    columns["time"] = pa.array(times)
    pq.write_table(pa.table(columns), tmp_path / "log.parquet")
    text = describe(str(tmp_path / "log.parquet"))
    assert load_text(text).statistics == ()
    schema = load_text(uncommented(text))
    (entry,) = schema.statistics
    assert (entry.name, entry.key, entry.of) == ("user_id_past", "user_id", ("click",))
    assert str(entry.grain) == grain
    assert entry.window_periods == (None, 7)
    log = prepare(str(tmp_path / "log.parquet"), schema, tmp_path / "out")
    assert log.manifest["statistics"]["user_id_past"]["keys"] == 200


def test_without_time_the_group_is_no_key(tmp_path: Path) -> None:
    dice = np.random.default_rng(1)
    columns = {name: dice.integers(0, 200, 2000) for name in ("user_id", "item_id")}
    columns["is_click"] = dice.integers(0, 2, 2000)
    pq.write_table(pa.table(columns), tmp_path / "log.parquet")
    (entry,) = load_text(uncommented(describe(str(tmp_path / "log.parquet")))).statistics
    assert (entry.key, entry.windows) == ("item_id", ("all",))


def load_text(text: str) -> Any:
    """A schema of this text."""
    return parse_schema(text, source="draft.yaml")


def test_nothing_is_proposed_without_ids_that_repeat_or_without_tasks() -> None:
    assert list(statistics_draft({"user": 1.5}, ["click"], None)) == []
    assert list(statistics_draft({"user": 9.0}, [], None)) == []


def test_ids_of_few_rows_come_first_and_names_are_made_plain(tmp_path: Path) -> None:
    rows_of = {f"id {i}": 3.0 + i for i in range(6)}
    lines = list(statistics_draft(rows_of, ["click"], None))
    assert [line for line in lines if "name:" in line] == [
        f"#   - name: id_{i}_past  # {3 + i}.0 rows a value" for i in range(4)
    ]
    assert '#     key: "id 0"' in lines

"""Features that give a label away are told, whatever the length of the log, and no others."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recmtl.data.prepare import prepare
from recmtl.schema import parse_schema

SCHEMA = """
version: 1
name: leaks
features:
  honest: {kind: numeric}
  outcome: {kind: numeric}
  twice: {kind: numeric}
  item: {kind: categorical}
  receipt: {kind: categorical}
tasks:
  buy: {kind: binary, label: is_buy}
  watch: {kind: regression, label: seconds}
split: {by: random, validation: 0.1, test: 0.1}
"""


def log(rows: int, *, leaks: bool) -> pa.Table:
    """Columns of which three copy a label for the most part, or none does."""
    dice = np.random.default_rng(rows)
    buy, seconds = (dice.random(rows) < 0.1).astype(int), dice.exponential(30.0, rows)
    other, wrong = dice.random(rows), dice.random(rows) < 2e-4
    return pa.table(
        {
            "honest": buy + dice.normal(size=rows),
            "outcome": pa.array(buy + 0.1 * other if leaks else other, mask=other > 0.9999),
            "twice": 2.0 * seconds if leaks else dice.permutation(seconds),
            "item": dice.integers(0, 50, rows),
            "receipt": pa.array(np.where(buy ^ (wrong if leaks else other < 0.3), "yes", "no")),
            "is_buy": buy,
            "seconds": seconds,
        }
    )


@pytest.mark.parametrize("rows", [4000, 40_000])
@pytest.mark.parametrize("leaks", [True, False])
def test_copies_of_a_label_are_told(tmp_path: Path, rows: int, leaks: bool) -> None:
    pq.write_table(log(rows, leaks=leaks), tmp_path / "log.parquet")
    schema = parse_schema(SCHEMA, source="leaks")
    warnings = prepare(str(tmp_path / "log.parquet"), schema, tmp_path / "out").manifest["warnings"]
    told = [text for text in warnings if "nearly equals" in text]
    found = {(text.split("'")[1], text.split("'")[5]) for text in told}
    expected = {("outcome", "buy"), ("twice", "watch"), ("receipt", "buy")}
    assert found == (expected if leaks else set())

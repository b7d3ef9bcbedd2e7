"""Features that give a label away are told, whatever the length of the log, and no others."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from recmtl.data import leaks as module
from recmtl.data.leaks import _auc, _blocks, _follows, _one_to_one
from recmtl.data.prepare import prepare
from recmtl.schema import Condition, TaskSpec, parse_schema

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


@given(st.integers(0, 999), st.integers(1, 200), st.floats(0.0, 1.0), st.integers(1, 9))
def test_the_auc_is_scikit_learns_where_both_classes_are_common(
    seed: int, rows: int, share: float, levels: int
) -> None:
    random = np.random.default_rng(seed)
    label = (random.random(rows) < share).astype(float)
    values = random.integers(0, levels, rows) + label * random.random()
    common = min(label.sum(), len(label) - label.sum()) >= 20
    expected = roc_auc_score(label, values) if common else 0.5
    assert _auc(values, label) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("rows", "expected"), [(0, [0]), (7, [7]), (20_000, [20_000]), (20_001, [500] * 40)]
)
def test_blocks_are_spread_over_all_rows(rows: int, expected: list[int]) -> None:
    blocks = _blocks(rows)
    assert [block.stop - block.start for block in blocks] == expected
    assert blocks[0].start == 0 and blocks[-1].stop == rows
    assert all(before.stop <= after.start for before, after in pairwise(blocks))


def codes_and_classes(classes: int, rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    label = np.random.default_rng(classes).integers(0, classes, rows).astype(float)
    return ((label + 1) % classes).astype(np.int32), label


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_a_renamed_copy_of_the_classes_is_one_to_one(classes: int) -> None:
    codes, label = codes_and_classes(classes)
    assert _one_to_one(codes, label)
    label[::9] = np.nan
    assert _one_to_one(codes, label), "rows without a label prove nothing"
    wrong = codes.copy()
    wrong[:40] = (wrong[:40] + 1) % classes
    assert not _one_to_one(wrong, label)


def test_many_values_or_one_class_are_not_one_to_one() -> None:
    """An id of each row has one class for each of its values, whatever the label."""
    codes, label = codes_and_classes(2)
    assert not _one_to_one(np.arange(400, dtype=np.int32), label)
    assert not _one_to_one(codes, np.zeros(400))
    assert not _one_to_one(np.zeros(400, np.int32), label)


def test_a_rare_label_is_not_matched_by_a_constant() -> None:
    label = (np.arange(10_000) < 25).astype(float)
    almost = np.zeros(10_000, np.int32)
    almost[:3] = 1
    assert not _one_to_one(almost, label), "99.8% of all rows agree, and 12% of the rare class"


@pytest.mark.parametrize(("noise", "expected"), [(0.0, True), (1e-3, True), (30.0, False)])
def test_a_regression_label_is_followed_by_what_orders_its_rows(
    noise: float, expected: bool
) -> None:
    random = np.random.default_rng(0)
    label = np.round(random.exponential(30.0, 2000), 0)
    task = TaskSpec("watch", "regression", Condition("s"))
    assert _follows(task, np.log1p(label) + noise * random.random(2000), label) == expected
    assert not _follows(task, np.zeros(2000), np.sort(label)), "a constant keeps any order"
    assert not _follows(TaskSpec("stars", "multiclass", Condition("s")), label, label)


def test_features_with_too_many_ids_are_not_tested(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(log(4000, leaks=True), tmp_path / "log.parquet")
    schema = parse_schema(SCHEMA, source="leaks")
    monkeypatch.setattr(module, "MOST_VALUES", 1)
    warnings = prepare(str(tmp_path / "log.parquet"), schema, tmp_path / "out").manifest["warnings"]
    leaky = [text for text in warnings if "nearly equals" in text]
    assert leaky == [
        f"feature {feature!r} (column {feature!r}) nearly equals the label of task {task!r}; "
        "drop it unless it is known before the outcome"
        for feature, task in (("outcome", "buy"), ("twice", "watch"))
    ]

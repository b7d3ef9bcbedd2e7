"""Features that give a label away are told, whatever the length of the log, and no others."""

import hashlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from recmtl.data.leaks import _auc, _blocks, _told
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


@pytest.mark.parametrize(
    ("rows", "expected"), [(0, [0]), (7, [7]), (20_000, [20_000]), (20_001, [500] * 40)]
)
def test_blocks_are_spread_over_all_rows(rows: int, expected: list[int]) -> None:
    blocks = _blocks(rows)
    assert [block.stop - block.start for block in blocks] == expected
    assert blocks[0].start == 0 and blocks[-1].stop == rows
    assert all(before.stop <= after.start for before, after in pairwise(blocks))


ROWS = 4000


def warned(
    tmp_path: Path, column: Any, kind: str, label: Any, task: str = "{kind: binary, label: y}"
) -> list[str]:
    """What is warned of a feature beside an honest one."""
    random = np.random.default_rng(3)
    columns = {"x": column, "honest": random.random(len(label)), "y": label}
    pq.write_table(pa.table(columns), tmp_path / "log.parquet")
    text = (
        f"version: 1\nname: l\nfeatures: {{x: {{kind: {kind}}}, honest: {{kind: numeric}}}}\n"
        f"tasks: {{t: {task}}}\nsplit: {{by: random}}\n"
    )
    schema = parse_schema(text, source="l")
    manifest = prepare(str(tmp_path / "log.parquet"), schema, tmp_path / "out").manifest
    return [line for line in manifest["warnings"] if line.startswith("feature ")]


def buys(rate: float = 0.1) -> np.ndarray:
    return (np.random.default_rng(1).random(ROWS) < rate).astype(int)


def hashes(values: np.ndarray) -> list[str]:
    return [hashlib.md5(str(value).encode()).hexdigest() for value in values]


BUY, OTHER = buys(), np.random.default_rng(2).integers(0, 50, ROWS)
SECONDS = np.random.default_rng(4).exponential(30.0, ROWS)
STARS = np.random.default_rng(5).integers(1, 6, ROWS)
MULTICLASS, REGRESSION = "{kind: multiclass, label: y}", "{kind: regression, label: y}"
BOTH = list(zip(BUY.tolist(), OTHER.tolist(), strict=True))
LEAKS: dict[str, tuple[Any, str, Any, str]] = {
    "renamed": (np.where(BUY, "ja", "nein"), "categorical", BUY, ""),
    "hashed": (hashes(BUY), "categorical", BUY, ""),
    "hashed into buckets": (hashes(STARS), "categorical, hash_buckets: 1000", STARS, MULTICLASS),
    "salted by another column": (hashes(BUY * 1000 + OTHER), "categorical", BUY, ""),
    "known only where it happened": (
        pa.array(SECONDS, mask=BUY == 0), "numeric", BUY, "",
    ),
    "known only where it did not": (pa.array(SECONDS, mask=BUY == 1), "numeric", BUY, ""),
    "order id": (pa.array(hashes(np.arange(ROWS)), mask=BUY == 0), "categorical", BUY, ""),
    "a few repeated ids": (pa.array(hashes(OTHER), mask=BUY == 0), "categorical", BUY, ""),
    "number of a class": (STARS * 10, "numeric", STARS, MULTICLASS),
    "scrambled number": (np.array([0, 3, 1, 5, 2, 4])[STARS], "numeric", STARS, MULTICLASS),
    "noisy number": (STARS + SECONDS / 1e4, "numeric", STARS, MULTICLASS),
    "two-sided": (np.where(BUY, 0, np.where(OTHER % 2, -1, 1)) + SECONDS / 1e4, "numeric", BUY, ""),
    "class as a text": ([f"class {star}" for star in STARS], "categorical", STARS, MULTICLASS),
    "twice": (2 * SECONDS, "numeric", SECONDS, REGRESSION),
    "backwards": (-SECONDS, "numeric", SECONDS, REGRESSION),
    "logarithm": (np.log(SECONDS), "numeric", SECONDS, REGRESSION),
    "nearly": (SECONDS + 0.1 * np.sin(OTHER), "numeric", SECONDS, REGRESSION),
    "hashed amount": (hashes(STARS), "categorical", STARS.astype(float), REGRESSION),
    "list with the outcome": (
        [["seen", "bought"] if buy else ["seen"] for buy in BUY], "list", BUY, "",
    ),
    "list with either": ([["b"] if buy else ["a"] for buy in BUY], "list", BUY, ""),
    "list with a class": ([["a", f"s{star}"] for star in STARS], "list", STARS, MULTICLASS),
    "list filled where it happened": (
        [[str(other)] if buy else [] for buy, other in BOTH], "list", BUY, "",
    ),
    "list whose end is cut off": (
        [["a"] * (90 if buy else 30 + other % 2) for buy, other in BOTH],
        "list", BUY, "",
    ),
    "list longer where it happened": (
        [["a"] * (3 if buy else 1 + other % 2) for buy, other in BOTH],
        "list", BUY, "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", LEAKS)
def test_a_feature_that_gives_a_label_away_is_told_once(case: str, tmp_path: Path) -> None:
    column, kind, label, task = LEAKS[case]
    (line,) = warned(tmp_path, column, kind, label, task or "{kind: binary, label: y}")
    assert line.startswith("feature 'x' (column 'x') ")
    assert line.endswith(" of task 't'; drop it unless it is known before the outcome")


GOOD = BUY * (np.random.default_rng(6).random(ROWS) < 0.97) + 0.1 * SECONDS
SESSION = np.arange(ROWS) // 8
HONEST: dict[str, tuple[Any, str, Any, str]] = {
    "strong": (GOOD, "numeric", BUY, ""),
    "98 of 100": (np.where(OTHER == 7, 1 - BUY, BUY), "categorical", BUY, ""),
    "id of each row": (hashes(np.arange(ROWS)), "categorical", BUY, ""),
    "number of each row": (np.arange(ROWS), "numeric", BUY, ""),
    "gaps by chance": (pa.array(SECONDS, mask=OTHER < 45), "numeric", BUY, ""),
    "gaps of most": (pa.array(SECONDS, mask=(BUY == 0) & (OTHER > 0)), "numeric", BUY, ""),
    "outcome of sessions": (np.arange(ROWS), "numeric", buys(0.5)[SESSION], ""),
    "history": ([hashes(np.arange(other % 5)) for other in OTHER], "list", BUY, ""),
    "list of ids": ([[str(i)] for i in range(ROWS)], "list", BUY, ""),
    "a rare class": (np.where(np.arange(ROWS) < 15, "a", "b"), "categorical",
                     (np.arange(ROWS) < 15).astype(int), ""),
    "shuffled": (np.random.default_rng(8).permutation(SECONDS), "numeric", SECONDS, REGRESSION),
    "correlated": (SECONDS + 2 * OTHER, "numeric", SECONDS, REGRESSION),
    "stars of a neighbour": (np.roll(STARS, 1), "categorical", STARS, MULTICLASS),
}  # fmt: skip


@pytest.mark.parametrize("case", HONEST)
def test_an_honest_feature_is_not_told(case: str, tmp_path: Path) -> None:
    column, kind, label, task = HONEST[case]
    assert warned(tmp_path, column, kind, label, task or "{kind: binary, label: y}") == []


@given(st.integers(0, 999), st.integers(60, 300), st.integers(1, 9))
def test_the_auc_is_scikit_learns_or_its_complement(seed: int, rows: int, levels: int) -> None:
    random = np.random.default_rng(seed)
    label = random.permutation(np.arange(rows) % 2)
    values = random.integers(0, levels, rows) + label * random.random()
    expected = roc_auc_score(label, values)
    order = np.unique(values, return_inverse=True)[1]
    assert _auc(order, label, np.arange(2)) == pytest.approx(max(expected, 1 - expected))


@given(st.permutations(range(6)), st.integers(0, 99))
def test_names_of_values_do_not_matter(names: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    classes = random.integers(0, 2, 400)
    codes = np.where(random.random(400) < random.random(), classes, random.integers(0, 6, 400))
    common = np.arange(2)
    assert _told(codes, classes, common) == _told(np.array(names)[codes], classes, common)
    assert _told(codes, classes, common) == _told(codes, 1 - classes, common)

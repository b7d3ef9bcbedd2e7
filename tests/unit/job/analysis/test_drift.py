"""Distances between the parts of a log: nothing changed, a little, all; and what is missing."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
from recmtl.evaluate.stability import Bins
from recmtl.job.analysis.drift import data_drift
from recmtl.schema import parse_schema

SCHEMA = """
version: 1
name: drift
features:
  same: {kind: categorical}
  moved: {kind: categorical}
  number: {kind: numeric}
  shifted: {kind: numeric}
  gone: {kind: numeric}
  tags: {kind: list, max_length: 3}
tasks:
  click: {kind: binary, label: click}
  watch: {kind: regression, label: watch}
split: {column: part, by: column}
"""
CODES = st.lists(st.integers(0, 4), min_size=1, max_size=60)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> EncodedLog:
    folder, random, rows = tmp_path_factory.mktemp("drift"), np.random.default_rng(5), 6000
    part = np.repeat(["train", "validation", "test"], [4000, 1000, 1000])
    is_test = part == "test"
    same = random.choice(["a", "b", "c"], rows)
    gone = random.normal(size=rows)
    table = pa.table({
        "part": part,
        "same": same,
        "moved": np.where(is_test & (random.random(rows) < 0.7), "new", same),
        "number": random.normal(size=rows),
        "shifted": random.normal(size=rows) + 2.0 * is_test,
        "gone": pa.array(gone, mask=is_test & (random.random(rows) < 0.5)),
        "tags": [["x"] * (3 if late else 1) for late in is_test],
        "click": (random.random(rows) < np.where(is_test, 0.5, 0.2)).astype(np.int8),
        "watch": random.random(rows),
    })  # fmt: skip
    pq.write_table(table, folder / "log.parquet")
    schema = parse_schema(SCHEMA, source="test")
    return prepare(str(folder / "log.parquet"), schema, folder / "log")


def test_what_moves_is_far_and_what_stays_is_near(log: EncodedLog) -> None:
    facts = data_drift(log, log.encoder())
    features = facts["features"]
    assert list(features) == ["same", "moved", "tags", "number", "shifted", "gone"]
    for name, entry in features.items():
        assert entry["distance"]["validation"] < 5 * entry["chance"]["validation"] + 0.005, name
    for name in ("same", "number"):
        assert features[name]["distance"]["test"] < 0.03
    for name in ("moved", "tags", "shifted", "gone"):
        assert features[name]["distance"]["test"] > 0.25, name
    assert features["moved"]["missing"]["test"] == pytest.approx(0.7, abs=0.06)
    assert features["gone"]["missing"]["test"] == pytest.approx(0.5, abs=0.06)
    assert features["moved"]["values"] == 3 and features["number"]["values"] is None
    assert {e["kind"] for e in features.values()} == {"category", "list", "number"}


def test_rates_of_labels_are_those_of_each_part(log: EncodedLog) -> None:
    labels = data_drift(log, log.encoder())["labels"]
    assert labels["click"]["test"]["mean"] == pytest.approx(0.5, abs=0.06)
    assert labels["click"]["train"] == {"rows": 4000, "mean": pytest.approx(0.2, abs=0.03)}
    assert labels["watch"]["validation"]["mean"] == pytest.approx(0.5, abs=0.05)


def stability_index(before: np.ndarray, after: np.ndarray, *, bins: int) -> float:
    """Of values 0 to `bins - 1`, each of which has a bin of its own."""
    of_values = Bins("category", tuple(range(bins)))
    return of_values.histogram(before, None).distance(of_values.histogram(after, None))


@given(before=CODES, after=CODES)
def test_the_index_is_a_symmetric_distance(before: list[int], after: list[int]) -> None:
    one, other = np.array(before), np.array(after)
    forward, back = (stability_index(*pair, bins=5) for pair in ((one, other), (other, one)))
    assert forward == pytest.approx(back) and forward >= 0.0
    assert stability_index(one, one, bins=5) == 0.0
    relabelled = stability_index(4 - one, 4 - other, bins=5)
    assert relabelled == pytest.approx(forward), "bins have no order"

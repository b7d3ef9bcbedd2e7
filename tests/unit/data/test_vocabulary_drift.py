"""Added days: encoded as the earlier log was, and the drift of the vocabularies is told."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recmtl.data import vocabulary_drift as module
from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
from recmtl.data.vocabulary_drift import UnknownCounter, drift_warnings, unknown_shares
from recmtl.errors import DataError
from recmtl.schema import Schema
from tests.unit.data.conftest import make_log

Write = Callable[..., str]
COUNTS = ("unknown", "values")
PARTS = ("train", "validation", "test")


@pytest.fixture
def earlier(schema: Schema, write: Write, tmp_path: Path) -> EncodedLog:
    return prepare(write(make_log()), schema, tmp_path / "earlier")


def test_an_added_day_has_the_ids_of_the_earlier_log(
    schema: Schema, earlier: EncodedLog, write: Write, tmp_path: Path
) -> None:
    """Each row as the earlier encoder encodes it alone, though other values are frequent now."""
    log = prepare(write(make_log(seed=7)), schema, tmp_path / "day", like=earlier)
    assert log.encoding == earlier.encoding
    assert (log.folder / "encoder" / "vocabularies.arrow").read_bytes() == (
        earlier.folder / "encoder" / "vocabularies.arrow"
    ).read_bytes()
    anew = prepare(write(make_log(seed=7)), schema, tmp_path / "anew")
    assert anew.encoding != earlier.encoding
    again = prepare(write(make_log()), schema, tmp_path / "same", like=earlier)
    for part in PARTS:
        for name in ("ids", "numeric", "labels"):
            one, two = (getattr(where.split(part), name) for where in (earlier, again))
            np.testing.assert_array_equal(one, two)


def test_new_values_are_unknown_and_warned_of(
    schema: Schema, earlier: EncodedLog, write: Write, tmp_path: Path
) -> None:
    columns: dict[str, Any] = make_log(seed=8)
    columns["item_id"] = [f"new {item}" for item in columns["item_id"]]
    log = prepare(write(columns), schema, tmp_path / "day", like=earlier)
    drift = log.manifest["drift"]
    assert drift["item_id"]["now"] == 1.0 and drift["item_id"]["before"] < 0.5
    unknown = earlier.manifest["unknown"]["validation"]["user_id"]
    assert drift["user_id"]["before"] == unknown / earlier.manifest["rows"]["validation"]
    assert drift["history"]["now"] < 0.5, "lists still hold items of the earlier log"
    counts = [sum(part["history"] for part in log.manifest[key].values()) for key in COUNTS]
    assert drift["history"]["now"] == counts[0] / counts[1]
    warned = [line for line in log.manifest["warnings"] if "fit anew" in line]
    assert len(warned) == 1 and warned[0].startswith("feature 'item_id': 100.0% of the values")
    assert log.manifest["like"] == earlier.fingerprint
    assert "drift" not in earlier.manifest


def test_a_folder_knows_like_which_log_it_was_prepared(
    schema: Schema, earlier: EncodedLog, write: Write, tmp_path: Path
) -> None:
    data = write(make_log(seed=7))
    alone = prepare(data, schema, tmp_path / "day").fingerprint
    like = prepare(data, schema, tmp_path / "day", like=earlier)
    assert like.fingerprint != alone
    written = (like.folder / "manifest.json").stat().st_mtime_ns
    again = prepare(data, schema, tmp_path / "day", like=earlier)
    assert (again.folder / "manifest.json").stat().st_mtime_ns == written


def test_another_schema_and_other_classes_are_refused(
    schema: Schema, earlier: EncodedLog, write: Write, tmp_path: Path
) -> None:
    columns = make_log(seed=7)
    other = replace(schema, features=schema.features[1:])
    with pytest.raises(DataError, match=r"another schema \(features: removed .*\); give the"):
        prepare(write(columns), other, tmp_path / "day", like=earlier)
    columns["stars"] = [None if star is None else star + 1 for star in columns["stars"]]
    with pytest.raises(DataError, match=r"task 'stars' had the classes \[1, 2, 3, 4, 5\], not"):
        prepare(write(columns), schema, tmp_path / "day", like=earlier)
    assert not (tmp_path / "day").exists()


def test_values_without_an_id_are_counted_as_by_hand(earlier: EncodedLog) -> None:
    """Cell by cell: a column belongs to a feature, padding is no value."""
    encoder, ids = earlier.encoder(), np.asarray(earlier.split("test").ids)
    counter = UnknownCounter(encoder)
    assert counter.names == ("user_id", "item_id", "city", "history", "tags")
    assert counter.columns["item_id"] == "item_id" and counter.columns["age"] == "age"
    owners, unknown_rows = encoder.unknown_rows()
    by_hand = {name: [0, 0] for name in counter.names}
    for row in ids.tolist():
        for cell, owner, unknown in zip(row, owners, unknown_rows.tolist(), strict=True):
            by_hand[owner][0] += cell == unknown
            by_hand[owner][1] += cell != 0
    counts = counter.counts(ids)
    assert counts.dtype == np.int64
    assert counts.T.tolist() == list(by_hand.values())
    shares = unknown_shares(encoder, ids)
    assert shares == {name: many[0] / max(many[1], 1) for name, many in by_hand.items()}


@pytest.mark.parametrize("rows", [1, 7, 10_000])
def test_shares_do_not_depend_on_the_slices(
    earlier: EncodedLog, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    encoder, ids = earlier.encoder(), np.asarray(earlier.split("train").ids)
    expected = unknown_shares(encoder, ids)
    monkeypatch.setattr(module, "SLICE_ROWS", rows)
    assert unknown_shares(encoder, ids) == expected


def test_no_row_has_no_unknown_value(earlier: EncodedLog) -> None:
    shares = unknown_shares(earlier.encoder(), np.empty((0, earlier.encoding.id_columns), np.int32))
    assert set(shares.values()) == {0.0}


def test_a_warning_needs_more_than_a_tenth_of_growth() -> None:
    drift = {
        "same": {"before": 0.5, "now": 0.5},
        "fewer": {"before": 0.9, "now": 0.0},
        "little": {"before": 0.25, "now": 0.34},
        "much": {"before": 0.25, "now": 0.375},
    }
    assert list(drift_warnings(drift)) == [
        "feature 'much': 37.5% of the values are unknown, 25.0% when its vocabulary was fitted; "
        "fit anew"
    ]

"""Added days: encoded as the earlier log was, and the drift of the vocabularies is told."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
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
    with pytest.raises(DataError, match="earlier: was prepared with another schema; give the same"):
        prepare(write(columns), other, tmp_path / "day", like=earlier)
    columns["stars"] = [None if star is None else star + 1 for star in columns["stars"]]
    with pytest.raises(DataError, match=r"task 'stars' had the classes \[1, 2, 3, 4, 5\], not"):
        prepare(write(columns), schema, tmp_path / "day", like=earlier)
    assert not (tmp_path / "day").exists()

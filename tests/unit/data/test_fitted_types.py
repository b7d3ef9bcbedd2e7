"""What an encoder fitted as one type and gets in another form: the same value, or one line."""

import datetime
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.data.columns.canonical import normalised
from recmtl.data.columns.logical_type import can_mean, logical_type
from recmtl.data.passes.encoder_fit import EncoderFit
from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import DataError, SourceLocation
from recmtl.schema import parse_schema
from recmtl.serve.frames import to_arrow
from recmtl.serve.ranking.request import encode_plain_row
from tests.unit.data.arrow_forms import FORMS, VALUES
from tests.unit.data.test_logical_type import SIMPLE, TYPES

PLACE = SourceLocation("today")
NAN = float("nan")
SCHEMA = """
version: 1
name: fitted
features: {{x: {{kind: {kind}}}}}
tasks: {{click: {{kind: binary, label: y}}}}
split: {{by: random}}
"""
DAY = datetime.date(2024, 5, 1)
NOON = datetime.datetime(2024, 5, 1, 12)
MIDNIGHT = datetime.datetime(2024, 5, 1)
UTC = datetime.UTC


def fitted(column: Any, kind: str = "categorical") -> RowEncoder:
    """An encoder that saw a column in training."""
    schema = parse_schema(SCHEMA.format(kind=kind), source="s")
    types = {"x": logical_type(column.type)}
    fit = EncoderFit(schema, types)
    batch = pa.record_batch([normalised(column, types["x"], "x", PLACE)], names=["x"])
    fit.add(batch, np.ones(len(column), np.bool_), PLACE)
    return fit.finish()


def ids(encoder: RowEncoder, column: Any) -> list[Any]:
    """The encoded column, ids and numbers side by side."""
    encoded = encoder.encode(pa.table({"x": column}), place=PLACE)
    return [*encoded.ids.tolist(), *encoded.numeric.tolist()]


def times(unit: str, zone: str | None = None, *, at: datetime.datetime = NOON) -> pa.Array:
    zoned = at if zone is None else at.replace(tzinfo=UTC)
    return pa.array([zoned, None], pa.timestamp(unit, zone))


SAME = [
    (pa.array([3, None, 7], pa.int64()), pa.array([3.0, NAN, 7.0])),
    (pa.array([3, None, 7], pa.int64()), pa.array([3, None, 7], pa.float32())),
    (pa.array([3, None, 7], pa.int64()), pa.array([3, None, 7], pa.uint8())),
    (pa.array([2**60, None]), pa.array([Decimal(2**60), None], pa.decimal128(38, 0))),
    (pa.array([2**60, None]), pa.array([Decimal(2**60), None], pa.decimal128(38, 2))),
    (pa.array([3.0, NAN, 7.0]), pa.array([3, None, 7])),
    (pa.array([1, None, 0]), pa.array([True, None, False])),
    (pa.array([True, None, False]), pa.array([1, None, 0], pa.int8())),
    (pa.array([True, None, False]), pa.array([1.0, NAN, 0.0])),
    (pa.array([True, None, False]), pa.array([Decimal(1), None, Decimal(0)])),
    (pa.array(["a", None, "é"]), pa.array([b"a", None, "é".encode()])),
    (pa.array([b"a", None, "é".encode()]), pa.array(["a", None, "é"], pa.string_view())),
    *((times(fit), times(now)) for fit in ("s", "ms", "us", "ns") for now in ("s", "ms", "ns")),
    (times("ms", "UTC"), times("us", "America/New_York")),
    (pa.array([DAY, None]), times("ns", at=MIDNIGHT)),
    (pa.array([DAY, None]), pa.array([DAY, None], pa.date64())),
    (pa.array([DAY, None], pa.date64()), pa.array([DAY, None])),
    (times("us", at=MIDNIGHT), pa.array([DAY, None])),
    (pa.array([DAY, None]), pa.array(["2024-05-01", None])),
    (times("ms"), pa.array(["2024-05-01 12:00:00", None], pa.string_view())),
    (times("ms", "UTC"), pa.array(["2024-05-01T14:00:00+02:00", None])),
    (pa.array([9, None], pa.time32("s")), pa.array([9_000_000_000, None], pa.time64("ns"))),
    (pa.array([9, None], pa.duration("s")), pa.array([9000, None], pa.duration("ms"))),
]


@pytest.mark.parametrize(("training", "scoring"), SAME, ids=lambda a: str(a.type))
@pytest.mark.parametrize("as_dictionary", [False, True])
def test_a_value_in_another_form_has_the_id_that_it_had(
    training: Any, scoring: Any, as_dictionary: bool
) -> None:
    encoder = fitted(training)
    if as_dictionary and not pa.types.is_string_view(scoring.type):
        scoring = scoring.dictionary_encode()
    assert ids(encoder, scoring) == ids(encoder, training)
    assert all(row != [1] for row in ids(encoder, training)[:1])


@pytest.mark.parametrize(("training", "scoring"), SAME, ids=lambda a: str(a.type))
def test_the_values_of_lists_too(training: Any, scoring: Any) -> None:
    offsets = [0, 1, len(training)]
    lists = pa.ListArray.from_arrays(offsets, training)
    encoder = fitted(lists, "list")
    assert ids(encoder, pa.LargeListArray.from_arrays(offsets, scoring)) == ids(encoder, lists)


OTHERS = [
    (pa.array([3, 7]), pa.array(["3", "7"]), "holds text, and integer was fitted; give it as int"),
    (pa.array(["3", "7"]), pa.array([3, 7]), "holds integer, and text was fitted; give it as lar"),
    (pa.array([3, 7]), pa.array([3.5]), "holds fractions .*"),
    (pa.array([True, False]), pa.array([1, 2]), "holds integer such as 2, and boolean was fitted"),
    (pa.array([True, False]), pa.array(["true"]), "holds text, and boolean was fitted; give it"),
    (times("ms"), times("ms", "UTC"), r"holds timestamp \(ms, UTC\), and timestamp \(ms\) was fi"),
    (times("ms", "UTC"), times("ms"), r"holds timestamp \(ms\), and timestamp \(ms, UTC\) was"),
    (pa.array([DAY]), times("us"), "holds times within a day, such as 2024-05-01 12:00:00.*, and"),
    (pa.array([DAY]), times("us", "UTC", at=MIDNIGHT), "holds timestamp .*, and date .* was"),
    (pa.array([DAY]), pa.array(["yesterday"]), r"holds string, which cannot be read as date \(day"),
    (pa.array([DAY]), pa.array([19_844]), r"holds integer, and date \(day\) was fitted; give it"),
    (times("s"), pa.array([1], pa.timestamp("ms")), "which cannot be read as timestamp"),
    (times("s"), pa.array([1_714_564_800]), "holds integer, and timestamp"),
    (pa.array([b"a"]), pa.array([b"\xff"]), "cannot be read as categories"),
    (pa.array(["a"]), pa.array([b"\xff"]), "holds binary, which cannot be read as text"),
    (pa.array([3]), pa.array([[3]]), "holds list of integer, and integer was fitted"),
    (pa.array([3]), pa.array([{"a": 3}]), "holds struct<a: int64>, and integer was fitted"),
    (pa.nulls(2), pa.array([3]), "holds integer, and null was fitted; give it as null"),
    (pa.array([3]), pa.array([2.0**60]), "holds double beyond 9007199254740992, where floats"),
]  # fmt: skip


@pytest.mark.parametrize(("training", "scoring", "fault"), OTHERS)
def test_what_cannot_mean_the_same_is_refused_in_one_line(
    training: Any, scoring: Any, fault: str
) -> None:
    encoder = fitted(training)
    with pytest.raises(DataError, match=f"today: column 'x': .*{fault}") as caught:
        encoder.encode(pa.table({"x": scoring}), place=PLACE)
    assert "\n" not in str(caught.value) and "; " in str(caught.value)


@pytest.mark.parametrize("kind", FORMS)
def test_a_column_without_values_is_missing_whatever_its_type(kind: str) -> None:
    first = next(iter(FORMS[kind].values()))
    encoder = fitted(first(VALUES[kind]), "list" if kind == "list" else "categorical") \
        if kind != "float" else fitted(first(VALUES[kind]), "numeric")  # fmt: skip
    expected = str(ids(encoder, first([None, None])))
    for empty in (pa.nulls(2), pa.array([NAN, NAN]), pa.array([None, None], pa.string())):
        assert str(ids(encoder, empty)) == expected


def test_a_number_may_have_fractions_where_whole_ones_were_fitted() -> None:
    encoder = fitted(pa.array([0, 10]), "numeric")
    middle = encoder.encode(pa.table({"x": [2.5]})).numeric
    assert 0 < float(middle[0, 0]) < 10


def test_types_travel_with_the_encoder(tmp_path: Path) -> None:
    column = pa.array([[NOON]], pa.large_list(pa.timestamp("ms", "UTC")))
    fitted(column, "list").save(tmp_path)
    again = RowEncoder.load(tmp_path)
    assert again.types == {"x": logical_type(column.type)}
    assert again.part(["x"]).types == again.types


def test_an_encoder_without_types_takes_columns_as_they_are(tmp_path: Path) -> None:
    fitted(pa.array([3, 7])).save(tmp_path)
    document = json.loads((tmp_path / "encoder.json").read_text())
    del document["types"]
    (tmp_path / "encoder.json").write_text(json.dumps(document))
    old = RowEncoder.load(tmp_path)
    assert ids(old, pa.array(["3", "7"])) == ids(old, pa.array([3, 7]))


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_json_holds_a_whole_type(kind: Any) -> None:
    assert type(kind).from_json(json.loads(json.dumps(kind.to_json()))) == kind


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_every_type_can_mean_itself(kind: Any) -> None:
    assert can_mean(kind, kind)


ARRAYS = [pa.array([None], kind) for kind in SIMPLE[:-1]] + [
    pa.array([1, 0], pa.int8()), pa.array([0.5]), pa.array(["a"]), pa.array([b"\xff"]),
    pa.array([10**18], pa.int64()), times("ns", at=NOON + datetime.timedelta(microseconds=1)),
    pa.array([["a"]]), pa.array([[{"a": 1}]]), pa.array([{"a": 1}]), pa.array([2**63], pa.uint64()),
    pa.array([Decimal(10**30)]), pa.array([2**62], pa.timestamp("s")),
    pa.array([2**40], pa.duration("s")), pa.array([["2024-13-01"]]),
]  # fmt: skip


@given(st.sampled_from(TYPES), st.sampled_from(ARRAYS))
def test_no_pair_of_types_ends_in_an_exception_of_arrow(wanted: Any, column: Any) -> None:
    try:
        array = normalised(column, wanted, "x", PLACE)
    except DataError as fault:
        assert "today: column 'x': holds" in str(fault) and "\n" not in str(fault)
    else:
        assert len(array) == len(column)


def test_plain_values_of_a_request_are_times_and_booleans_only_by_their_type() -> None:
    encoder = fitted(times("ms"))
    assert encode_plain_row(encoder, {"x": 5}) is None
    assert encode_plain_row(fitted(pa.array([3, 7])), {"x": 7}) is not None
    assert ids(encoder, pa.array([NOON])) == ids(encoder, times("us").slice(0, 1))


def test_a_pandas_frame_keeps_its_zone() -> None:
    pandas = pytest.importorskip("pandas")
    zoned = pandas.Series([NOON]).dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")
    frame = pandas.DataFrame({"x": zoned})
    encoder = fitted(times("ms", "UTC").slice(0, 1))
    assert ids(encoder, to_arrow(frame, ["x"])["x"]) == [[2], []]
    with pytest.raises(DataError, match=r"holds timestamp \(us\), and timestamp \(ms, UTC\) was"):
        ids(encoder, to_arrow(frame.assign(x=zoned.dt.tz_localize(None)), ["x"])["x"])

"""Parts, holidays and ages of times: what Python's calendar says, in every form a time comes in."""

import datetime as dt
import math
import zoneinfo
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.data.derived.times import parts_of_times
from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
from recmtl.errors import DataError, SchemaError, SourceLocation
from recmtl.schema import Datetime, dump_schema, parse_schema
from tests.unit.engines.pieces import Pieces, differing_files

PLACE = SourceLocation("log.parquet", 0)
EVERY = ("hour", "weekday", "day", "week", "month")
TIMES = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9998, 12, 30))
INSTANTS = st.datetimes(
    dt.datetime(1900, 1, 1), dt.datetime(2037, 12, 31), timezones=st.just(dt.UTC)
)
"""Arrow knows no rule of a zone's summer time after 2037."""
BERLIN = "Europe/Berlin"


def parts(
    feature: Datetime, times: pa.Array, until: pa.Array | None = None
) -> dict[str, list[Any]]:
    columns = {feature.column: times} | ({} if until is None else {str(feature.until): until})
    arrays = parts_of_times(feature, columns, PLACE)
    return {name.removeprefix("t."): array.to_pylist() for name, array in arrays.items()}


def expected(time: dt.datetime) -> dict[str, int]:
    week = time.isocalendar().week
    return dict(zip(EVERY, (time.hour, time.weekday(), time.day, week, time.month), strict=True))


@given(st.lists(TIMES, min_size=1, max_size=5))
def test_parts_are_those_of_the_calendar(times: list[dt.datetime]) -> None:
    of_rows = parts(Datetime("t", parts=EVERY), pa.array([*times, None], pa.timestamp("us")))
    for row, time in enumerate(times):
        assert {name: values[row] for name, values in of_rows.items()} == expected(time)
    assert {values[-1] for values in of_rows.values()} == {None}


@given(INSTANTS)
def test_the_clock_of_the_zone_counts_for_instants(time: dt.datetime) -> None:
    feature = Datetime("t", parts=EVERY, time_zone=BERLIN, unit="us")
    there = expected(time.astimezone(zoneinfo.ZoneInfo(BERLIN)))
    number = (time - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
    for zone in ("UTC", "Asia/Tokyo"):
        of_rows = parts(feature, pa.array([time], pa.timestamp("us", zone)))
        assert {name: values[0] for name, values in of_rows.items()} == there
    assert parts(feature, pa.array([number])) == of_rows


@pytest.mark.parametrize(
    "array",
    [
        pa.array([dt.date(2024, 5, 31), None], pa.date32()),
        pa.array([dt.date(2024, 5, 31), None], pa.date64()),
        pa.array(["2024-05-31", None], pa.large_string()),
        pa.array(["2024-05-31 00:00:59", None], pa.string()).dictionary_encode(),
        pa.array([dt.datetime(2024, 5, 31), None], pa.timestamp("ns")),
    ],
    ids=lambda array: str(array.type),
)
def test_dates_texts_and_timestamps_say_the_same(array: pa.Array) -> None:
    one = [[value, None] for value in expected(dt.datetime(2024, 5, 31)).values()]
    assert list(parts(Datetime("t", parts=EVERY, time_zone=BERLIN), array).values()) == one


@pytest.mark.parametrize(("unit", "scale"), [("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)])
def test_numbers_count_in_their_unit_from_1970(unit: Any, scale: int) -> None:
    feature = Datetime("t", parts=("hour", "day"), unit=unit)
    seconds = [0, 86_399, 86_400, -1]
    by_hand = {"hour": [0, 23, 0, 23], "day": [1, 1, 2, 31]}
    assert parts(feature, pa.array([s * scale for s in seconds])) == by_hand
    floats = pa.array([float(s * scale) for s in seconds] + [math.nan])
    assert parts(feature, floats) == {name: [*of, None] for name, of in by_hand.items()}


@given(TIMES)
def test_a_cycle_is_the_share_of_its_period_that_is_over(time: dt.datetime) -> None:
    feature = Datetime("t", parts=("hour", "weekday", "day", "month"), cyclic=True)
    midnight = dt.datetime(time.year, time.month, time.day)
    day = (time - midnight) / dt.timedelta(days=1)
    days = [(dt.datetime(y, m, 1) - dt.datetime(1, 1, 1)).days for y, m in _month(time)]
    year = [(dt.datetime(time.year + k, 1, 1) - dt.datetime(1, 1, 1)).days for k in (0, 1)]
    today = (midnight - dt.datetime(1, 1, 1)).days
    shares = {
        "hour": day,
        "weekday": (time.weekday() + day) / 7,
        "day": (today - days[0] + day) / (days[1] - days[0]),
        "month": (today - year[0] + day) / (year[1] - year[0]),
    }
    of_rows = parts(feature, pa.array([time, None], pa.timestamp("us")))
    for part, share in shares.items():
        for wave, function in (("sin", math.sin), ("cos", math.cos)):
            values = of_rows[f"{part}.{wave}"]
            assert values[0] == pytest.approx(function(2 * math.pi * share), abs=1e-6)
            assert values[1] is None


def _month(time: dt.datetime) -> list[tuple[int, int]]:
    return [(time.year, time.month), (time.year + time.month // 12, time.month % 12 + 1)]


def test_holidays_are_days_of_one_year_or_of_every_year() -> None:
    feature = Datetime("t", parts=(), holidays=("12-25", "2024-05-09", "02-29"))
    days = ["2023-12-25", "2024-12-25", "2024-05-09", "2025-05-09", "2024-02-29", "2024-02-28"]
    times = pa.array([f"{day} 23:59:59" for day in days] + [None])
    assert parts(feature, times) == {"holiday": [1, 1, 1, 0, 1, 0, None]}


def test_an_age_is_the_seconds_until_the_other_time() -> None:
    feature = Datetime("t", parts=(), until="now", unit="ms")
    zone = pa.timestamp("us", "Asia/Tokyo")
    now = pa.array([0, 90_000_000, None, 0], pa.int64()).cast(pa.timestamp("us", "UTC")).cast(zone)
    ages = parts(feature, pa.array([0, 30_000, 0, 1_500]), now)["age"]
    assert ages == [0.0, 60.0, None, -1.5]


@pytest.mark.parametrize(
    ("feature", "array", "fault"),
    [
        (Datetime("t"), pa.array([5]), r"column 't': holds plain numbers; write unit: s, ms"),
        (Datetime("t"), pa.array(["soon"]), "column 't': holds text that is no time.*2024-05-31"),
        (Datetime("t"), pa.array([True]), "column 't': holds bool, which is no time; store dates"),
        (Datetime("t", unit="s"), pa.array([10**12]), "the years 1 to 9998; correct unit"),
        (Datetime("t", unit="s"), pa.array([math.inf]), "the years 1 to 9998; correct unit"),
        (
            Datetime("t", until="now", unit="s"),
            pa.array([5]),
            "column 't': holds times with a zone, and 'now' times without a zone; store both",
        ),
    ],
)
def test_what_is_no_time_is_refused(feature: Datetime, array: pa.Array, fault: str) -> None:
    now = pa.array([dt.datetime(2024, 5, 31)]) if feature.until else None
    with pytest.raises(DataError, match=fault):
        parts(feature, array, now)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ("parts: []", "parts: name at least one, or give holidays or until"),
        ("parts: [hour, hour]", "name each once"),
        ("parts: [hours]", r"parts\[0\]: must be one of hour.*'hours'"),
        ("parts: [week, month], cyclic: true", "one place in the year"),
        ("holidays: [2023-02-29]", "holidays: '2023-02-29' is no day"),
        ("holidays: ['13-01']", "holidays: '13-01' is no day"),
        ("time_zone: Mars", "there is no time_zone 'Mars'"),
        ("unit: h", "unit: must be one of"),
        ("until: clicked", "'clicked' is the label of task 'click'"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused(options: str, fault: str) -> None:
    with pytest.raises(SchemaError, match=fault):
        schema_of(f"features: {{t: {{kind: datetime, {options}}}}}")


def schema_of(features: str) -> Any:
    text = f"""
version: 1
name: shop
{features}
tasks: {{click: {{kind: binary, label: clicked}}}}
split: {{by: random}}
"""
    return parse_schema(text, source="shop.yaml")


FEATURES = f"""
features:
  visit: {{kind: datetime, column: at, parts: [hour, month], holidays: [12-25, 2024-05-09],
          time_zone: {BERLIN}, unit: ms}}
  round: {{kind: datetime, column: at, parts: [hour], cyclic: true, unit: ms}}
  born: {{kind: datetime, parts: [], until: at, unit: ms}}
"""


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> EncodedLog:
    return prepared(tmp_path_factory.mktemp("times"))


def table(rows: int = 300) -> pa.Table:
    at = 1_700_000_000_000 + np.arange(rows) * 7_919_000 * 11
    born = [None if row % 9 == 0 else int(time - 1000 * row) for row, time in enumerate(at)]
    return pa.table({"at": at, "born": born, "clicked": np.arange(rows) % 2})


def prepared(folder: Path) -> EncodedLog:
    pq.write_table(table(), folder / "log.parquet", row_group_size=41)
    return prepare(folder / "log.parquet", schema_of(FEATURES), folder / "log")


def test_a_log_has_an_id_a_part_and_a_number_a_wave_or_age(log: EncodedLog) -> None:
    assert log.encoding.single == ("visit.hour", "visit.month", "visit.holiday")
    numbers = ("round.hour.sin", "round.hour.cos", "born.age")
    assert tuple(field.name for field in log.encoding.numeric) == numbers
    assert log.encoder().input_columns == ("at", "born")
    assert sorted(log.encoder().vocabularies["visit.hour"].values.to_pylist()) == [*range(24)]


def test_a_row_alone_is_encoded_as_in_the_log(log: EncodedLog) -> None:
    whole = log.encoder().encode(table())
    for row in (0, 9, 123):
        single = log.encoder().encode(table().slice(row, 1))
        np.testing.assert_array_equal(single.ids, whole.ids[row : row + 1])
        np.testing.assert_array_equal(single.numeric, whole.numeric[row : row + 1])
    assert np.isnan(whole.numeric[0, 2]) and np.isfinite(whole.numeric[1, 2])
    for part in ("train", "validation", "test"):
        rows = log.split(part)
        np.testing.assert_array_equal(rows.ids, whole.ids[rows.row])


def test_a_missing_time_has_the_unknown_rows_and_missing_numbers(log: EncodedLog) -> None:
    encoder = log.encoder()
    nothing = encoder.encode(pa.table({"at": pa.nulls(2), "born": pa.nulls(2)}))
    owners, unknown = encoder.unknown_rows()
    assert nothing.ids.tolist() == [unknown.tolist()] * 2 and np.isnan(nothing.numeric).all()
    assert nothing.unknown == dict.fromkeys(owners, 0)


def test_a_log_in_pieces_has_the_same_bytes(log: EncodedLog, tmp_path: Path) -> None:
    data, engine = log.folder.parent / "log.parquet", Pieces(3)
    pieces = prepare(data, schema_of(FEATURES), tmp_path / "log", engine=engine)
    assert differing_files(log.folder, pieces.folder) == []


def test_the_text_of_the_schema_is_read_back() -> None:
    schema = schema_of(FEATURES)
    assert parse_schema(dump_schema(schema), source="again") == schema
    assert repr(schema).startswith("Schema shop: 3 features (3 datetime)")


def test_columns_suffice_for_a_time_only_with_that_until_which_it_ages() -> None:
    schema = schema_of(FEATURES)

    def readable(columns: Sequence[str]) -> list[str]:
        return [feature.name for feature in schema.features_of(columns)]

    assert readable(["at"]) == ["visit", "round"] and readable(["born"]) == []
    assert readable(["at", "born"]) == ["visit", "round", "born"]
    assert schema.columns_of(["born"]) == schema.columns_of(["born.age"]) == ("born", "at")
    assert schema.columns_of(["visit"]) == schema.columns_of(["visit.hour"]) == ("at",)


def test_a_name_that_a_part_takes_is_refused() -> None:
    with pytest.raises(SchemaError, match=r"derives 't.hour'.*or write other parts"):
        schema_of("features: {t: {kind: datetime}, t.hour: {kind: categorical}}")

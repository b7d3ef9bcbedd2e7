"""Vocabularies that grow by added days, against plain Python, and their limits."""

from collections import Counter
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recmtl.daily.growth import Growth, grown, rows_of_values, split_of_days, write_base
from recmtl.data.counted_log import CountedLog
from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
from recmtl.data.reader import open_log
from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import ConfigError
from recmtl.schema import Schema, SplitRule, load_schema, parse_schema

SCHEMA = """
version: 1
name: shop
features:
  user: {kind: categorical, min_count: 2}
  item: {kind: categorical}
  place: {kind: categorical, hash_buckets: 16}
  seen: {kind: list, max_length: 3, table: item}
  price: {kind: numeric}
tasks:
  click: {kind: binary, label: click}
roles: {time: day}
split: {by: time}
"""
FIRST = date(2026, 1, 1)


def days(first: int, count: int, *, users: range, rows: int = 300, seed: int = 0) -> pa.Table:
    random = np.random.default_rng(seed)
    items = random.integers(0, 40, rows) + first
    day = np.sort(random.integers(first, first + count, rows))
    return pa.table(
        {
            "user": random.choice(np.array(users), rows),
            "item": [f"item {item}" for item in items],
            "place": random.integers(0, 5000, rows),
            "seen": [[f"item {item}", "item 1"] for item in items],
            "price": random.normal(size=rows),
            "click": random.integers(0, 2, rows),
            "day": [FIRST + timedelta(days=int(number)) for number in day],
        }
    )


@pytest.fixture
def schema(tmp_path: Path) -> Schema:
    (tmp_path / "schema.yaml").write_text(SCHEMA)
    return load_schema(tmp_path / "schema.yaml")


def written(folder: Path, name: str, table: pa.Table) -> str:
    pq.write_table(table, folder / f"{name}.parquet")
    return str(folder / f"{name}.parquet")


def growth_of(
    schema: Schema, earlier: RowEncoder, data: str, retire_after: str | None = None
) -> Growth:
    log = CountedLog(open_log(data), None)
    split = split_of_days(schema, log)
    return grown(earlier, replace(schema, split=split), log, retire_after=retire_after)


@pytest.fixture
def base(tmp_path: Path, schema: Schema) -> EncodedLog:
    data = written(tmp_path, "base", days(0, 10, users=range(20)))
    return prepare(data, schema, tmp_path / "log")


def train_values(data: str, schema: Schema, folder: Path, column: str) -> list[int | str]:
    """The values of the train rows of a log, by preparing it alone."""
    alone = prepare(data, schema, folder / "alone")
    rows = alone.split("train").row
    return [pq.read_table(data)[column][int(row)].as_py() for row in rows]


def test_new_values_follow_the_known_ones_by_count_and_then_value(
    tmp_path: Path, schema: Schema, base: EncodedLog
) -> None:
    data = written(tmp_path, "more", days(10, 5, users=range(15, 60), seed=1))
    growth, before = growth_of(schema, base.encoder(), data), base.encoder()
    for name, least in (("user", 2), ("item", 1)):
        counted = Counter(train_values(data, schema, tmp_path, name))
        known = before.vocabularies[name].values.to_pylist()
        new = [value for value in counted if value not in known and counted[value] >= least]
        expected = [*known, *sorted(new, key=lambda value: (-counted[value], value))]
        assert new
        assert growth.encoder.vocabularies[name].values.to_pylist() == expected
        assert growth.vocabularies[name].new == len(new)
        counts = dict(zip(known, before.vocabularies[name].counts.tolist(), strict=True))
        whole = [counts.get(value, 0) + counted[value] for value in expected]
        assert growth.encoder.vocabularies[name].counts.tolist() == whole


def test_a_row_starts_from_the_row_of_its_value_and_a_new_one_from_the_unknown_row(
    tmp_path: Path, schema: Schema, base: EncodedLog
) -> None:
    data = written(tmp_path, "more", days(10, 5, users=range(15, 60), seed=1))
    before, later = base.encoder(), growth_of(schema, base.encoder(), data).encoder
    starts = rows_of_values(before, later)
    assert len(starts) == later.encoding.table_rows and starts[0] == 0
    for name, vocabulary in later.vocabularies.items():
        earlier = before.vocabularies[name]
        assert starts[vocabulary.first] == earlier.first
        for value in vocabulary.values.to_pylist():
            assert starts[vocabulary.row_of(value)] == earlier.row_of(value)
    hashed, of_before = later.vocabularies["place"], before.vocabularies["place"]
    assert starts[hashed.first + 5] == of_before.first + 5
    assert hashed.first != of_before.first  # the blocks before it have grown


def test_days_without_a_new_value_leave_the_encoder_as_it_is(
    tmp_path: Path, schema: Schema, base: EncodedLog
) -> None:
    data = written(tmp_path, "same", days(0, 10, users=range(20)))
    growth = growth_of(schema, base.encoder(), data)
    assert growth.encoder.encoding == base.encoding
    assert not any(change.new or change.retired for change in growth.vocabularies.values())
    assert (
        rows_of_values(base.encoder(), growth.encoder) == np.arange(base.encoding.table_rows)
    ).all()


def test_values_retire_once_they_were_unseen_for_the_stated_time(
    tmp_path: Path, schema: Schema, base: EncodedLog
) -> None:
    encoder, kept = base.encoder(), {}
    for number in (1, 2, 3):
        table = days(10 * number, 10, users=range(20, 30), seed=number)
        data = written(tmp_path, f"more{number}", table)
        growth = growth_of(schema, encoder, data, "15d")
        encoder = growth.encoder
        kept[number] = set(encoder.vocabularies["user"].values.to_pylist())
        retired = growth.vocabularies["user"].retired
        # Users of the base count as seen on day 10, so that they leave with days 20 to 29.
        assert retired == (len(base.encoder().vocabularies["user"].values) if number == 2 else 0)
    assert kept[1] > kept[2] == kept[3] == set(range(20, 30))


def test_times_of_values_are_saved_and_read(
    tmp_path: Path, schema: Schema, base: EncodedLog
) -> None:
    data = written(tmp_path, "more", days(10, 5, users=range(15, 60), seed=1))
    encoder = growth_of(schema, base.encoder(), data).encoder
    encoder.save(tmp_path / "encoder")
    again = RowEncoder.load(tmp_path / "encoder")
    for name in ("user", "item"):
        seen = encoder.vocabularies[name].seen
        assert seen is not None
        assert again.vocabularies[name].seen.tolist() == seen.tolist()
    assert again.vocabularies["place"].seen is None


@pytest.mark.parametrize("length", ["7", "0d", "-3d", "soon", ""])
def test_a_length_of_time_that_does_not_fit_is_refused(
    length: str, tmp_path: Path, schema: Schema, base: EncodedLog
) -> None:
    data = written(tmp_path, "same", days(0, 10, users=range(20)))
    with pytest.raises(ConfigError, match="write it as 90d"):
        growth_of(schema, base.encoder(), data, length)


def test_stated_times_of_a_split_give_way_to_fractions(tmp_path: Path, schema: Schema) -> None:
    stated = replace(schema.split, validation_from="2026-01-08", test_from="2026-01-09")
    log = CountedLog(open_log(written(tmp_path, "more", days(10, 5, users=range(9)))), None)
    split = split_of_days(replace(schema, split=stated), log)
    assert split == replace(stated, validation_from=None, test_from=None)


def test_one_day_in_a_column_of_dates_is_split_by_rows(tmp_path: Path, schema: Schema) -> None:
    log = CountedLog(open_log(written(tmp_path, "one", days(10, 1, users=range(9)))), None)
    assert split_of_days(schema, log).by == "random"
    by_group = replace(schema, roles=replace(schema.roles, group="user"))
    assert split_of_days(by_group, log).by == "group"


def test_days_are_prepared_like_a_base_without_rows(
    tmp_path: Path, schema: Schema, base: EncodedLog
) -> None:
    data = written(tmp_path, "more", days(10, 5, users=range(15, 60), seed=1))
    encoder = growth_of(schema, base.encoder(), data).encoder
    shares = dict.fromkeys(("user", "item", "place", "seen"), 1.0)
    statistics = base.label_statistics
    like = write_base(
        tmp_path / "base",
        encoder,
        fingerprint="f",
        statistics=statistics,
        unknown=shares,
        growth={"user": 3},
    )
    assert like.manifest["growth"] == {"user": 3}
    log = prepare(data, schema, tmp_path / "days", like=like)
    assert log.encoding == encoder.encoding
    assert {name: change["before"] for name, change in log.manifest["drift"].items()} == shares
    rows = pq.read_table(data)
    unknown = encoder.encode(rows).unknown
    train = log.split("train")
    assert (train.ids == encoder.encode(rows).ids[train.row]).all()
    assert unknown["user"] < base.encoder().encode(rows).unknown["user"]


def test_crosses_and_parts_of_times_grow_and_shared_tables_grow_with_their_owner(
    tmp_path: Path,
) -> None:
    more = """
  spot: {kind: categorical, column: place, table: user}
  when: {kind: datetime, column: day, parts: [weekday]}
  taste: {kind: cross, columns: [user, item, when.weekday], min_count: 2}
"""
    text = SCHEMA.replace("  price: {kind: numeric}\n", f"  price: {{kind: numeric}}{more}")
    schema = parse_schema(text, source="shop.yaml")
    pq.write_table(days(0, 6, users=range(4), rows=900), tmp_path / "before.parquet")
    earlier = prepare(tmp_path / "before.parquet", schema, tmp_path / "log").encoder()
    added = days(30, 2, users=range(2, 8), rows=600, seed=1)
    pq.write_table(added, tmp_path / "after.parquet")
    log = CountedLog(open_log(str(tmp_path / "after.parquet")), None)
    later = grown(earlier, replace(schema, split=SplitRule("random")), log)
    assert set(later.encoder.vocabularies) == set(earlier.vocabularies)
    assert "spot" not in later.vocabularies and later.encoder.vocabulary_of("spot").name == "user"
    before, after = (e.vocabularies["taste"].values.to_pylist() for e in (earlier, later.encoder))
    assert after[: len(before)] == before
    columns = (added[name].to_pylist() for name in ("user", "item", "day"))
    triples = {f"{u} & {i} & {day.weekday()}" for u, i, day in zip(*columns, strict=True)}
    assert set(after[len(before) :]) <= triples - set(before) and len(after) > len(before)


def test_new_values_bring_their_vectors_and_known_ones_keep_theirs(tmp_path: Path) -> None:
    """... and a known value that had none gets the first that train rows bring."""
    text = SCHEMA.replace("  price:", "  image: {kind: vector, of: item}\n  price:")
    schema = parse_schema(text, source="shop.yaml")

    def with_images(table: pa.Table, sign: float, without: str) -> pa.Table:
        numbers = [int(item.split()[1]) for item in table["item"].to_pylist()]
        vectors = [
            None if f"item {n}" == without else [sign * np.cos(n), sign * np.sin(n)]
            for n in numbers
        ]
        return table.append_column("image", pa.array(vectors, pa.list_(pa.float64())))

    before = with_images(days(0, 10, users=range(20)), 1.0, "item 12")
    earlier = prepare(written(tmp_path, "base", before), schema, tmp_path / "log").encoder()
    later = with_images(days(10, 5, users=range(20), seed=1), -1.0, "item 45")
    encoder = growth_of(schema, earlier, written(tmp_path, "more", later)).encoder
    tables, items = (e.tables["image"] for e in (earlier, encoder)), encoder.vocabularies["item"]
    known, grown_table = tables
    values = items.values.to_pylist()
    old = earlier.vocabularies["item"].values.to_pylist()
    assert {"item 12", "item 45"} <= set(values) and len(values) > len(old)
    for row, value in enumerate(values, start=1):
        number = int(value.split()[1])
        if value in old and value != "item 12":
            expected = known[1 + old.index(value)]
        elif value == "item 45":
            expected = np.full(2, np.nan)
        else:
            expected = np.float16([-np.cos(number), -np.sin(number)])
        assert np.allclose(grown_table[row], expected, atol=2e-3, equal_nan=True), value
    seen = encoder.encode(later).numeric[:, -2:]
    assert np.isfinite(seen).all()  # `seen.image`, read through the vectors

"""Statistics of the past in an encoded log, its encoder and the logs of added days."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import DataError
from tests.unit.data.past_cases import HERE, counted, log_table, schema_of, training_numbers, write

ENTRIES = """
{name: u, key: user, of: [click, like, {column: watch}], windows: [all, 2], grain: 1, VALUES}
{name: tags, key: tags, of: [click], grain: 1}
""".replace("VALUES", "values: [rate, count, last]")
SPLIT = "{by: time, validation_from: 6, test_from: 7}"


def whole(log: EncodedLog) -> np.ndarray:
    """The numbers of all rows, in the order of the log."""
    parts = [log.split(part) for part in ("train", "validation", "test")]
    order = np.argsort(np.concatenate([part.row for part in parts]))
    return np.concatenate([part.numeric for part in parts])[order]


@pytest.mark.parametrize(("roles", "split"), [("{time: t}", SPLIT), ("{}", "{by: random}")])
def test_the_encoded_numbers_are_the_scaled_ones(roles: str, split: str, tmp_path: Path) -> None:
    entries = ENTRIES if roles != "{}" else "{name: u, key: user, of: [click, {column: watch}]}"
    schema = schema_of(entries, roles=roles, split=split)
    path = write(log_table(400), tmp_path / "log.parquet")
    log = prepare(str(path), schema, tmp_path / "out")
    numbers = training_numbers(path, schema, counted(path, schema))
    names = [field.name for field in log.encoding.numeric]
    assert names == ["price", *numbers]
    for name, values in numbers.items():
        scaled = log.encoder().scalers[name].transform(values)
        np.testing.assert_array_equal(whole(log)[:, names.index(name)], scaled)
    assert log.manifest["statistics"]["u"]["keys"] == 6


def test_the_scorer_answers_what_training_rows_had(tmp_path: Path) -> None:
    table, schema = log_table(400), schema_of(ENTRIES, split=SPLIT)
    log = prepare(str(write(table, tmp_path / "log.parquet")), schema, tmp_path / "out")
    encoder = log.encoder()
    assert encoder.input_columns == ("price", "user", "t", "tags")
    rows = table.select(encoder.input_columns)
    np.testing.assert_array_equal(encoder.encode(rows).numeric, whole(log))
    for row in range(0, 400, 50):
        single = encoder.encode(rows.slice(row, 1)).numeric
        np.testing.assert_array_equal(single, whole(log)[row : row + 1])
    assert encoder.encode(rows.slice(0, 0)).numeric.shape == (0, len(schema.encoded_features))


def test_day_by_day_an_earlier_bundle_scores_as_training_did(tmp_path: Path) -> None:
    table, schema = log_table(600, users=3), schema_of(ENTRIES, split="{by: random}")
    log = prepare(str(write(table, tmp_path / "log.parquet")), schema, tmp_path / "out")
    for day in range(2, 9):
        before = write(table.filter(pc.field("t") < day), tmp_path / f"{day}.parquet")
        earlier = prepare(str(before), schema, tmp_path / f"out{day}").encoder()
        # The scalers differ, since they were fitted on other rows; the numbers do not.
        scorer = RowEncoder(
            schema, log.encoder().vocabularies, scalers=log.encoder().scalers, past=earlier.past
        )
        today = table.filter(pc.field("t") == day)
        rows = np.flatnonzero(table["t"].to_numpy() == day)
        np.testing.assert_array_equal(scorer.encode(today).numeric, whole(log)[rows])


def test_a_column_with_the_name_of_a_number_overrides_it(tmp_path: Path) -> None:
    table, schema = log_table(400), schema_of(ENTRIES, split=SPLIT)
    encoder = prepare(str(write(table, tmp_path / "log.parquet")), schema, tmp_path / "o").encoder()
    rows = table.select(encoder.input_columns).slice(300, 3)
    brought = rows.append_column("u.count.all", pa.array([5, None, 7]))
    assert encoder.columns_to_read(brought.column_names) == (*encoder.input_columns, "u.count.all")
    at = [field.name for field in encoder.encoding.numeric].index("u.count.all")
    plain, changed = encoder.encode(rows).numeric, encoder.encode(brought).numeric
    expected = encoder.scalers["u.count.all"].transform(np.array([5, np.nan, 7]))
    np.testing.assert_array_equal(changed[:, at], expected)
    np.testing.assert_array_equal(np.delete(changed, at, 1), np.delete(plain, at, 1))
    assert encoder.with_numbers(brought)["u.count.all"].to_pylist() == [5, None, 7]
    assert set(encoder.with_numbers(rows).column_names) == {
        *rows.column_names,
        *encoder.past.numbers,
    }


def test_unknown_keys_are_counted_and_get_the_common_rate(tmp_path: Path) -> None:
    table, schema = log_table(400), schema_of(ENTRIES, split=SPLIT)
    encoder = prepare(str(write(table, tmp_path / "log.parquet")), schema, tmp_path / "o").encoder()
    rows = pa.table(
        {"price": [1.0, 1.0], "user": [99, None], "t": [9, 9], "tags": [["new"], ["tag-1"]]}
    )
    encoded = encoder.encode(rows)
    assert encoded.unknown == {"u": 1, "tags": 1}
    numbers = encoder.with_numbers(rows)
    common = pc.mean(table.filter(pc.is_valid(table["user"]))["click"]).as_py()
    assert numbers["u.click.rate.all"].to_pylist() == [
        pytest.approx(common),
        pytest.approx(np.nan, nan_ok=True),
    ]
    assert numbers["u.count.all"][0].as_py() == 0


def test_added_days_advance_the_state_and_nothing_else(tmp_path: Path) -> None:
    table, schema = log_table(600), schema_of(ENTRIES, split="{by: random}")
    old = table.filter(pc.field("t") < 6)
    earlier = prepare(str(write(old, tmp_path / "old.parquet")), schema, tmp_path / "old")
    new = write(table.filter(pc.field("t") >= 6), tmp_path / "new.parquet")
    log = prepare(str(new), schema, tmp_path / "new", like=earlier)
    whole_past = counted(write(table, tmp_path / "log.parquet"), schema)
    for mine, theirs in zip(log.encoder().past.entries, whole_past.entries, strict=True):
        assert mine.sums.cells().equals(theirs.sums.cells())
    assert log.encoder().scalers == earlier.encoder().scalers
    numbers = training_numbers(tmp_path / "log.parquet", schema, whole_past)
    scaled = log.encoder().scalers["u.click.rate.all"].transform(numbers["u.click.rate.all"])
    names = [field.name for field in log.encoding.numeric]
    at = names.index("u.click.rate.all")
    np.testing.assert_array_equal(whole(log)[:, at], scaled[old.num_rows :])
    last_day = write(table.filter(pc.field("t") == 8), tmp_path / "last.parquet")
    for data in (new, last_day):
        with pytest.raises(DataError, match="add only whole later periods, or they would count"):
            prepare(str(data), schema, tmp_path / "twice", like=log)


def test_rows_of_weight_0_are_as_if_absent_and_a_factor_changes_nothing(tmp_path: Path) -> None:
    dice = np.random.default_rng(0)
    table, roles = log_table(300), "{time: t, sample_weight: w}"
    weight = dice.integers(0, 3, 300)
    schema = schema_of(ENTRIES, split="{by: random}", roles=roles)
    present, states = weight > 0, []
    cases = [(table, weight), (table, 7.5 * weight)]
    cases.append((table.filter(pa.array(present)), weight[present]))
    for i, (rows, w) in enumerate(cases):
        path = write(rows.append_column("w", pa.array(w)), tmp_path / f"{i}.parquet")
        states.append([entry.sums.cells() for entry in counted(path, schema).entries])
    assert states[0] == states[1] == states[2]


def test_a_log_whose_column_has_the_name_of_a_number_is_refused(tmp_path: Path) -> None:
    table = log_table(100).append_column("u.count.all", pa.array(np.zeros(100)))
    path, schema = write(table, tmp_path / "log.parquet"), schema_of(ENTRIES, split=SPLIT)
    with pytest.raises(DataError, match=r"'u\.count\.all': is also the name of a statistic"):
        prepare(str(path), schema, tmp_path / "out")


def test_a_missing_time_and_a_huge_number_are_refused(tmp_path: Path) -> None:
    table, schema = log_table(100), schema_of(ENTRIES, split="{by: random}")
    for name, value, message in (("t", None, "1 missing times"), ("watch", 1e13, "larger unit")):
        values = table[name].to_pylist()
        values[50] = value
        changed = table.set_column(table.column_names.index(name), name, pa.array(values))
        with pytest.raises(DataError, match=message):
            prepare(str(write(changed, tmp_path / "log.parquet")), schema, tmp_path / "out")


def test_times_of_another_kind_are_refused_when_scoring(tmp_path: Path) -> None:
    table, schema = log_table(100), schema_of(ENTRIES, split=SPLIT)
    encoder = prepare(str(write(table, tmp_path / "log.parquet")), schema, tmp_path / "o").encoder()
    rows = table.select(encoder.input_columns).combine_chunks()
    dated = rows.set_column(2, "t", rows["t"].cast(pa.int64()).cast(pa.timestamp("s")))
    with pytest.raises(DataError, match="'t': holds timestamp"):
        encoder.encode(dated)
    columns = {name: dated[name].combine_chunks() for name in dated.column_names}
    with pytest.raises(DataError, match=r"times without a zone.*by plain numbers"):
        encoder.past.values(columns, 100, HERE)


def test_a_damaged_state_is_refused(tmp_path: Path) -> None:
    table, schema = log_table(100), schema_of(ENTRIES, split=SPLIT)
    log = prepare(str(write(table, tmp_path / "log.parquet")), schema, tmp_path / "out")
    file = tmp_path / "out" / "encoder" / "statistics" / "0.arrow"
    other = (tmp_path / "out" / "encoder" / "statistics" / "1.arrow").read_bytes()
    for content in (b"", file.read_bytes()[:100], other):
        file.write_bytes(content)
        with pytest.raises(DataError, match=r"0\.arrow"):
            log.encoder()
    file.unlink()
    with pytest.raises(DataError, match=r"0\.arrow: cannot be read"):
        log.encoder()


def test_a_part_of_the_encoder_keeps_the_entries_it_has_columns_for(tmp_path: Path) -> None:
    table, schema = log_table(200), schema_of(ENTRIES, split=SPLIT)
    encoder = prepare(str(write(table, tmp_path / "log.parquet")), schema, tmp_path / "o").encoder()
    part = encoder.part({"tags", "t"})
    assert part.encoding.fields == ("tags.click.rate.all", "tags.count.all")
    assert encoder.part({"price", "user"}).encoding.fields == ("price",)
    rows = table.select(["tags", "t"])
    full = encoder.encode(table.select(encoder.input_columns)).numeric
    np.testing.assert_array_equal(part.encode(rows).numeric, full[:, -2:])


def test_without_the_section_nothing_is_written(tmp_path: Path) -> None:
    schema = replace(schema_of(ENTRIES, split=SPLIT), statistics=())
    log = prepare(str(write(log_table(200), tmp_path / "log.parquet")), schema, tmp_path / "out")
    assert "statistics" not in log.manifest
    assert not (tmp_path / "out" / "encoder" / "statistics").exists()

"""A log that is prepared in pieces has the bytes of one that is prepared at once."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.data.columns import numeric
from recmtl.data.prepare import prepare
from recmtl.engines.folds import runs
from recmtl.errors import DataError
from recmtl.schema import Schema, SplitRule, load_schema, parse_schema
from recmtl.simulate import simulate
from tests.unit.data.conftest import SCHEMA, make_log
from tests.unit.data.past_cases import log_table, schema_of
from tests.unit.engines.pieces import Pieces, differing_files

SIMULATED = Path(__file__).resolve().parents[3] / "datasets" / "simulated" / "schema.yaml"
SPLITS = {
    "time": SplitRule("time", validation=0.2, test=0.2),
    "boundaries": SplitRule("time", validation_from=200_000, test_from=300_000),
    "random": SplitRule("random", validation=0.2, test=0.2, seed=3),
    "group": SplitRule("group", validation=0.2, test=0.2),
}


def shop(folder: Path, *, rows: int = 400, group_rows: int = 37, files: int = 3) -> Path:
    """The small log in several files, with weights of 0 and values that come late."""
    columns = make_log(rows)
    columns["w"][:60] = 0
    columns["w"][np.arange(rows) % 13 == 0] = 0
    columns["tags"][: rows // 2] = [None] * (rows // 2)
    table, log = pa.table(columns), folder / "log"
    log.mkdir()
    for number, first in enumerate(range(0, rows, -(-rows // files))):
        part = table.slice(first, -(-rows // files))
        pq.write_table(part, log / f"{number}.parquet", row_group_size=group_rows)
    cities = {"user_id": np.arange(25), "city": [f"city {i % 7}" for i in range(25)]}
    ages = {"age": np.arange(25) + 20.0}
    pq.write_table(pa.table(cities | ages), log / "users.parquet")
    return log


@pytest.fixture
def few_sampled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Samples of quantiles hold fewer rows than the log."""
    whole = numeric._Sample.__init__
    monkeypatch.setattr(numeric._Sample, "__init__", lambda self: whole(self, 50))
    yield


def equal(data: Path, schema: Schema, folder: Path, *, parts: tuple[int, ...] = (1, 2, 5)) -> None:
    """Prepare at once, and in so many pieces; the folders have equal bytes."""
    prepare(data, schema, folder / "whole")
    for count in parts:
        engine = Pieces(count, seed=count)
        prepare(data, schema, folder / f"{count}", engine=engine)
        assert engine.passes >= 2
        assert differing_files(folder / "whole", folder / f"{count}") == [], count


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.usefixtures("few_sampled")
def test_every_split_in_pieces_gives_the_same_bytes(split: str, tmp_path: Path) -> None:
    schema = replace(parse_schema(SCHEMA, source="shop.yaml"), split=SPLITS[split])
    equal(shop(tmp_path), schema, tmp_path)


@pytest.mark.parametrize("roles", ["{time: t}", "{group: user}"])
def test_statistics_of_the_past_in_pieces_give_the_same_bytes(roles: str, tmp_path: Path) -> None:
    values = "grain: 1" if "time" in roles else "folds: 3"
    entries = f"""
    {{name: u, key: user, of: [click, like], {values}}}
    {{name: pair, key: [user, item], of: [click, {{column: watch}}], {values}, hash_buckets: 20}}
    {{name: tags, key: tags, of: [click], {values}}}
    """
    table, log = log_table(300, seed=5), tmp_path / "log.parquet"
    pq.write_table(table, log, row_group_size=41)
    equal(log, schema_of(entries, roles=roles), tmp_path)


def test_days_that_are_added_in_pieces_give_the_same_bytes(tmp_path: Path) -> None:
    entries = "{name: u, key: user, of: [click], grain: 1}"
    table, schema = log_table(600, seed=6), schema_of(entries)
    days = table["t"].to_numpy()
    for name, rows in (("before", days < 5), ("after", days >= 5)):
        pq.write_table(
            table.filter(pa.array(rows)), tmp_path / f"{name}.parquet", row_group_size=50
        )
    earlier = prepare(tmp_path / "before.parquet", schema, tmp_path / "log")
    for count in (1, 3):
        engine = Pieces(count) if count > 1 else None
        prepare(
            tmp_path / "after.parquet", schema, tmp_path / f"{count}", like=earlier, engine=engine
        )
    assert differing_files(tmp_path / "1", tmp_path / "3") == []


def test_the_simulated_log_in_pieces_gives_the_same_bytes(tmp_path: Path) -> None:
    simulate(tmp_path / "log.parquet", 4000, seed=1, users=300, items=200)
    table = pq.read_table(tmp_path / "log.parquet")
    pq.write_table(table, tmp_path / "groups.parquet", row_group_size=450)
    equal(tmp_path / "groups.parquet", load_schema(SIMULATED), tmp_path, parts=(2, 5))


def test_text_files_are_prepared_in_pieces(tmp_path: Path) -> None:
    dice, log = np.random.default_rng(0), tmp_path / "log"
    log.mkdir()
    for number in range(3):
        clicks = dice.integers(0, 2, 200)
        rows = [f"{i % 7},{dice.random():.3f},{click}" for i, click in enumerate(clicks)]
        (log / f"{number}.csv").write_text("\n".join(["user,price,click", *rows]))
    text = """
version: 1
name: text
features: {user: {kind: categorical}, price: {kind: numeric}}
tasks: {click: {kind: binary, label: click}}
split: {by: random}
"""
    equal(log, parse_schema(text, source="text.yaml"), tmp_path, parts=(2, 3))


def test_a_fault_of_a_piece_leaves_nothing_behind(tmp_path: Path) -> None:
    log = shop(tmp_path)
    table = pq.read_table(log / "2.parquet")
    clicks = pa.array(np.full(table.num_rows, 3))
    table = table.set_column(table.column_names.index("is_click"), "is_click", clicks)
    pq.write_table(table, log / "2.parquet", row_group_size=37)
    schema = parse_schema(SCHEMA, source="shop.yaml")
    with pytest.raises(DataError, match=r"2\.parquet, row group 0: column 'is_click': holds 3"):
        prepare(log, schema, tmp_path / "out", engine=Pieces(4))
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_two_bytes_that_differ_are_seen(tmp_path: Path) -> None:
    for name, text in (("a", "x"), ("b", "y")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same").write_text("z")
        (tmp_path / name / "other").write_text(text)
    (tmp_path / "a" / "more").write_text("")
    assert differing_files(tmp_path / "a", tmp_path / "b") == ["more", "other"]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(1, 40))
def test_runs_hold_every_unit_once_and_about_equally_many_rows(rows: list[int], parts: int) -> None:
    units = list(range(len(rows)))
    pieces = runs(units, rows, parts)
    assert [unit for piece in pieces for unit in piece] == units
    assert all(len(piece) for piece in pieces)
    assert len(pieces) <= parts
    most = max(sum(rows[unit] for unit in piece) for piece in pieces)
    assert most <= sum(rows) / parts + max(rows)


def test_a_progress_is_told_of_every_pass_of_an_engine(tmp_path: Path) -> None:
    lines: list[tuple[str, int, int]] = []
    schema = parse_schema(SCHEMA, source="shop.yaml")
    log = prepare(
        shop(tmp_path),
        schema,
        tmp_path / "out",
        engine=Pieces(3),
        progress=lambda *line: lines.append(line),
    )
    rows = sum(log.manifest["rows"].values())
    assert lines == [("fit", rows, rows), ("encode", rows, rows)]

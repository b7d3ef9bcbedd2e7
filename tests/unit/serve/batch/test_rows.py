"""With a quarantine a job finishes: every input row is scored or set aside with the reason."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmtl.data.reader import open_log
from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import DataError, SourceLocation
from recmtl.folder_lock import hold_folder
from recmtl.serve import Scorer, score_parquet
from recmtl.serve.batch import rows as batch_rows
from recmtl.serve.batch.batch_state import ScoringJob
from recmtl.serve.batch.rows import Quarantine, bad_rows, batches_by_part, without_dictionary
from tests.unit.serve.shop import ROWS, make_log


def replaced(table: pa.Table, name: str, values: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, values)


def poisoned(big: pa.Table, rows: list[int]) -> pa.Table:
    """Infinite prices in some rows."""
    price = big["price"].to_numpy(zero_copy_only=False).copy()
    price[rows] = np.inf
    return replaced(big, "price", pa.array(price, from_pandas=True))


def damage(path: Path, group: int) -> None:
    """Overwrite the last column of a row group."""
    chunk = pq.ParquetFile(path).metadata.row_group(group)
    chunk = chunk.column(chunk.num_columns - 1)
    content = bytearray(path.read_bytes())
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content[start : start + 40] = b"\xff" * 40
    path.write_bytes(content)


def scored_rows(out: Path) -> list[int]:
    return [
        row for part in sorted(out.glob("part-*")) for row in pq.read_table(part)["row"].to_pylist()
    ]


def set_aside(folder: Path) -> dict[int, str]:
    """Row numbers and reasons of all copies."""
    copied: dict[int, str] = {}
    for copy in sorted(folder.glob("rows-*.parquet")):
        table = pq.read_table(copy)
        rows = dict(
            zip(table["row"].to_pylist(), table["quarantine.reason"].to_pylist(), strict=True)
        )
        assert table["quarantine.row"].to_pylist() == list(rows)
        assert not copied.keys() & rows.keys()
        copied |= rows
    return copied


def manifest(out: Path) -> dict:
    return json.loads((out / "_manifest.json").read_text())


def assert_scored_as_ever(out: Path, scorer: Scorer, big: pa.Table) -> None:
    scored = pa.concat_tables([pq.read_table(part) for part in sorted(out.glob("part-*"))])
    expected = scorer.score(big.take(scored["row"]))
    assert scored.select(list(scorer.columns)).combine_chunks().equals(expected.combine_chunks())


@pytest.mark.parametrize("part_rows", [100, 450, 5000])
def test_bad_rows_are_set_aside_and_the_others_scored(
    scorer: Scorer, source: Path, big: pa.Table, tmp_path: Path, part_rows: int
) -> None:
    bad = [0, 7, 429, 440, 441, 999]
    pq.write_table(poisoned(big.slice(0, 430), bad[:3]), source / "a.parquet", row_group_size=97)
    later = [row - 430 for row in bad[3:]]
    pq.write_table(poisoned(big.slice(430), later), source / "b.parquet", row_group_size=200)
    with pytest.raises(
        DataError, match=r"a\.parquet, row group 0: column 'price': 2 values are inf"
    ):
        score_parquet(scorer, source, tmp_path / "plain", keep=["row"])
    out, aside = tmp_path / "out", tmp_path / "aside"
    done = score_parquet(scorer, source, out, keep=["row"], part_rows=part_rows, quarantine=aside)
    assert scored_rows(out) == sorted(set(range(ROWS)) - set(bad))
    assert_scored_as_ever(out, scorer, big)
    reasons = set_aside(aside)
    assert sorted(reasons) == bad
    assert all("column 'price': 1 values are infinite" in reason for reason in reasons.values())
    assert (done.rows, done.quarantined_rows, done.quarantined_files) == (ROWS, len(bad), 0)
    said = manifest(out)
    records = [record for part in said["quarantined"].values() for record in part]
    assert said["state"] == "finished" and sum(record["rows"] for record in records) == len(bad)
    listed = json.loads((aside / "quarantine.json").read_text())
    assert listed["rows"] == records


def test_a_row_group_that_cannot_be_read_is_named(
    scorer: Scorer, source: Path, big: pa.Table, tmp_path: Path
) -> None:
    damage(source / "b.parquet", 1)
    out, aside = tmp_path / "out", tmp_path / "aside"
    done = score_parquet(scorer, source, out, keep=["row"], part_rows=100, quarantine=aside)
    assert scored_rows(out) == [*range(630), *range(830, ROWS)]
    assert_scored_as_ever(out, scorer, big)
    assert done.quarantined_rows == 200
    records = json.loads((aside / "quarantine.json").read_text())["rows"]
    assert [(record["first"], record["last"]) for record in records] == [
        (630, 700), (700, 800), (800, 830)
    ]  # fmt: skip
    assert all(
        record["row_group"] == 1 and "cannot be read" in record["reason"] for record in records
    )
    assert len(sorted(out.glob("part-*"))) == done.parts == 10
    assert pq.read_table(out / "part-00007.parquet").num_rows == 0


def test_files_that_are_none_or_lack_a_column_are_named(
    scorer: Scorer, source: Path, big: pa.Table, tmp_path: Path
) -> None:
    (source / "c.parquet").write_bytes(b"PAR1 not really")
    pq.write_table(big.drop_columns("age"), source / "d.parquet")
    out, aside = tmp_path / "out", tmp_path / "aside"
    done = score_parquet(scorer, source, out, keep=["row"], quarantine=aside)
    assert scored_rows(out) == list(range(ROWS))
    assert (done.quarantined_files, done.quarantined_rows) == (2, 0)
    files = json.loads((aside / "quarantine.json").read_text())["files"]
    assert "truncated or not Parquet" in files[0]["reason"]
    assert "column 'age': is missing" in files[1]["reason"]
    for path in ("a", "b"):
        (source / f"{path}.parquet").unlink()
    with pytest.raises(DataError, match=r"no file can be scored: .*c\.parquet: is truncated"):
        score_parquet(scorer, source, tmp_path / "none", keep=["row"], quarantine=tmp_path / "q")


def test_a_changed_type_sets_whole_row_groups_aside(
    scorer: Scorer, source: Path, big: pa.Table, tmp_path: Path
) -> None:
    changed = replaced(big.slice(430), "price", pa.array(["dear"] * 570))
    pq.write_table(changed, source / "b.parquet", row_group_size=200)
    out, aside = tmp_path / "out", tmp_path / "aside"
    done = score_parquet(scorer, source, out, keep=["row"], quarantine=aside)
    assert scored_rows(out) == list(range(430))
    assert done.quarantined_rows == 570
    assert set(set_aside(aside)) == set(range(430, ROWS))
    kept = replaced(big.slice(430), "row", pa.array(["x"] * 570))
    pq.write_table(kept, source / "b.parquet", row_group_size=200)
    done = score_parquet(scorer, source, tmp_path / "2", keep=["row"], quarantine=tmp_path / "q2")
    assert done.quarantined_rows == 570
    assert "is string, in the first file int64" in json.dumps(manifest(tmp_path / "2"))


def test_bytes_that_are_no_text_are_found_though_a_dictionary_holds_them(
    scorer: Scorer, source: Path, big: pa.Table, tmp_path: Path
) -> None:
    texts = [None if text is None else text.encode() for text in big["item"].to_pylist()]
    texts[20] = b"\xff"
    items = pa.array(texts).dictionary_encode()
    pq.write_table(replaced(big, "item", items), source / "a.parquet")
    (source / "b.parquet").unlink()
    out, aside = tmp_path / "out", tmp_path / "aside"
    score_parquet(scorer, source, out, keep=["row"], quarantine=aside)
    assert list(set_aside(aside)) == [20]
    assert_scored_as_ever(out, scorer, big)


class Killed(BaseException):
    """Stands in for a signal: nothing may catch it."""


@pytest.mark.parametrize("calls", [1, 3, 6])
def test_a_resumed_job_sets_aside_the_same_rows(
    bundle: Path, source: Path, big: pa.Table, tmp_path: Path, calls: int
) -> None:
    bad = [50, 222, 640, 641, 900]
    pq.write_table(poisoned(big.slice(0, 430), bad[:2]), source / "a.parquet", row_group_size=97)
    later = [row - 430 for row in bad[2:]]
    pq.write_table(poisoned(big.slice(430), later), source / "b.parquet", row_group_size=200)
    damage(source / "b.parquet", 2)  # rows 830 to 999, one of the poisoned among them
    scorer = Scorer.load(bundle)
    options = {"keep": ["row"], "part_rows": 150}
    whole, whole_aside = tmp_path / "whole", tmp_path / "whole aside"
    score_parquet(scorer, source, whole, quarantine=whole_aside, **options)
    out, aside = tmp_path / "out", tmp_path / "aside"
    original, seen = scorer.scores, iter(range(100))

    def scores(*args: object, **more: object) -> object:
        if next(seen) == calls:
            raise Killed
        return original(*args, **more)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(scorer, "scores", scores)
        score_parquet(scorer, source, out, quarantine=aside, **options)
    assert manifest(out)["state"] == "running"
    with pytest.raises(DataError, match=r"quarantine was .* and is absent"):
        score_parquet(scorer, source, out, resume=True, **options)
    done = score_parquet(scorer, source, out, quarantine=aside, resume=True, **options)
    assert done.quarantined_rows == 170 + 4
    assert manifest(out)["quarantined"] == manifest(whole)["quarantined"]
    assert set_aside(aside) == set_aside(whole_aside)
    assert scored_rows(out) == scored_rows(whole) == sorted(set(range(830)) - set(bad))


def test_a_quarantine_belongs_to_one_job_and_lies_apart(
    scorer: Scorer, source: Path, tmp_path: Path
) -> None:
    aside = tmp_path / "aside"
    aside.mkdir()
    with hold_folder(aside), pytest.raises(DataError, match="another job writes there"):
        score_parquet(scorer, source, tmp_path / "1", quarantine=aside)
    (aside / "thesis.txt").write_text("dear")
    with pytest.raises(DataError, match="aside: is not empty"):
        score_parquet(scorer, source, tmp_path / "2", quarantine=aside)
    with pytest.raises(DataError, match="lies in the input folder"):
        score_parquet(scorer, source, tmp_path / "3", quarantine=source / "aside")
    with pytest.raises(DataError, match="lies in the output folder"):
        score_parquet(scorer, source, tmp_path / "4", quarantine=tmp_path / "4" / "aside")


def test_the_search_for_bad_rows_gives_up_in_time(
    encoder: RowEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = poisoned(make_log(256), list(range(0, 256, 2)))
    rows = log.select(list(encoder.input_columns))
    assert sorted(bad_rows(encoder, rows, SourceLocation())) == list(range(0, 256, 2))
    monkeypatch.setattr(batch_rows, "MOST_TRIALS", 20)
    given_up = set(bad_rows(encoder, rows, SourceLocation()))
    assert given_up > set(range(0, 256, 2))


@dataclass(frozen=True)
class Layout:
    """How many rows the row groups of every file have, and how parts are cut."""

    files: list[list[int]]
    part_rows: int

    @property
    def rows(self) -> int:
        return sum(map(sum, self.files))

    def write(self, folder: Path) -> None:
        first = 0
        for number, groups in enumerate(self.files):
            schema = pa.schema([("row", pa.int64())])
            with pq.ParquetWriter(folder / f"{number}.parquet", schema) as writer:
                for rows in groups:
                    writer.write_table(pa.table({"row": range(first, first + rows)}, schema=schema))
                    first += rows


layouts = st.builds(
    Layout,
    st.lists(st.lists(st.integers(1, 12), max_size=4), min_size=1, max_size=4).filter(any),
    st.integers(1, 30),
)


@settings(max_examples=60, deadline=None)
@given(layouts, st.data())
def test_parts_hold_every_row_once_however_files_and_row_groups_are_cut(
    layout: Layout, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as name:
        layout.write(Path(name))
        log = open_log(name)
        parts = ScoringJob(Path(name), {}, rows=log.rows, part_rows=layout.part_rows).parts
        # As after a kill: any of the parts may be left to do.
        todo = [part for part in parts if data.draw(st.booleans())]
        rows_of = {}
        for part, batches in batches_by_part(log, todo, ["row"], refused=None):
            rows_of[part] = []
            for batch in batches:
                rows = batch.columns["row"].to_pylist()
                assert rows == list(range(batch.first, batch.first + batch.rows))
                rows_of[part] += rows
    assert log.rows == layout.rows
    assert rows_of == {part: list(range(part.first, part.last)) for part in todo}


def test_records_of_ranges_are_cut_at_the_bounds_of_parts_and_add_up() -> None:
    quarantine = Quarantine(Path("aside"))
    place = SourceLocation("a.parquet", 3)
    quarantine.refuse_range(10, 75, place, DataError("damaged"))
    for part_rows in (1, 7, 30, 64, 65, 100):
        parts = ScoringJob(Path("out"), {}, rows=100, part_rows=part_rows).parts
        records = [record for part in parts for record in quarantine.records_of(part)]
        rows = [row for record in records for row in range(record["first"], record["last"])]
        assert rows == list(range(10, 75))
        assert sum(record["rows"] for record in records) == 65
        assert {(r["file"], r["row_group"], r["reason"], r["copy"]) for r in records} == {
            ("a.parquet", 3, "damaged", None)
        }


@settings(max_examples=25, deadline=None)
@given(
    bad=st.sets(st.integers(0, 119), max_size=12),
    lost=st.sets(st.integers(0, 4), max_size=2),
    gone=st.sets(st.integers(0, 9)),
    part_rows=st.integers(13, 130),
)
def test_scored_and_quarantined_rows_add_up_and_a_resumed_job_ends_as_an_undisturbed_one(
    scorer: Scorer, big: pa.Table, bad: set[int], lost: set[int], gone: set[int], part_rows: int
) -> None:
    """`lost` row groups of 25 rows cannot be read; `gone` parts are deleted before the resume."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "log").mkdir()
        path = folder / "log" / "a.parquet"
        pq.write_table(poisoned(big.slice(0, 120), sorted(bad)), path, row_group_size=25)
        for group in lost:
            damage(path, group)
        unreadable = {row for group in lost for row in range(25 * group, min(25 * group + 25, 120))}
        out, aside = folder / "out", folder / "aside"
        options = {"keep": ["row"], "part_rows": part_rows, "quarantine": aside}
        done = score_parquet(scorer, folder / "log", out, **options)
        left_out = bad | unreadable
        assert scored_rows(out) == sorted(set(range(120)) - left_out)
        assert done.quarantined_rows == len(left_out)
        assert set(set_aside(aside)) == bad - unreadable
        listed = json.loads((aside / "quarantine.json").read_text())["rows"]
        assert sum(record["rows"] for record in listed) == len(left_out)
        content = {path.name: path.read_bytes() for path in out.glob("part-*")}
        lists = manifest(out), listed
        doomed = [part for part in sorted(out.glob("part-*")) if int(part.stem[5:]) in gone]
        for part in doomed:
            part.unlink()
        again = score_parquet(scorer, folder / "log", out, resume=True, **options)
        assert again.quarantined_rows == len(left_out)
        assert {path.name: path.read_bytes() for path in out.glob("part-*")} == content
        said = manifest(out)
        assert (said, json.loads((aside / "quarantine.json").read_text())["rows"]) == lists


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(0, 63)), st.sets(st.integers(0, 63), max_size=3))
def test_bad_rows_are_those_that_fail_alone(
    encoder: RowEncoder, infinite: set[int], broken: set[int]
) -> None:
    log = poisoned(make_log(64), sorted(infinite))
    users = [float(user) for user in log["user_id"].to_pylist()]
    for row in broken:
        users[row] = 0.5
    rows = replaced(log, "user_id", pa.array(users)).select(list(encoder.input_columns))
    expected = {}
    for row in range(64):
        try:
            encoder.encode(rows.slice(row, 1), place=SourceLocation("x.parquet"))
        except DataError as error:
            expected[row] = str(error)
    assert bad_rows(encoder, rows, SourceLocation("x.parquet")) == expected
    assert set(expected) == infinite | broken


def test_rows_of_another_type_are_no_rows_at_fault(encoder: RowEncoder) -> None:
    log = replaced(make_log(10), "price", pa.array(["dear"] * 10))
    assert bad_rows(encoder, log.select(list(encoder.input_columns)), SourceLocation()) == {}


def test_a_column_loses_its_dictionary_and_no_value() -> None:
    plain = pa.array(["a", None, "b", "a"])
    assert without_dictionary(plain.dictionary_encode()).equals(plain)
    assert without_dictionary(plain) is plain

"""With a quarantine a job finishes: every input row is scored or set aside with the reason."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import DataError, SourceLocation
from recmtl.serve import Scorer, score_parquet
from recmtl.serve.batch import rows as batch_rows
from recmtl.serve.batch.batch_state import lock_folder
from recmtl.serve.batch.rows import bad_rows
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
    found: dict[int, str] = {}
    for copy in sorted(folder.glob("rows-*.parquet")):
        table = pq.read_table(copy)
        rows = dict(
            zip(table["row"].to_pylist(), table["quarantine.reason"].to_pylist(), strict=True)
        )
        assert table["quarantine.row"].to_pylist() == list(rows)
        assert not found.keys() & rows.keys()
        found |= rows
    return found


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
    found = set_aside(aside)
    assert sorted(found) == bad
    assert all("column 'price': 1 values are infinite" in reason for reason in found.values())
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


def test_text_among_whole_numbers_is_found_though_a_dictionary_holds_it(
    scorer: Scorer, source: Path, big: pa.Table, tmp_path: Path
) -> None:
    texts = [str(value) for value in big["user_id"].to_pylist()]
    texts[20] = "who?"
    pq.write_table(replaced(big, "user_id", pa.array(texts)), source / "a.parquet")
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
    with pytest.raises(DataError, match="had another quarantine"):
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
    with lock_folder(aside), pytest.raises(DataError, match="another job writes there"):
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
    found = set(bad_rows(encoder, rows, SourceLocation()))
    assert found > set(range(0, 256, 2))

"""Every format comes in as the same columns; files are converted once, and whole or not at all."""

import bz2
import gzip
import lzma
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.feather as feather
import pyarrow.orc as orc
import pyarrow.parquet as pq
import pytest

from recmtl.data.columns.logical_type import TEXT
from recmtl.data.formats import converted as module
from recmtl.data.formats import text_rows
from recmtl.data.prepare import prepare
from recmtl.data.reader import Log, open_log
from recmtl.errors import DataError
from recmtl.schema import ListCells, Pairs, Schema, SideTable, TextFiles

TABLE = pa.table(
    {
        "user": pa.array(["a b", "ü", None, "x,y", "007", '"q"']),
        "n": pa.array([1, -2, None, 4, 5, 6]),
        "price": pa.array([0.5, None, 2.25, 1e9, -0.1, 3.0]),
        "big": pa.array([2**63, 1, 2, 3, 4, 5], pa.uint64()),
        "zip": pa.array(["01234", "99999", "00001", None, "1", "2"]),
        "ok": pa.array([True, False, None, True, True, False]),
        "day": pa.array(["2024-05-01"] * 6).cast(pa.date32()),
        "at": pa.array(["2024-05-01 10:00:00.25"] * 6).cast(pa.timestamp("us")),
    }
)


def as_text(table: pa.Table, separator: str = ",") -> bytes:
    sink = pa.BufferOutputStream()
    pcsv.write_csv(table, sink, pcsv.WriteOptions(delimiter=separator))
    return bytes(sink.getvalue())


TEXT_FORMATS = {
    "log.csv": as_text(TABLE),
    "log.CSV": as_text(TABLE),
    "log.tsv": as_text(TABLE, "\t"),
    "log.txt": as_text(TABLE, "|"),
    "semicolon.csv": as_text(TABLE, ";"),
    "crlf.csv": as_text(TABLE).replace(b"\n", b"\r\n"),
    "mark.csv": b"\xef\xbb\xbf" + as_text(TABLE),
    "log.csv.gz": gzip.compress(as_text(TABLE)),
    "two.csv.gz": gzip.compress(as_text(TABLE)[:50]) + gzip.compress(as_text(TABLE)[50:]),
    "log.csv.bz2": bz2.compress(as_text(TABLE)),
    "log.csv.xz": lzma.compress(as_text(TABLE)),
    "log.csv.zst": bytes(pa.compress(as_text(TABLE), codec="zstd", asbytes=True)),
}
OTHER_FORMATS = ("log.parquet", "log.feather", "log.arrow", "log.arrows", "named", "log.csv.zip")


def put(path: Path) -> None:
    """Write the table in the format that the name says; `named` is Feather without an ending."""
    if path.name in TEXT_FORMATS or path.suffix == ".txt":
        path.write_bytes(TEXT_FORMATS.get(path.name, TEXT_FORMATS["log.txt"]))
    elif path.suffix == ".parquet":
        pq.write_table(TABLE, path)
    elif path.suffix == ".arrows":
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, TABLE.schema) as writer:
            writer.write_table(TABLE, max_chunksize=2)
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("inside.csv", as_text(TABLE))
    else:
        feather.write_feather(TABLE, path)


def read(log: Log) -> pa.Table:
    names = list(log.column_names())
    return pa.Table.from_batches([batch.columns for batch in log.batches(names)])


def plain(table: pa.Table) -> dict[str, Any]:
    return {name: table[name].to_pylist() for name in table.column_names}


@pytest.mark.parametrize("name", [*TEXT_FORMATS, *OTHER_FORMATS])
def test_every_format_gives_the_same_values(name: str, tmp_path: Path) -> None:
    put(tmp_path / name)
    log = open_log(str(tmp_path / name))
    assert plain(read(log)) == plain(TABLE)
    assert [file.path.name for file in log.files] == [name]
    assert list(log.content()) == [name]


def test_stripes_of_orc_give_the_same_values(tmp_path: Path) -> None:
    table = pa.concat_tables([TABLE.drop_columns(["big"])] * 2000)  # ORC has no unsigned numbers
    orc.write_table(table, tmp_path / "log.orc", stripe_size=1024)
    assert orc.ORCFile(tmp_path / "log.orc").nstripes > 1
    (tmp_path / "log.orc").rename(tmp_path / "named")  # known by its first bytes, too
    for name in ("log.orc", "named"):
        (tmp_path / "named").replace(tmp_path / name)
        assert plain(read(open_log(str(tmp_path / name)))) == plain(table)
        (tmp_path / name).replace(tmp_path / "named")
    (tmp_path / "log.orc").write_bytes(b"ORC no more")
    with pytest.raises(DataError, match=r"log\.orc: is truncated or not ORC"):
        open_log(str(tmp_path / "log.orc"))


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz", "log.feather"])
def test_a_folder_and_a_url_give_the_same_too(name: str, tmp_path: Path) -> None:
    for day in ("dt=1", "dt=2"):
        (tmp_path / day).mkdir()
        put(tmp_path / day / name)
    (tmp_path / "_SUCCESS").touch()
    expected = plain(pa.concat_tables([TABLE, TABLE])) | {"dt": [1] * 6 + [2] * 6}
    assert plain(read(open_log(str(tmp_path)))) == expected
    url = f"memory://{tmp_path.name}/{name}"
    with fsspec.open(url, "wb") as stream:
        stream.write((tmp_path / "dt=1" / name).read_bytes())
    assert plain(read(open_log(url))) == plain(TABLE)


def test_a_folder_is_read_in_one_format_parquet_first(tmp_path: Path) -> None:
    for name in ("log.csv", "log.feather", "log.parquet", "notes.txt"):
        put(tmp_path / name)
    for first in ("log.parquet", "log.feather", "log.csv", "notes.txt"):
        assert [file.path.name for file in open_log(str(tmp_path)).files] == [first]
        (tmp_path / first).unlink()


def test_types_are_those_of_all_files_together(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("n,code,f\n1,5,1\n")
    (tmp_path / "b.csv").write_text("n,code,f\n2,05,0.5\n")
    log = open_log(str(tmp_path))
    assert plain(read(log)) == {"n": [1, 2], "code": ["5", "05"], "f": [1.0, 0.5]}
    assert {str(file.schema) for file in log.files} == {str(log.files[0].schema)}


def test_text_that_was_fitted_stays_text(tmp_path: Path) -> None:
    (tmp_path / "day.csv").write_text("code,n\n5,1\n")
    log = open_log(str(tmp_path / "day.csv"), fitted={"code": TEXT})
    assert plain(read(log))["code"] == ["5"]
    assert plain(read(open_log(str(tmp_path / "day.csv"))))["code"] == [5]


def test_blanks_around_a_value_are_no_part_of_it(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("n, city\n1, oslo \n 2,\n3, \n")
    log = open_log(str(tmp_path / "log.csv"))
    assert plain(read(log)) == {"n": [1, 2, 3], "city": ["oslo", None, None]}


def test_parts_of_a_file_need_its_names_only_once(tmp_path: Path) -> None:
    (tmp_path / "part-0.csv").write_text("user,n\na,1\n")
    (tmp_path / "part-1.csv").write_text("b,2\nc,3\n")
    assert plain(read(open_log(str(tmp_path)))) == {"user": ["a", "b", "c"], "n": [1, 2, 3]}


def test_what_the_schema_says_of_text_is_followed(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes("1,5;-1;'a|b';[7, 8]\n2;z\xe9;'';[]\n".encode("latin-1"))
    files = TextFiles(
        separator=";",
        columns=("price", "city", "tags", "seen"),
        quote="'",
        encoding="latin-1",
        decimal=",",
        missing=(-1,),
        lists=(ListCells("tags", "|"), ListCells("seen", ",")),
    )
    assert plain(read(open_log(str(tmp_path / "log"), layout=files))) == {
        "price": [1.5, 2.0],
        "city": [None, "zé"],
        "tags": [["a", "b"], None],
        "seen": [[7, 8], []],
    }


def test_pairs_are_columns_and_lists_where_a_name_is_repeated(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1,0,210:5,210:6,301:7\n2,1,301:9\n3,0,508:0.5\n")
    (tmp_path / "b.txt").write_text("4,0,301:1,210:2\n")
    files = TextFiles(columns=("id", "click"), pairs=Pairs())
    table = read(open_log(str(tmp_path), layout=files))
    assert plain(table) == {
        "id": [1, 2, 3, 4],
        "click": [0, 1, 0, 0],
        "210": [[5, 6], [], [], [2]],
        "301": [7, 9, None, 1],
        "508": [None, None, 0.5, None],
    }


def test_pairs_as_ali_ccp_is_published_give_ids_without_weights(tmp_path: Path) -> None:
    row = "{0},1,0,ab{0},2,210\x029{0}\x031.0\x01206\x028\x030.5\n"
    (tmp_path / "skeleton.csv").write_text("".join(row.format(i) for i in range(3)))
    table = plain(read(open_log(str(tmp_path / "skeleton.csv"))))
    assert table["210"] == [90, 91, 92] and table["206"] == [8, 8, 8]
    assert table["column_4"] == ["ab0", "ab1", "ab2"]


def test_a_side_table_may_be_text(tmp_path: Path) -> None:
    pq.write_table(pa.table({"user_id": [2, 1, 3]}), tmp_path / "log.parquet")
    (tmp_path / "users.csv").write_text("user_id,age\n1,30\n2,40\n")
    log = open_log(str(tmp_path / "log.parquet"), [SideTable("users.csv", "user_id")])
    [batch] = log.batches(["age"])
    assert batch.columns.column(0).to_pylist() == [40, 30, None]
    assert batch.unmatched["users.csv"].tolist() == [False, False, True]


def test_a_log_and_its_common_features_come_in_as_ali_ccp_publishes_them(tmp_path: Path) -> None:
    row = "{0},{1},0,ab{2},2,210\x029{0}\x031.0\x01206\x028\x030.5\n"
    rows = (row.format(i, i % 2, i % 3) for i in range(6))
    (tmp_path / "skeleton.csv").write_text("".join(rows))
    common = "ab{0},3,101\x029{0}\x031.0\x01150_14\x025\x031.2\x01150_14\x026\x032.0\n"
    (tmp_path / "common.csv").write_text("".join(common.format(i) for i in range(3)))
    columns = ("sample_id", "click", "buy", "index", "feature_num")
    of_users = TextFiles(columns=("index", "feature_num_2"), pairs=Pairs("\x01", "\x02", "\x03"))
    log = open_log(
        str(tmp_path / "skeleton.csv"),
        [SideTable("common.csv", "index", of_users)],
        layout=TextFiles(columns=columns),
    )
    [batch] = log.batches(["click", "210", "101", "150_14"])
    assert batch.columns.to_pydict() == {
        "click": [0, 1] * 3,
        "210": [90, 91, 92, 93, 94, 95],
        "101": [90, 91, 92] * 2,
        "150_14": [[5, 6]] * 6,
    }


def test_a_log_is_prepared_alike_from_text_and_from_parquet(
    schema: Schema, columns: dict[str, Any], write: Callable[..., str], tmp_path: Path
) -> None:
    path = write(columns)
    expected = prepare(path, schema, tmp_path / "parquet")
    rows = pq.read_table(path).to_pandas()
    for name in ("history", "tags"):
        rows[name] = ["|".join(map(str, values)) or "[]" for values in rows[name]]
    rows.to_csv(tmp_path / "log.csv.gz", index=False)
    lists = (ListCells("history", "|"), ListCells("tags", "|"))
    of_text = Schema(**{**vars_of(schema), "files": TextFiles(lists=lists)})
    log = prepare(str(tmp_path / "log.csv.gz"), of_text, tmp_path / "text")
    for part in ("train", "validation", "test"):
        for name in ("ids", "numeric", "labels", "weight", "row"):
            a, b = (getattr(one.split(part), name) for one in (expected, log))
            np.testing.assert_array_equal(a, b, err_msg=f"{part} {name}")
    assert prepare(str(tmp_path / "log.csv.gz"), of_text, tmp_path / "text").fingerprint


def vars_of(schema: Schema) -> dict[str, Any]:
    return {name: getattr(schema, name) for name in schema.__dataclass_fields__}


def test_a_file_is_converted_once_until_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECMTL_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "log.csv"
    path.write_text("n\n1\n")
    first = open_log(str(path)).files[0].converted
    made = {file: file.stat().st_ino for file in (tmp_path / "cache").iterdir()}
    assert open_log(str(path)).files[0].converted == first
    assert made == {file: file.stat().st_ino for file in (tmp_path / "cache").iterdir()}
    path.write_text("n\n2\n")
    assert plain(read(open_log(str(path)))) == {"n": [2]}
    assert open_log(str(path)).files[0].converted != first
    assert not list((tmp_path / "cache").glob("*partial*"))


def test_what_nothing_reads_for_a_month_leaves_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECMTL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.csv").write_text("n\n1\n")
    (tmp_path / "b.csv").write_text("n\n2\n")
    old = open_log(str(tmp_path / "a.csv")).files[0].converted
    assert isinstance(old, Path)
    long_ago = time.time() - 31 * 86_400
    os.utime(old, (long_ago, long_ago))
    open_log(str(tmp_path / "a.csv"))
    assert old.stat().st_mtime > long_ago + 86_400  # it is in use again
    os.utime(old, (long_ago, long_ago))
    open_log(str(tmp_path / "b.csv"))
    assert not old.exists()
    assert plain(read(open_log(str(tmp_path / "a.csv")))) == {"n": [1]}


def test_the_cache_lies_where_the_user_says_or_where_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RECMTL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert module.cache_folder() == tmp_path / "x" / "recmtl"
    monkeypatch.setattr(module.os, "access", lambda *_: False)
    assert module.cache_folder().name == f"recmtl-{os.getuid()}"
    (tmp_path / "file").touch()
    (tmp_path / "log.csv").write_text("n\n1\n")
    monkeypatch.setenv("RECMTL_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot be converted there .* RECMTL_CACHE"):
        open_log(str(tmp_path / "log.csv"))


def test_row_groups_do_not_depend_on_the_blocks_that_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GROUP_ROWS", 100)
    text = "n,s\n" + "".join(f"{i},x{i % 7}\n" for i in range(1050))
    tables = []
    for size in (512, 1 << 20):
        monkeypatch.setattr(text_rows, "BLOCK_BYTES", size)
        path = tmp_path / f"{size}.csv"
        path.write_text(text)
        log = open_log(str(path))
        with pq.ParquetFile(str(log.files[0].converted)) as parquet:
            counts = [parquet.metadata.row_group(i).num_rows for i in range(11)]
        assert counts == [100] * 10 + [50]
        tables.append(read(log))
    assert tables[0].equals(tables[1])


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"a,b\n1,2\n3\n", "Expected 2 columns, got 1"),
        (b"a,b\n1,\xff\xfe\n", "encoding: latin-1"),
        (b"a,b\n", "holds no rows"),
        (b"", "is empty"),
    ],
)
def test_a_damaged_file_is_named_and_leaves_nothing(
    content: bytes, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECMTL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "log.csv").write_bytes(content)
    with pytest.raises(DataError, match=fault) as caught:
        open_log(str(tmp_path / "log.csv"))
    assert "log.csv" in str(caught.value)
    assert not list((tmp_path / "cache").glob("*partial*"))


def test_a_damaged_file_can_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")
    (tmp_path / "b.csv").write_text("a,b\n1,2\n3\n")
    (tmp_path / "c.arrow").write_bytes(b"ARROW1 no more")
    refused: list[str] = []
    log = open_log(
        f"{tmp_path}/[abc].*", refused=lambda path, fault: refused.append(f"{path.name}: {fault}")
    )
    assert [file.path.name for file in log.files] == ["a.csv"]
    assert sorted(text[:5] for text in refused) == ["b.csv", "c.arr"]


def test_forms_that_parquet_does_not_hold_come_in_as_plain_ones(tmp_path: Path) -> None:
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array(["a", "b"]))
    codes = pa.array([1.5, 1.5, 2.0]).dictionary_encode()
    table = pa.table({"runs": runs, "codes": codes, "n": pa.array([1, 2, 3], pa.int8())})
    sink = pa.OSFile(str(tmp_path / "log.arrow"), "wb")
    with sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    log = open_log(str(tmp_path / "log.arrow"))
    assert plain(read(log)) == {"runs": ["a", "a", "b"], "codes": [1.5, 1.5, 2.0], "n": [1, 2, 3]}

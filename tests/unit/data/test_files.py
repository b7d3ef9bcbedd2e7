"""Files of a log: which are found where, as plain paths and behind URLs, and every fault."""

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recmtl.data.files import base_folder, find_files, open_parquet, stored_texts
from recmtl.errors import DataError
from recmtl.paths import (
    HASHED_WHOLE,
    SAMPLE_BYTES,
    SAMPLES,
    RemotePath,
    any_path,
    content_hash,
    file_content,
    is_url,
    sampled_hash,
)

Put = Callable[..., str]
TABLE = pa.table({"x": [1, 2]})


@pytest.fixture(params=["here", "remote"])
def put(request: pytest.FixtureRequest, tmp_path: Path) -> Put:
    """Writes files below a folder of this machine, or of one in memory behind a URL."""
    root = str(tmp_path) if request.param == "here" else f"memory://{tmp_path.name}"

    def written(*names: str, table: pa.Table = TABLE) -> str:
        for name in names:
            with fsspec.open(f"{root}/{name}", "wb", auto_mkdir=True) as stream:
                if name.endswith("parquet"):
                    pq.write_table(table, stream)
                else:
                    stream.write(b"text")
        return root

    return written


def names(data: str, **options: Any) -> list[str]:
    root = base_folder(data)
    return [str(file.path.relative_to(root)) for file in find_files(data, **options)]  # type: ignore[arg-type] # of one kind


def test_a_folder_is_searched_through_in_the_order_of_the_paths(put: Put) -> None:
    root = put("b.parquet", "a/c.parquet", "a/b.parquet", "note.txt", "_SUCCESS")
    put("_tmp/d.parquet", "a/.hidden.parquet", ".git/e.parquet")
    assert names(root) == ["a/b.parquet", "a/c.parquet", "b.parquet"]


def test_a_file_and_a_glob_are_found(put: Put) -> None:
    root = put("a/1.parquet", "a/2.parquet", "b/1.parquet", "b/1.txt")
    assert names(f"{root}/a/1.parquet") == ["1.parquet"]
    assert names(f"{root}/*/1.parquet") == ["a/1.parquet", "b/1.parquet"]
    assert names(f"{root}/**/*.parquet") == ["a/1.parquet", "a/2.parquet", "b/1.parquet"]
    assert names(f"{root}/a/[12].parquet") == ["1.parquet", "2.parquet"]


def test_rows_bytes_and_columns_stand_in_the_footer(put: Put) -> None:
    root = put("day=3/a.parquet", table=pa.table({"x": [1, 2, 3], "city": ["a", "b", None]}))
    [file] = find_files(root)
    assert (file.rows, file.schema.names) == (3, ["x", "city"])
    assert {name: value.as_py() for name, value in file.partition.items()} == {"day": 3}
    with file.path.open("rb") as stream:
        assert len(stream.read()) == file.size
    assert stored_texts(file.schema, file.schema.names) == ["city"]


def test_excluded_files_are_no_part_of_the_data(put: Put) -> None:
    root = put("a.parquet", "b.parquet")
    side = base_folder(root) / "a.parquet"
    assert names(root, exclude=frozenset([side.resolve()])) == ["b.parquet"]


def test_a_column_of_the_file_is_not_a_partition(put: Put) -> None:
    root = put("x=5/y=a/a.parquet")
    [file] = find_files(root)
    assert {name: value.as_py() for name, value in file.partition.items()} == {"y": "a"}


def test_faults_name_what_is_wrong_and_what_to_do(put: Put) -> None:
    root = put("a/empty.log")
    with pytest.raises(DataError, match=r": no data file found; check the path, folder or"):
        find_files(f"{root}/a")
    root = put("b/none.parquet", table=TABLE.slice(0, 0))
    with pytest.raises(DataError, match=r"b: holds no rows; check how it was written"):
        find_files(f"{root}/b")
    with pytest.raises(DataError, match=r"none: no data file found"):
        find_files(f"{root}/none")
    with pytest.raises(DataError, match=r"none\.parquet: does not exist; check the path"):
        open_parquet(any_path(f"{root}/none.parquet"))


def test_a_file_that_cannot_be_opened_can_be_left_out(put: Put) -> None:
    root = put("a.parquet", "c.parquet")
    with fsspec.open(f"{root}/b.parquet", "wb") as stream:
        stream.write(b"PAR1 no more")
    with pytest.raises(DataError, match=r"b\.parquet: is truncated or not Parquet"):
        find_files(root)
    refused: list[tuple[str, str]] = []
    found = find_files(root, refused=lambda path, fault: refused.append((path.name, str(fault))))
    assert [file.path.name for file in found] == ["a.parquet", "c.parquet"]
    [(name, fault)] = refused
    assert name == "b.parquet" and "truncated" in fault


def test_the_content_decides_the_hash(put: Put) -> None:
    root = base_folder(put("a.parquet", "b.parquet"))
    put("c.parquet", table=pa.table({"x": [1, 3]}))
    hashes = [content_hash(root / f"{name}.parquet") for name in "abc"]
    assert hashes[0] == hashes[1] != hashes[2]
    assert len(hashes[0]) == 32


def test_a_remote_path_behaves_as_a_path() -> None:
    path = any_path("memory://log/day=1/a.parquet")
    assert isinstance(path, RemotePath)
    assert path.name == "a.parquet" and path.parent.name == "day=1"
    assert path.parent / "a.parquet" == path == path.resolve()
    assert path.is_relative_to(path.parent.parent)
    assert not path.is_relative_to(path.parent / "a")
    assert path.relative_to(path.parent.parent).parts == ("day=1", "a.parquet")
    assert str(path).startswith("memory://")


@pytest.mark.parametrize(
    ("text", "url"),
    [("s3://bucket/x", True), ("zip://a::file://b", True), ("a/b", False), ("c:\\d", False),
     ("1s://x", False), ("", False), ("x:y", False)],
)  # fmt: skip
def test_urls_are_told_from_paths(text: str, url: bool) -> None:
    assert is_url(text) is url


def test_a_url_of_this_machine_is_a_plain_path(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "a.parquet")
    assert any_path(f"file://{tmp_path}/a.parquet") == tmp_path / "a.parquet"
    assert find_files(f"file://{tmp_path}")[0].path == tmp_path / "a.parquet"


def test_a_url_that_cannot_be_reached_is_one_line() -> None:
    with pytest.raises(DataError, match=r"^nonsense://x: cannot be reached .*; check the URL and"):
        any_path("nonsense://x")


class Failing:
    """A file system of which every call fails as a driver may."""

    protocol = "failing"

    def unstrip_protocol(self, path: str) -> str:
        return f"failing://{path}"

    def __getattr__(self, name: str) -> Any:
        def fail(*arguments: object) -> None:
            raise RuntimeError("token expired\nsecond line")

        return fail


@pytest.mark.parametrize(
    "call", [RemotePath.bytes, RemotePath.is_dir, RemotePath.exists, RemotePath.files,
             RemotePath.matches, lambda path: path.open("rb")],
)  # fmt: skip
def test_what_a_driver_raises_becomes_one_line_with_the_url(call: Any) -> None:
    with pytest.raises(DataError) as caught:
        call(RemotePath("bucket/a", Failing()))
    assert str(caught.value) == (
        "failing://bucket/a: cannot be reached (token expired); check the URL and the access to it"
    )


def test_a_file_that_may_not_be_read_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pq.write_table(TABLE, tmp_path / "a.parquet")

    def denied(*arguments: object, **options: object) -> None:
        raise PermissionError

    monkeypatch.setattr(pq, "ParquetFile", denied)
    with pytest.raises(DataError, match=r"a\.parquet: may not be read; change its permissions"):
        open_parquet(tmp_path / "a.parquet")


def large(path: Path, size: int = HASHED_WHOLE + 5_000_003) -> Path:
    """A file just too large to be hashed whole, with a footer of 1,000 bytes."""
    content = bytearray(random.Random(3).randbytes(size))
    content[-8:] = (1000).to_bytes(4, "little") + b"PAR1"
    path.write_bytes(content)
    return path


def altered(path: Path, place: int) -> Path:
    with path.open("r+b") as stream:
        stream.seek(place, os.SEEK_END if place < 0 else os.SEEK_SET)
        byte = stream.read(1)
        stream.seek(-1, os.SEEK_CUR)
        stream.write(bytes([byte[0] ^ 1]))
    return path


def test_a_small_file_is_hashed_whole_and_its_place_and_time_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(TABLE, path)
    before = file_content(path)
    assert before.hash == content_hash(path) and before.bytes == path.stat().st_size
    os.utime(path, (1, 1))
    assert file_content(path.rename(tmp_path / "b.parquet")) == before
    for place in range(0, before.bytes, 97):
        assert sampled_hash(altered(tmp_path / "b.parquet", place)) != before.hash
        altered(tmp_path / "b.parquet", place)


def test_of_a_large_file_size_footer_and_samples_are_hashed(tmp_path: Path) -> None:
    path = large(tmp_path / "log.parquet")
    before, size = sampled_hash(path), path.stat().st_size
    last_sample = size - SAMPLE_BYTES
    for place in (0, SAMPLE_BYTES - 1, last_sample // (SAMPLES - 1), last_sample, -1008, -9):
        assert sampled_hash(altered(path, place)) != before, place
        assert sampled_hash(altered(path, place)) == before
    assert sampled_hash(altered(path, SAMPLE_BYTES + 7)) == before, "the documentation says so"
    altered(path, SAMPLE_BYTES + 7)
    copy = path.read_bytes()
    path.write_bytes(copy[:SAMPLE_BYTES] + copy[SAMPLE_BYTES + 1 :])
    assert sampled_hash(path) != before


def test_a_large_file_behind_a_url_is_sampled_too(tmp_path: Path) -> None:
    content = large(tmp_path / "log.parquet").read_bytes()
    remote = any_path("memory://sampled/log.parquet")
    assert isinstance(remote, RemotePath)
    for count, other in ((0, 0), (1, 5), (2, len(content) - 1005)):
        with remote.open("wb") as stream:
            changed = bytearray(content)
            changed[other] ^= bool(count)
            stream.write(bytes(changed))
        if count == 0:
            before = sampled_hash(remote)
        assert (sampled_hash(remote) == before) == (count == 0)


def test_a_file_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.parquet: cannot be read .*; check that it is"):
        file_content(tmp_path / "none.parquet")

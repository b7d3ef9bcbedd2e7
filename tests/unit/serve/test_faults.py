"""Whatever the system, Arrow or a driver says, a caller gets one line with place and remedy."""

import errno
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import BundleError, DataError, RecmtlError
from recmtl.serve import Ranker, Scorer, load_bundle, save_bundle, score_parquet
from recmtl.serve.bundle.onnx_export import export
from recmtl.serve.faults import write_faults
from tests.unit.serve.shop import make_model


def refused(call: Callable[[], object], kind: type[RecmtlError] = DataError) -> str:
    """The one line with which a call is refused."""
    with pytest.raises(kind) as raised:
        call()
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.fixture
def file(log: pa.Table, tmp_path: Path) -> Path:
    pq.write_table(log.slice(0, 20), tmp_path / "log.parquet")
    return tmp_path / "log.parquet"


@pytest.fixture
def twice(log: pa.Table) -> pa.Table:
    """A table in which the price stands twice."""
    return pa.table([*log.columns, log["price"]], names=[*log.column_names, "price"])


@pytest.fixture
def not_utf8(log: pa.Table) -> pa.Table:
    """Two rows whose items are bytes that no text has."""
    offsets = pa.py_buffer(np.array([0, 2, 4], np.int32))
    items = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"\xff\xfe" * 2)])
    return log.slice(0, 2).set_column(log.column_names.index("item"), "item", items)


SYSTEM = {
    errno.ENOSPC: r"[0-9,]+ bytes are free\); make room there, then resume",
    errno.EDQUOT: r"[0-9,]+ bytes are free\); make room there, then resume",
    errno.EACCES: "permissions",
    errno.EROFS: "read-only",
    errno.EEXIST: "a file is in the way",
    errno.ENOTDIR: "a file is in the way",
    errno.EISDIR: "a folder is in the way",
    errno.ENAMETOOLONG: "shorter name",
    errno.EIO: "check that place",
}


@pytest.mark.parametrize("number", SYSTEM)
def test_every_error_of_the_system_has_its_remedy(number: int, tmp_path: Path) -> None:
    def write() -> None:
        with write_faults(tmp_path / "a" / "b", kind=BundleError, go_on=", then resume"):
            raise OSError(number, os.strerror(number))

    with pytest.raises(BundleError, match=SYSTEM[number]) as raised:
        write()
    assert str(raised.value).startswith(f"{tmp_path}/a/b: cannot write ({os.strerror(number)}")


def test_the_file_at_fault_is_named_and_free_bytes_are_those_of_its_disk(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(DataError) as raised, write_faults("the job"):
        raise OSError(errno.ENOSPC, "full", str(tmp_path / "none" / "part"))
    line = str(raised.value)
    assert line.startswith(f"{tmp_path}/none/part: cannot write (full, ")
    shown = int(line.partition("full, ")[2].partition(" ")[0].replace(",", ""))
    assert abs(shown - free) < 0.2 * free


def test_errors_of_our_own_and_of_programs_pass(tmp_path: Path) -> None:
    for error in (BundleError("mine"), ZeroDivisionError()):
        with pytest.raises(type(error)), write_faults(tmp_path):
            raise error


@pytest.mark.parametrize("place", ["file", "file/below", "x" * 300, "odd\udc80"])
def test_an_output_that_cannot_be_written_is_named(
    place: str, scorer: Scorer, file: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    line = refused(lambda: score_parquet(scorer, file, tmp_path / place))
    assert "cannot write" in line and "--resume" not in line
    line.encode()


@pytest.mark.parametrize("place", ["file", "file/below/it", "x" * 300])
def test_a_bundle_or_a_network_that_cannot_be_written_is_named(
    place: str, bundle: Path, encoder: RowEncoder, log: pa.Table, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    parts: dict[str, Any] = {"model": make_model(encoder), "encoder": encoder, "rows": log}
    save = lambda: save_bundle(tmp_path / place, metrics={}, **parts)  # noqa: E731
    assert place.split("/")[0] in refused(save, BundleError)
    pytest.importorskip("onnxscript")
    assert "give a new file" in refused(lambda: export(bundle, tmp_path / "a" / place), BundleError)
    assert "give a new file" in refused(lambda: export(bundle, tmp_path), BundleError)


def test_rows_that_prove_nothing_are_refused_when_saving(
    encoder: RowEncoder, log: pa.Table, twice: pa.Table, tmp_path: Path
) -> None:
    faults = {"no row": log.slice(0, 0), "no column 'age'": log.drop_columns("age"), "twice": twice}
    for fault, rows in faults.items():
        parts: dict[str, Any] = {"model": make_model(encoder), "encoder": encoder, "rows": rows}
        line = refused(lambda: save_bundle(tmp_path / "b", metrics={}, **parts))  # noqa: B023
        assert line.startswith("rows: ") and fault in line
    assert not any(tmp_path.iterdir())


def text_as_parquet(path: Path) -> None:
    path.write_text("user_id,item\n1,2\n")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def removed(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [text_as_parquet, truncated, emptied, removed])
def test_a_file_that_is_no_parquet_is_named(
    damage: Callable[[Path], None], scorer: Scorer, file: Path, tmp_path: Path
) -> None:
    damage(file)
    for source in (file, tmp_path):
        line = refused(lambda: score_parquet(scorer, source, tmp_path.parent / "out"))  # noqa: B023
        assert line.startswith(str(source)) and ";" in line


def test_an_input_whose_name_is_too_long_is_named(scorer: Scorer, tmp_path: Path) -> None:
    assert "too long" in refused(
        lambda: score_parquet(scorer, tmp_path / ("x" * 300), tmp_path / "out")
    )


def test_a_folder_that_is_called_as_a_file_is_looked_through(
    scorer: Scorer, file: Path, tmp_path: Path
) -> None:
    (tmp_path / "log" / "day.parquet").mkdir(parents=True)
    file.rename(tmp_path / "log" / "day.parquet" / "part-0.parquet")
    assert score_parquet(scorer, tmp_path / "log", tmp_path / "out").rows == 20


def test_a_column_that_stands_twice_in_a_file_is_refused_where_it_is_read(
    scorer: Scorer, twice: pa.Table, log: pa.Table, tmp_path: Path
) -> None:
    pq.write_table(twice, tmp_path / "twice.parquet")
    line = refused(lambda: score_parquet(scorer, tmp_path / "twice.parquet", tmp_path / "out"))
    assert "column 'price': stands in the file 2 times" in line
    frame = pd.concat([log.to_pandas(), log.to_pandas()[["price"]]], axis=1)
    for rows in (twice, frame):
        assert "'price' stands twice" in refused(lambda: scorer.score(rows))  # noqa: B023
    others = pa.table([*log.columns, log["stars"]], names=[*log.column_names, "stars"])
    pq.write_table(others, tmp_path / "others.parquet")
    line = refused(lambda: score_parquet(scorer, tmp_path / "others.parquet", tmp_path / "scored"))
    assert "column 'stars': stands in the file 2 times" in line, "whether it is scored or not"


def test_text_that_is_not_utf8_is_named_by_its_column(
    scorer: Scorer, not_utf8: pa.Table, log: pa.Table, tmp_path: Path
) -> None:
    pq.write_table(not_utf8, tmp_path / "bytes.parquet")
    ranker = Ranker(scorer)
    calls = [
        lambda: scorer.score(not_utf8),
        lambda: ranker.rank(not_utf8, by="p_click", keep=["item"]),
        lambda: ranker.explain(not_utf8),
        lambda: score_parquet(scorer, tmp_path / "bytes.parquet", tmp_path / "out"),
    ]
    for call in calls:
        assert "column 'item': holds text that is not UTF-8; write" in refused(call)
    rest = {"quarantine": tmp_path / "bad"}
    scored = score_parquet(scorer, tmp_path / "bytes.parquet", tmp_path / "rest", **rest)
    assert scored.quarantined_rows == 2
    assert scorer.score(log).num_rows == log.num_rows


def test_a_store_without_its_driver_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("boto3", "botocore"):
        monkeypatch.setitem(sys.modules, name, None)
    line = refused(lambda: load_bundle("s3://bucket/bundle"), BundleError)
    assert "has no driver here" in line and "install the package that holds 'boto" in line


@pytest.mark.parametrize(
    "uri", ["what://x/y", "http://127.0.0.1:9/x", "models:/", "file:///none/x"]
)
def test_a_bundle_that_cannot_be_fetched_is_named(
    uri: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert refused(lambda: load_bundle(uri), BundleError).startswith(f"{uri}: not found")


def test_one_row_is_enough_to_prove_a_bundle(
    encoder: RowEncoder, log: pa.Table, tmp_path: Path
) -> None:
    row = log.slice(5, 1)
    parts: dict[str, Any] = {"model": make_model(encoder), "encoder": encoder, "rows": row}
    save_bundle(tmp_path / "b", metrics={}, **parts)
    assert load_bundle(tmp_path / "b").golden.num_rows == 1

"""Batch scoring loses no row, doubles no row and changes no bit, whatever interrupts it."""

import errno
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from recmtl.data.reader import open_log
from recmtl.errors import DataError
from recmtl.folder_lock import hold_folder
from recmtl.schema import ListCells, SideTable, TextFiles
from recmtl.serve import Scorer, save_bundle, score_parquet
from recmtl.serve.batch.batch_state import ScoringJob
from recmtl.serve.batch.parquet import rows_progress
from tests.unit.serve.shop import ROWS, SCHEMA, make_bundle, make_encoder, make_log, make_model


def parts(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.parquet"))


def output(folder: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(part) for part in parts(folder)])


def assert_whole(folder: Path, scorer: Scorer, big: pa.Table) -> None:
    scored = output(folder)
    assert scored["row"].to_pylist() == list(range(ROWS))
    expected = scorer.score(big)
    assert scored.select(list(scorer.columns)).combine_chunks().equals(expected.combine_chunks())


@pytest.mark.parametrize("part_rows", [97, 300, 430, 1000, 5000])
def test_rows_come_out_in_order_with_the_scorers_bits(
    scorer: Scorer, source: Path, big: pa.Table, tmp_path: Path, part_rows: int
) -> None:
    done = score_parquet(scorer, source, tmp_path / "out", keep=["row"], part_rows=part_rows)
    assert_whole(tmp_path / "out", scorer, big)
    assert (done.rows, done.scored_rows, done.parts) == (ROWS, ROWS, -(-ROWS // part_rows))
    names = [path.name for path in parts(tmp_path / "out")]
    assert names == [f"part-{number:05d}.parquet" for number in range(done.parts)]


@pytest.mark.parametrize("name", ["log.csv.gz", "log.feather"])
def test_other_formats_score_as_parquet_does(
    scorer: Scorer, big: pa.Table, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "in" / name
    path.parent.mkdir()
    lists = [column for column in big.column_names if pa.types.is_list(big[column].type)]
    if name.endswith(".feather"):
        feather.write_feather(big, path)
    else:
        frame = big.drop_columns(lists).to_pandas()
        for column in lists:
            frame[column] = ["|".join(map(str, cell)) or "[]" for cell in big[column].to_pylist()]
        frame.to_csv(path, index=False)
        files = TextFiles(lists=tuple(ListCells(column, "|") for column in lists))
        encoder = scorer.bundle.encoder
        monkeypatch.setattr(encoder, "schema", replace(encoder.schema, files=files))
    score_parquet(scorer, path, tmp_path / "out", keep=["row"], part_rows=300)
    assert_whole(tmp_path / "out", scorer, big)


def test_a_glob_chooses_files(scorer: Scorer, source: Path, tmp_path: Path) -> None:
    done = score_parquet(scorer, str(source / "b*.parquet"), tmp_path / "out")
    assert done.rows == 570


@pytest.fixture
def remote(source: Path, tmp_path: Path) -> Iterator[str]:
    """The log in fsspec's file system in memory; its URL."""
    system = fsspec.filesystem("memory")
    root = f"/{tmp_path.name}/log"
    for path in source.iterdir():
        system.pipe(f"{root}/{path.name}", path.read_bytes())
    system.pipe(f"{root}/_SUCCESS.parquet", b"")
    yield f"memory:/{root}"
    system.rm(root, recursive=True)


@pytest.mark.parametrize("pattern", ["", "/", "/*.parquet", "/**/[ab].parquet"])
def test_a_url_is_read_as_a_folder_is(
    scorer: Scorer, remote: str, big: pa.Table, tmp_path: Path, pattern: str
) -> None:
    if pattern == "/*.parquet":
        fsspec.filesystem("memory").rm(f"{remote}/_SUCCESS.parquet")
    done = score_parquet(scorer, remote + pattern, tmp_path / "out", keep=["row"], part_rows=300)
    assert done.rows == ROWS
    assert_whole(tmp_path / "out", scorer, big)


def test_a_url_of_one_file_resumes_and_names_its_faults(
    scorer: Scorer, remote: str, tmp_path: Path
) -> None:
    out, system = tmp_path / "out", fsspec.filesystem("memory")
    score_parquet(scorer, f"{remote}/b.parquet", out, keep=["row"], part_rows=100)
    parts(out)[3].unlink()
    options = {"keep": ["row"], "part_rows": 100, "resume": True}
    assert score_parquet(scorer, f"{remote}/b.parquet", out, **options).scored_rows == 100
    with pytest.raises(
        DataError, match=r"a\.parquet: column 'rwo': is missing; did you mean 'row'"
    ):
        score_parquet(scorer, remote, tmp_path / "2", keep=["rwo"])
    system.pipe(f"{remote}/a.parquet", b"PAR1 not really")
    with pytest.raises(DataError, match=r"memory:.*a\.parquet: is truncated or not Parquet"):
        score_parquet(scorer, remote, tmp_path / "3")
    with pytest.raises(DataError, match="no data file found"):
        score_parquet(scorer, f"{remote}/none", tmp_path / "4")


def test_a_file_url_is_the_file(
    scorer: Scorer, source: Path, big: pa.Table, tmp_path: Path
) -> None:
    score_parquet(scorer, f"file://{source}", tmp_path / "out", keep=["row"])
    assert_whole(tmp_path / "out", scorer, big)
    score_parquet(scorer, f"file://{source}/*.parquet", f"file://{tmp_path}/out2", keep=["row"])
    assert_whole(tmp_path / "out2", scorer, big)
    with pytest.raises(DataError, match="lies in the input folder"):
        score_parquet(scorer, f"file://{source}", source / "out")


def test_a_url_without_a_driver_gets_one_line(
    scorer: Scorer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)  # as where it is not installed
    with pytest.raises(DataError, match=r"s3://bucket/log: has no driver here .*s3fs.*pip"):
        score_parquet(scorer, "s3://bucket/log", tmp_path / "out")
    with pytest.raises(DataError, match=r"what://x: cannot be reached \(Protocol not known"):
        score_parquet(scorer, "what://x", tmp_path / "out")


def test_a_driver_that_fails_gets_one_line(
    scorer: Scorer, remote: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoCredentials(Exception):
        pass

    def fails(*_: object, **__: object) -> None:
        raise NoCredentials("no credentials\nfound")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "info", fails)
    with pytest.raises(DataError, match=r"cannot be reached \(no credentials\); check the URL"):
        score_parquet(scorer, remote, tmp_path / "out")


def test_side_tables_lie_beside_a_remote_log_too(tmp_path: Path) -> None:
    system = fsspec.filesystem("memory")
    for name, table in {
        "log": pa.table({"row": [0, 1, 2], "item": [5, 6, 5]}),
        "items": pa.table({"item": [5, 7], "price": [1.5, 2.5]}),
    }.items():
        with system.open(f"/{tmp_path.name}/side/{name}.parquet", "wb") as file:
            pq.write_table(table, file)
    url = f"memory://{tmp_path.name}/side"
    log = open_log(url, [SideTable("items.parquet", "item")])
    batch = next(iter(log.batches(["row", "price"]))).columns
    assert batch.to_pydict() == {"row": [0, 1, 2], "price": [1.5, None, 1.5]}


def test_parts_cannot_be_renamed_behind_a_url(scorer: Scorer, source: Path) -> None:
    with pytest.raises(DataError, match="put in place by renaming"):
        score_parquet(scorer, source, "memory://out")


def test_kept_columns_keep_type_and_content(
    scorer: Scorer, source: Path, big: pa.Table, tmp_path: Path
) -> None:
    keep = ["item", "history", "row"]
    score_parquet(scorer, source, tmp_path / "out", keep=keep)
    scored = output(tmp_path / "out")
    assert scored.column_names == [*keep, *scorer.columns]
    assert scored.select(keep).equals(big.select(keep))


def test_side_tables_are_joined_as_in_training(big: pa.Table, tmp_path: Path) -> None:
    prices = {f"item-{number}": number * 1.5 for number in range(30)}
    side = pa.table({"item": list(prices), "price": list(prices.values())})
    place = big.column_names.index("price")
    price = pa.array([prices.get(item) for item in big["item"].to_pylist()])
    joined = big.set_column(place, "price", price)
    tables = "tables:\n  - {path: side/items.parquet, key: item}\nfeatures:"
    encoder = make_encoder(joined, SCHEMA.replace("features:", tables))
    model = make_model(encoder)
    save_bundle(tmp_path / "b", model=model, encoder=encoder, rows=joined, metrics={})
    (tmp_path / "log" / "side").mkdir(parents=True)
    pq.write_table(side, tmp_path / "log" / "side" / "items.parquet")
    pq.write_table(big.drop_columns("price"), tmp_path / "log" / "log.parquet")
    scorer = Scorer.load(tmp_path / "b")
    summary = score_parquet(scorer, tmp_path / "log", tmp_path / "out", keep=["row", "price"])
    assert summary.unmatched == {"items.parquet": output(tmp_path / "out")["price"].null_count}
    assert summary.unmatched["items.parquet"] > 0 and summary.warnings == ()
    assert_whole(tmp_path / "out", scorer, joined)
    other = pa.table({"item": list(prices), "price": list(prices.values())[::-1]})
    pq.write_table(other, tmp_path / "log" / "side" / "items.parquet")
    with pytest.raises(DataError, match=r"content\.side table 1, items\.parquet was .* and is"):
        score_parquet(
            scorer, tmp_path / "log", tmp_path / "out", keep=["row", "price"], resume=True
        )


def test_a_side_table_without_any_row_of_the_input_is_told(big: pa.Table, tmp_path: Path) -> None:
    side = pa.table({"item": ["somewhere else"], "price": [1.0]})
    tables = "tables:\n  - {path: side/items.parquet, key: item}\nfeatures:"
    encoder = make_encoder(big, SCHEMA.replace("features:", tables))
    model = make_model(encoder)
    save_bundle(tmp_path / "b", model=model, encoder=encoder, rows=big, metrics={})
    (tmp_path / "log" / "side").mkdir(parents=True)
    pq.write_table(side, tmp_path / "log" / "side" / "items.parquet")
    pq.write_table(big.drop_columns("price"), tmp_path / "log" / "log.parquet")
    summary = score_parquet(Scorer.load(tmp_path / "b"), tmp_path / "log", tmp_path / "out")
    assert summary.unmatched == {"items.parquet": len(big)}
    assert any("side table items.parquet: none of the" in line for line in summary.warnings)


def test_only_hidden_files_lie_beside_the_parts(
    scorer: Scorer, source: Path, tmp_path: Path
) -> None:
    score_parquet(scorer, source, tmp_path / "out")
    others = {path.name for path in (tmp_path / "out").iterdir()} - {"part-00000.parquet"}
    assert others == {"_manifest.json"}
    assert pq.read_table(tmp_path / "out").num_rows == ROWS


def test_a_job_killed_before_its_first_list_can_be_resumed_or_begun_anew(
    scorer: Scorer, source: Path, big: pa.Table, tmp_path: Path
) -> None:
    for resume in (False, True):
        out = tmp_path / f"out {resume}"
        out.mkdir()
        (out / ".lock").touch()
        (out / "._manifest.json.partial").write_text('{"job": ')
        score_parquet(scorer, source, out, keep=["row"], resume=resume)
        assert_whole(out, scorer, big)


def test_the_manifest_says_when_all_is_done(
    scorer: Scorer, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states, finish = [], ScoringJob.finish_part

    def watched(job: ScoringJob, *arguments: Any) -> None:
        finish(job, *arguments)
        states.append(json.loads((job.folder / "_manifest.json").read_text())["state"])

    monkeypatch.setattr(ScoringJob, "finish_part", watched)
    score_parquet(scorer, source, tmp_path / "out", part_rows=500)
    assert states == ["running", "running"]
    assert json.loads((tmp_path / "out" / "_manifest.json").read_text())["state"] == "finished"


def test_resume_does_not_read_what_lies_before(
    scorer: Scorer, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score_parquet(scorer, source, tmp_path / "out", keep=["row"], part_rows=200)
    parts(tmp_path / "out")[4].unlink()
    groups, read = [], pq.ParquetFile.iter_batches

    def iter_batches(file: Any, rows: int, *, row_groups: list[int], **options: Any) -> Any:
        groups.extend(row_groups)
        return read(file, rows, row_groups=row_groups, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", iter_batches)
    score_parquet(scorer, source, tmp_path / "out", keep=["row"], part_rows=200, resume=True)
    assert groups == [1, 2]  # of the second file: rows 630 to 829, and 830 to 999


class Killed(BaseException):
    """Stands in for a signal: nothing may catch it."""


def fail_after(
    scorer: Scorer, monkeypatch: pytest.MonkeyPatch, calls: int, error: BaseException
) -> None:
    original, seen = scorer.scores, iter(range(10**6))

    def scores(*args: object, **options: object) -> object:
        if next(seen) >= calls:
            raise error
        return original(*args, **options)

    monkeypatch.setattr(scorer, "scores", scores)


@pytest.mark.parametrize("calls", [0, 1, 4, 9])
def test_resume_after_a_stop_gives_every_row_once(
    bundle: Path, source: Path, big: pa.Table, tmp_path: Path, calls: int
) -> None:
    scorer = Scorer.load(bundle)
    out = tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        fail_after(scorer, patch, calls, Killed())
        score_parquet(scorer, source, out, keep=["row"], part_rows=150)
    finished = {path: path.stat().st_mtime_ns for path in parts(out)}
    done = score_parquet(scorer, source, out, keep=["row"], part_rows=150, resume=True)
    assert_whole(out, scorer, big)
    assert done.scored_rows == ROWS - 150 * len(finished)
    assert all(path.stat().st_mtime_ns == time for path, time in finished.items())


def test_resume_of_a_finished_job_does_nothing(
    scorer: Scorer, source: Path, tmp_path: Path
) -> None:
    score_parquet(scorer, source, tmp_path / "out")
    assert score_parquet(scorer, source, tmp_path / "out", resume=True).scored_rows == 0


def test_resume_repairs_a_damaged_and_a_missing_part(
    scorer: Scorer, source: Path, big: pa.Table, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    score_parquet(scorer, source, out, keep=["row"], part_rows=150)
    parts(out)[5].unlink()
    parts(out)[2].write_bytes(b"half")
    done = score_parquet(scorer, source, out, keep=["row"], part_rows=150, resume=True)
    assert done.scored_rows == 300
    assert_whole(out, scorer, big)


KILLED = """
import os, signal, sys
from recmtl.serve import Scorer, save_bundle, score_parquet
scorer = Scorer.load(sys.argv[1], threads=1)
original, calls = scorer.scores, iter(range(100))
def scores(*args, **options):
    if next(calls) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*args, **options)
scorer.scores = scores
score_parquet(scorer, sys.argv[2], sys.argv[3], keep=["row"], part_rows=150)
"""


def test_resume_after_sigkill_gives_every_row_once(
    bundle: Path, scorer: Scorer, source: Path, big: pa.Table, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", KILLED, str(bundle), str(source), str(out)]
    assert subprocess.run(command, check=False).returncode == -9
    assert list(out.glob(".part-*.partial"))
    assert 0 < len(parts(out)) < 7
    score_parquet(scorer, source, out, keep=["row"], part_rows=150, resume=True)
    assert_whole(out, scorer, big)
    assert not list(out.glob("*.partial")) and not list(out.glob(".part-*"))


def test_used_folder_is_refused_without_resume(
    scorer: Scorer, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("dear")
    with pytest.raises(DataError, match="is not empty"):
        score_parquet(scorer, source / "a.parquet", tmp_path)
    with pytest.raises(DataError, match="nothing can be resumed"):
        score_parquet(scorer, source / "a.parquet", tmp_path, resume=True)
    assert (tmp_path / "thesis.txt").read_text() == "dear"


def test_resume_of_another_job_is_refused(scorer: Scorer, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    score_parquet(scorer, source, out, keep=["row"])
    with pytest.raises(
        DataError, match=r"another job began there: keep was \[\"row\"\] and is \[\]"
    ):
        score_parquet(scorer, source, out, resume=True)
    (source / "b.parquet").unlink()
    with pytest.raises(DataError, match=r"content\.b\.parquet was .* and is absent, rows was"):
        score_parquet(scorer, source, out, keep=["row"], resume=True)


def test_data_rewritten_before_a_job_goes_on_are_refused(
    scorer: Scorer, source: Path, tmp_path: Path
) -> None:
    """Of the same name, size and statistics, they would give a mixture that nobody could see."""
    path, out = source / "a.parquet", tmp_path / "out"
    score_parquet(scorer, source, out, keep=["row"])
    os.utime(path, (1, 1))
    score_parquet(scorer, source, out, keep=["row"], resume=True)
    table, size = pq.read_table(path), path.stat().st_size
    rows = pq.ParquetFile(path).metadata.row_group(0).num_rows
    for order in ([1, 0], [0, 1]):
        turned = table.take([*order, *range(2, table.num_rows)])
        pq.write_table(turned, path, row_group_size=rows, compression="none", use_dictionary=False)
        size, before = path.stat().st_size, size
    assert size == before
    with pytest.raises(DataError, match=r"content\.a\.parquet was [\d,]+ bytes, hash .* and is"):
        score_parquet(scorer, source, out, keep=["row"], resume=True)


def test_another_engine_or_chunk_does_not_go_on(
    scorer: Scorer, source: Path, tmp_path: Path
) -> None:
    """Scores of another number of rows at once are equal to rounding only, not bit for bit."""
    score_parquet(scorer, source, tmp_path / "out")
    other = Scorer(scorer.bundle, chunk_rows=2 * scorer.chunk_rows)
    with pytest.raises(DataError, match=r"chunk_rows was \d+ and is \d+; resume it with the same"):
        score_parquet(other, source, tmp_path / "out", resume=True)
    other = Scorer(scorer.bundle)
    other.requested_engine = "onnx"
    with pytest.raises(DataError, match="engine was torch and is onnx"):
        score_parquet(other, source, tmp_path / "out", resume=True)


def test_a_folder_serves_one_job_at_a_time(scorer: Scorer, source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with hold_folder(out), pytest.raises(DataError, match="another job writes there"):
        score_parquet(scorer, source, out)
    score_parquet(scorer, source, out)


def test_output_inside_the_input_is_refused(scorer: Scorer, source: Path) -> None:
    with pytest.raises(DataError, match="lies in the input folder"):
        score_parquet(scorer, source, source / "scored")
    assert not (source / "scored").exists()


def rewrite(source: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(source / "b.parquet")), source / "b.parquet")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop_columns("price"), r"b\.parquet: column 'price': is missing"),
        (lambda t: t.drop_columns("row"), r"b\.parquet: column 'row': is missing"),
        (
            lambda t: t.set_column(4, "price", pa.array(["dear"] * t.num_rows)),
            r"b\.parquet, row group 0: column 'price'",
        ),
    ],
)
def test_a_missing_or_mistyped_column_is_named_and_no_half_file_stays(
    scorer: Scorer,
    source: Path,
    tmp_path: Path,
    change: Callable[[pa.Table], pa.Table],
    message: str,
) -> None:
    rewrite(source, change)
    with pytest.raises(DataError, match=message):
        score_parquet(scorer, source, tmp_path / "out", keep=["row"])
    assert not list((tmp_path / "out").glob("*part-*"))


def test_keep_may_not_collide_or_repeat(scorer: Scorer, source: Path, tmp_path: Path) -> None:
    rewrite(source, lambda t: t)
    clash = pq.read_table(source / "a.parquet").append_column("p_click", pa.array([0.5] * 430))
    pq.write_table(clash, tmp_path / "clash.parquet")
    with pytest.raises(DataError, match="'p_click': has the name of a scored column"):
        score_parquet(scorer, tmp_path / "clash.parquet", tmp_path / "out", keep=["p_click"])
    with pytest.raises(DataError, match="'row': is to be kept twice"):
        score_parquet(scorer, source, tmp_path / "out", keep=["row", "row"])
    assert not (tmp_path / "out").exists()


def test_a_kept_column_of_two_types_is_named(scorer: Scorer, source: Path, tmp_path: Path) -> None:
    def as_text(table: pa.Table) -> pa.Table:
        place = table.column_names.index("row")
        return table.set_column(place, "row", pa.array(["x"] * table.num_rows))

    rewrite(source, as_text)
    with pytest.raises(DataError, match=r"b\.parquet, row group 0: column 'row': is string"):
        score_parquet(scorer, source, tmp_path / "out", keep=["row"])
    assert not list((tmp_path / "out").glob(".part*"))


@pytest.mark.parametrize("content", [b"", b"PAR1 not really", None])
def test_files_that_are_no_parquet_are_named(
    scorer: Scorer, source: Path, tmp_path: Path, content: bytes | None
) -> None:
    whole = (source / "b.parquet").read_bytes()
    (source / "b.parquet").write_bytes(whole[:-100] if content is None else content)
    with pytest.raises(DataError, match=r"b\.parquet"):
        score_parquet(scorer, source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_damaged_page_is_named_by_row_group(scorer: Scorer, source: Path, tmp_path: Path) -> None:
    group = pq.ParquetFile(source / "b.parquet").metadata.row_group(1)
    chunk = group.column(group.num_columns - 1)
    content = bytearray((source / "b.parquet").read_bytes())
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content[start : start + 40] = b"\xff" * 40
    (source / "b.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"b\.parquet, row group 1"):
        score_parquet(scorer, source, tmp_path / "out", keep=["row"])
    assert not list((tmp_path / "out").glob(".part*"))


def test_nothing_to_read_is_an_error(scorer: Scorer, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data file"):
        score_parquet(scorer, tmp_path / "absent*.parquet", tmp_path / "out")


def test_full_disk_leaves_no_half_file_and_can_be_resumed(
    scorer: Scorer, source: Path, big: pa.Table, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    original, calls = pq.ParquetWriter.write_table, iter(range(100))

    def write_table(writer: pq.ParquetWriter, table: pa.Table) -> None:
        if next(calls) == 6:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(writer, table)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pq.ParquetWriter, "write_table", write_table)
        with pytest.raises(DataError, match=r"No space left on device.*--resume"):
            score_parquet(scorer, source, out, keep=["row"], part_rows=150)
    assert not list(out.glob(".part*"))
    score_parquet(scorer, source, out, keep=["row"], part_rows=150, resume=True)
    assert_whole(out, scorer, big)


def test_memory_holds_one_batch_at_a_time(
    scorer: Scorer, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between reading a batch and writing its scores, no other batch is read."""
    events: list[str] = []
    read, write = pq.ParquetFile.iter_batches, pq.ParquetWriter.write_table

    def iter_batches(*args: object, **options: object) -> Iterator[pa.RecordBatch]:
        for batch in read(*args, **options):
            events.append("read")
            yield batch

    def write_table(*args: object) -> None:
        events.append("write")
        write(*args)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", iter_batches)
    monkeypatch.setattr(pq.ParquetWriter, "write_table", write_table)
    score_parquet(scorer, source, tmp_path / "out")
    assert events == ["read", "write"] * (5 + 3)


def test_progress_shows_rows_and_speed(scorer: Scorer, source: Path, tmp_path: Path) -> None:
    console = Console(file=io.StringIO(), width=120)
    with rows_progress(console) as progress:
        score_parquet(scorer, source, tmp_path / "out", progress=progress)
    shown = console.file.getvalue()
    assert "1,000/1,000 rows" in shown
    assert "rows/s" in shown


def test_unseen_values_are_counted_for_this_job(
    scorer: Scorer, source: Path, tmp_path: Path, big: pa.Table
) -> None:
    first = score_parquet(scorer, source, tmp_path / "out")
    second = score_parquet(scorer, source, tmp_path / "again")
    assert first.unknown == second.unknown


PEAK = """
import resource, sys
from recmtl.serve import Scorer, score_parquet
score_parquet(Scorer.load(sys.argv[1]), sys.argv[2], sys.argv[3], part_rows=20_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_a_file_twice_as_large_takes_the_same_memory(tmp_path: Path) -> None:
    bundle, part = make_bundle(tmp_path / "bundle"), make_log(20_000)
    peaks = []
    for times in (5, 10):
        path = tmp_path / f"{times}.parquet"
        # One row group of all rows: not even that may be held at once.
        pq.write_table(pa.concat_tables([part] * times), path, row_group_size=10**7)
        command = [sys.executable, "-c", PEAK, str(bundle), str(path), str(tmp_path / f"o{times}")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout))
    assert peaks[1] - peaks[0] < 25, f"peaks in MB: {peaks}"

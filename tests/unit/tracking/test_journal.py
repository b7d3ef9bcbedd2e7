"""The journal holds what was logged, whole or not at all, and nothing that is secret."""

import json
import os
import threading
from pathlib import Path

import pytest

from recmtl.errors import ConfigError
from recmtl.tracking.journal import JOURNAL, Journal
from recmtl.tracking.run import TrackedRun


def test_events_come_out_as_they_went_in(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "new" / "out")
    journal.append("a", "start", name="main")
    events, offset = journal.read()
    assert events == [{"run": "a", "event": "start", "name": "main"}]
    journal.append("a", "text", text="two\nlines\u2028", path="x")
    later, end = journal.read(offset)
    assert later == [{"run": "a", "event": "text", "text": "two\nlines\u2028", "path": "x"}]
    assert journal.read(end) == ([], end)


def test_half_a_line_of_a_killed_process_is_passed_over_and_swallows_nothing(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path)
    journal.append("a", "start", name="main")
    whole = journal.path.read_bytes()
    for cut in range(1, len(whole)):
        journal.path.write_bytes(whole + whole[:cut])
        assert journal.read() == ([json.loads(whole)], len(whole)), "not read before it is whole"
        journal.append("b", "start", name="next")
        assert [event["run"] for event in journal.read()[0]] in (["a", "b"], ["a", "a", "b"])


def test_what_is_no_event_is_passed_over(tmp_path: Path) -> None:
    lines = [b"", b"[1]", b'"text"', b'{"run": 1}', b"\xff", b'{"run": "a", "event": "x"}', b""]
    (tmp_path / JOURNAL).write_bytes(b"\n".join(lines))
    assert Journal(tmp_path).read()[0] == [{"run": "a", "event": "x"}]


def test_many_writers_leave_whole_lines(tmp_path: Path) -> None:
    def write(name: str) -> None:
        for number in range(100):
            Journal(tmp_path).append(name, "text", text="x" * (number * 50))

    writers = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    events = Journal(tmp_path).read()[0]
    assert {name: sum(e["run"] == name for e in events) for name in "abcd"} == dict.fromkeys(
        "abcd", 100
    )


def test_runs_that_have_not_ended_are_named_from_within(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for run, event in (("a", "start"), ("b", "start"), ("c", "start"), ("b", "end")):
        journal.append(run, event)
    assert journal.unfinished() == ["c", "a"]


def test_files_of_other_folders_are_neither_written_down_nor_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    journal = Journal(tmp_path / "out")
    run = TrackedRun("a", journal)
    with pytest.raises(ConfigError, match="does not lie in"):
        run.log_file(tmp_path / "secret")
    (tmp_path / "out").mkdir()
    os.symlink(tmp_path / "secret", tmp_path / "out" / "link")
    for name in ("../secret", str(tmp_path / "secret"), "link", "a/../../secret"):
        with pytest.raises(ConfigError, match="does not lie in"):
            journal.file(name)


def test_secrets_are_masked_before_they_are_written_even_where_a_value_is_cut(
    tmp_path: Path,
) -> None:
    run = TrackedRun("a", Journal(tmp_path))
    url = "s3://user:hunter2@bucket/log?sig=hunter2"
    run.log_params({"data": url, "long": "x" * 485 + url, "nested": {"list": [url]}})
    run.set_tags({"data": url})
    run.log_text(f"see {url}", "note.txt")
    run.log_json({"a": url}, "a.json")
    text = run.journal.path.read_text()
    assert "hunter2" not in text and "bucket/log" in text


def test_a_folder_that_cannot_be_written_is_a_fault_and_no_exception(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    run = TrackedRun("a", Journal(tmp_path / "file" / "out"))
    run.log_metrics({"loss": 1.0})
    assert "cannot be written (Not a directory)" in run.journal.fault


def test_numbers_that_json_lacks_are_text(tmp_path: Path) -> None:
    run = TrackedRun("a", Journal(tmp_path))
    run.log_metrics({"a": float("nan"), "b": float("-inf"), "c": 1 / 3}, step=7)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    event = json.loads(run.journal.path.read_text(), parse_constant=refuse)
    assert event["metrics"] == {"a": "nan", "b": "-inf", "c": 1 / 3} and event["step"] == 7

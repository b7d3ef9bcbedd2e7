"""One folder, one job: who holds it is told, a dead one is replaced, another machine's is not."""

import errno
import fcntl
import json
import logging
import os
import platform
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from recmtl import interrupts
from recmtl.errors import DataError
from recmtl.folder_lock import LOCK, hold_folder

HOLDS = """
import sys
from pathlib import Path
from recmtl.folder_lock import hold_folder
with hold_folder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """Another process, which holds the folder until its input is closed."""
    command = [sys.executable, "-c", HOLDS, str(folder)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def write_owner(folder: Path, **changes: Any) -> None:
    started = datetime.now(UTC) - timedelta(hours=3)
    owner = {"pid": 2**22 + 5, "host": platform.node(), "command": "main.py"}
    owner |= {"started": started.isoformat(), **changes}
    (folder / LOCK).write_text(json.dumps(owner))


def test_a_folder_is_made_held_and_free_again_after_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    with pytest.raises(ZeroDivisionError), hold_folder(folder):
        assert json.loads((folder / LOCK).read_text())["pid"] == os.getpid()
        raise ZeroDivisionError
    assert not folder.exists(), "nothing is left of a job that has left nothing"
    with hold_folder(folder):
        (folder / "results.json").touch()
    assert [path.name for path in folder.iterdir()] == ["results.json"]


def test_an_empty_folder_that_was_there_stays(tmp_path: Path) -> None:
    with hold_folder(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_second_job_is_told_who_holds_the_folder(tmp_path: Path) -> None:
    other = holder(tmp_path)
    line = rf"another job writes there now: process {other.pid} on .* \(-c, begun \d+ seconds ago\)"
    with pytest.raises(DataError, match=rf"{line}; wait for it or choose"), hold_folder(tmp_path):
        pass
    other.communicate("")
    with hold_folder(tmp_path):
        pass


def test_the_folder_of_a_killed_job_is_taken_over_with_a_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = holder(tmp_path)
    other.send_signal(signal.SIGKILL)
    other.communicate()
    with caplog.at_level(logging.WARNING), hold_folder(tmp_path):
        pass
    [record] = caplog.records
    assert f"taken over from process {other.pid} on" in record.getMessage()
    caplog.clear()
    with hold_folder(tmp_path):
        assert caplog.records == []


def test_of_another_machine_nobody_knows_whether_the_job_runs(tmp_path: Path) -> None:
    write_owner(tmp_path, host="elsewhere", pid=7)
    line = r"process 7 on elsewhere \(main\.py, begun 3 hours ago\) holds it.*; if it has ended, "
    for _ in range(2):
        with pytest.raises(DataError, match=rf"{line}delete .*\.lock"), hold_folder(tmp_path):
            pass
    (tmp_path / LOCK).unlink()
    with hold_folder(tmp_path):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"pid": 3}'])
def test_a_lock_that_was_cut_short_holds_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text(text)
    with hold_folder(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("started", ["yesterday", None, 3])
def test_an_age_that_cannot_be_read_is_some_time(started: Any, tmp_path: Path) -> None:
    write_owner(tmp_path, host="elsewhere", started=started)
    with pytest.raises(DataError, match="begun some time ago"), hold_folder(tmp_path):
        pass


@pytest.mark.parametrize(
    ("pid", "holds"),
    [(os.getpid(), True), (2**22 + 5, False), (1, True)],
    ids=["ours", "dead", "first"],
)
def test_where_the_disk_knows_no_locks_the_number_of_the_process_decides(
    pid: int, holds: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    write_owner(tmp_path, pid=pid)
    if holds:
        with pytest.raises(DataError, match=f"process {pid} on"), hold_folder(tmp_path):
            pass
    else:
        with hold_folder(tmp_path):
            pass


def test_a_lock_removed_while_it_was_waited_for_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner before removes its file between our opening it and our locking it."""
    real, calls = fcntl.flock, []

    def flock(file: Any, how: int) -> None:
        if not calls:
            (tmp_path / LOCK).unlink()
        calls.append(how)
        real(file, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with hold_folder(tmp_path):
        assert len(calls) == 2
        with pytest.raises(DataError, match="another job writes there"), hold_folder(tmp_path):
            pass


def test_a_process_ended_by_force_frees_the_folder(tmp_path: Path) -> None:
    with hold_folder(tmp_path):
        [release] = interrupts._script.cleanups
        release()
        assert list(tmp_path.iterdir()) == []
    assert interrupts._script.cleanups == []


@pytest.mark.parametrize("place", ["file", "file/out"])
def test_a_file_in_the_way_is_the_system_s_error(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError), hold_folder(tmp_path / place):
        pass

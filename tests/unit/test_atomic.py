"""What is written is whole or absent, whatever happens while it is written."""

import json
import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl import atomic
from recmtl.atomic import new_file, new_folder, partial_path, write_json, write_text

KILLED = """
import os, signal, sys
from pathlib import Path
from recmtl.atomic import new_file, new_folder
maker = {"file": new_file, "folder": new_folder}[sys.argv[1]]
with maker(Path(sys.argv[2])) as partial:
    (partial if sys.argv[1] == "file" else partial / "part").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def fill(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / name).write_text(text)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.fixture
def old_file(tmp_path: Path) -> Path:
    path = tmp_path / "facts.json"
    path.write_text("old")
    return path


@pytest.fixture
def old_folder(tmp_path: Path) -> Path:
    path = tmp_path / "bundle"
    path.mkdir()
    fill(path, weights="old", card="old")
    return path


def test_a_file_keeps_its_old_content_until_the_block_ends(old_file: Path) -> None:
    with new_file(old_file) as partial:
        partial.write_text("new")
        assert old_file.read_text() == "old"
        assert partial == partial_path(old_file) and partial.name.startswith(".")
    assert old_file.read_text() == "new"
    assert names(old_file.parent) == {"facts.json"}


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, SystemExit])
def test_an_error_in_the_block_keeps_the_old_file(
    old_file: Path, error: type[BaseException]
) -> None:
    with pytest.raises(error), new_file(old_file) as partial:
        partial.write_text("half")
        raise error
    assert old_file.read_text() == "old"
    assert names(old_file.parent) == {"facts.json"}


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_in_the_block_keeps_the_old_folder(
    old_folder: Path, error: type[BaseException]
) -> None:
    with pytest.raises(error), new_folder(old_folder) as partial:
        fill(partial, weights="half")
        raise error
    assert contents(old_folder) == {"weights": "old", "card": "old"}
    assert names(old_folder.parent) == {"bundle"}


def test_a_folder_is_replaced_and_not_merged(old_folder: Path) -> None:
    with new_folder(old_folder) as partial:
        assert list(partial.iterdir()) == []
        fill(partial, weights="new")
        assert contents(old_folder)["weights"] == "old"
    assert contents(old_folder) == {"weights": "new"}
    assert names(old_folder.parent) == {"bundle"}


def test_a_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    with new_folder(tmp_path / "runs" / "mine" / "bundle") as partial:
        fill(partial, card="new")
    assert contents(tmp_path / "runs" / "mine" / "bundle") == {"card": "new"}


def test_a_block_that_writes_no_file_is_an_error_and_keeps_the_old_one(old_file: Path) -> None:
    with pytest.raises(FileNotFoundError), new_file(old_file):
        pass
    assert old_file.read_text() == "old"


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_kill_keeps_the_old_one_and_the_next_writer_clears_up(
    kind: str, old_file: Path, old_folder: Path
) -> None:
    path = {"file": old_file, "folder": old_folder}[kind]
    before = names(path.parent)
    done = subprocess.run([sys.executable, "-c", KILLED, kind, str(path)])
    assert done.returncode == -signal.SIGKILL
    assert names(path.parent) == before | {partial_path(path).name}
    assert "old" in (path.read_text() if kind == "file" else contents(path).values())
    if kind == "file":
        with new_file(path) as partial:
            assert not partial.exists(), "nothing can be appended to what is left of the killed one"
            partial.write_text("new")
        assert path.read_text() == "new"
    else:
        with new_folder(path) as partial:
            fill(partial, weights="new")
        assert contents(path) == {"weights": "new"}
    assert names(path.parent) == before


def test_what_a_kill_between_the_two_moves_left_is_deleted_by_the_next_writer(
    old_folder: Path,
) -> None:
    """The older folder lies aside under a hidden name, as it does after such a kill."""
    aside = old_folder.with_name(".bundle.old")
    os.replace(old_folder, aside)
    with new_folder(old_folder) as partial:
        assert contents(aside) == {"weights": "old", "card": "old"}, "kept until there is another"
        fill(partial, weights="new")
    assert names(old_folder.parent) == {"bundle"}
    assert contents(old_folder) == {"weights": "new"}


def failing_move(moves: int) -> Callable[..., None]:
    """`os.replace` that fails once, after some moves."""
    real, done = os.replace, 0

    def replace(source: Any, target: Any) -> None:
        nonlocal done
        done += 1
        if done == moves + 1:
            raise OSError("the disk is gone")
        real(source, target)

    return replace


@pytest.mark.parametrize("moves", [0, 1])
def test_a_move_that_fails_puts_the_old_folder_back(
    old_folder: Path, monkeypatch: pytest.MonkeyPatch, moves: int
) -> None:
    monkeypatch.setattr(atomic.os, "replace", failing_move(moves))
    with pytest.raises(OSError, match="the disk is gone"), new_folder(old_folder) as partial:
        fill(partial, weights="new")
    assert contents(old_folder) == {"weights": "old", "card": "old"}
    assert names(old_folder.parent) == {"bundle"}


def test_a_move_that_fails_keeps_the_old_file(
    old_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic.os, "replace", failing_move(0))
    with pytest.raises(OSError, match="the disk is gone"):
        write_text(old_file, "new")
    assert old_file.read_text() == "old"
    assert names(old_file.parent) == {"facts.json"}


@pytest.mark.parametrize("durable", [True, False])
def test_a_durable_file_is_flushed_before_the_move_and_its_name_after_it(
    old_file: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    steps: list[str] = []
    opened: dict[int, str] = {}
    real_open, real_fsync, real_replace = os.open, os.fsync, os.replace

    def open_file(path: Any, flags: int) -> int:
        descriptor = real_open(path, flags)
        opened[descriptor] = Path(path).name
        return descriptor

    def fsync(descriptor: int) -> None:
        steps.append(f"flush {opened[descriptor]}")
        real_fsync(descriptor)

    def replace(source: Any, target: Any) -> None:
        steps.append(f"move {Path(source).name}")
        real_replace(source, target)

    monkeypatch.setattr(atomic.os, "open", open_file)
    monkeypatch.setattr(atomic.os, "fsync", fsync)
    monkeypatch.setattr(atomic.os, "replace", replace)
    with new_file(old_file, durable=durable) as partial:
        partial.write_text("new")
    move, flushes = "move .facts.json.partial", ("flush .facts.json.partial",)
    folder = f"flush {old_file.parent.name}"
    assert steps == ([*flushes, move, folder] if durable else [move])
    assert old_file.read_text() == "new"


def test_a_disk_that_cannot_be_flushed_keeps_the_old_file(
    old_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError("input/output error")

    monkeypatch.setattr(atomic.os, "fsync", fsync)
    with pytest.raises(OSError, match="input/output"):
        write_text(old_file, "new", durable=True)
    assert old_file.read_text() == "old"
    assert names(old_file.parent) == {"facts.json"}


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # surrogates are not UTF-8
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda children: st.lists(children) | st.dictionaries(st.text("ab\u00e9"), children),
    max_leaves=8,
)


@given(values)
def test_json_is_read_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, content: object
) -> None:
    path = tmp_path_factory.mktemp("json") / "content.json"
    write_json(path, content)
    text = path.read_text(encoding="utf-8")
    assert text.endswith("\n") and json.loads(text) == content


@pytest.mark.parametrize(("content", "error"), [(math.nan, ValueError), ({1, 2}, TypeError)])
def test_what_is_not_json_is_refused_before_anything_is_written(
    old_file: Path, content: object, error: type[Exception]
) -> None:
    with pytest.raises(error):
        write_json(old_file, {"metric": content})
    assert old_file.read_text() == "old"
    assert names(old_file.parent) == {"facts.json"}


def test_nan_is_written_where_the_caller_allows_it(old_file: Path) -> None:
    write_json(old_file, [math.nan, math.inf], allow_nan=True)
    read = json.loads(old_file.read_text())
    assert math.isnan(read[0]) and read[1] == math.inf


def test_text_is_utf_8_on_every_system(tmp_path: Path) -> None:
    write_text(tmp_path / "card.md", "Größe 5 µs\n")
    assert (tmp_path / "card.md").read_bytes() == "Größe 5 µs\n".encode()

"""The names of the package: light to import, all there, and rooms that can be called."""

import inspect
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import recmtl
import recmtl.search
from recmtl.run import steps
from recmtl.search.vote import vote

ROOT = Path(__file__).resolve().parents[3]


def python(script: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_importing_the_package_loads_nothing_of_it_and_nothing_heavy() -> None:
    script = (
        "import sys, typing; before = set(sys.modules); import recmtl; dir(recmtl); "
        "loaded = set(sys.modules) - before - {'collections.abc'}; "
        "print(sorted(name for name in loaded if name.split('.')[0] != 'importlib'))"
    )
    assert python(script) == "['recmtl']"


def test_every_public_name_is_there_and_listed() -> None:
    assert set(recmtl.__all__) <= set(dir(recmtl))
    for name in recmtl.__all__:
        assert getattr(recmtl, name) is not None
    assert recmtl.__version__ == version("recmtl")
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        _ = recmtl.fitt  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["search", "train", "evaluate"])
def test_a_room_that_is_named_like_a_step_is_both(name: str) -> None:
    room = getattr(recmtl, name)
    assert room is sys.modules[f"recmtl.{name}"]
    assert inspect.signature(room) == inspect.signature(getattr(steps, name))
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'run'"):
        room()


def test_modules_of_such_a_room_are_imported_as_ever() -> None:
    assert recmtl.search.vote.vote is vote  # type: ignore[attr-defined]
    assert python("from recmtl.train import presets; print(bool(presets.PRESETS))") == "True"


@pytest.mark.parametrize("first", ["import recmtl.search.vote", "import recmtl", "pass"])
def test_a_step_can_be_called_whatever_was_imported_before(first: str) -> None:
    script = "\n".join([first, "import recmtl", "print(callable(recmtl.search))"])
    assert python(script) == "True"

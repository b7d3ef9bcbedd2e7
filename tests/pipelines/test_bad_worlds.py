"""Whatever is wrong outside, every script says it in one line with status 2, and leaves nothing."""

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from recmtl.command.main import main
from recmtl.simulate import simulate
from tests.pipelines.bad_worlds import CHANGES, WORLDS, World
from tests.pipelines.conftest import CONFIG, SCHEMA
from tests.unit.serve.shop import make_bundle, make_log

# One way leads through all steps of the job: each world is tried on the whole job and one of them.
OTHERS = ("prepare", "search", "train", "evaluate", "benchmark")
DRAWN = {(OTHERS[number % len(OTHERS)], name) for number, name in enumerate(CHANGES)}
CASES = [
    case if case[0] not in OTHERS or case in DRAWN else pytest.param(*case, marks=pytest.mark.slow)
    for case in WORLDS
]


def run_script(name: str, arguments: Sequence[str]) -> int:
    return main(["run" if name == "main" else name, *arguments])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("good")
    simulate(folder / "log.parquet", 300, users=30, items=20)
    (folder / "config.yaml").write_text(CONFIG)
    make_bundle(folder / "bundle")
    names = ("log.parquet", "config.yaml", "bundle")
    data, config, bundle = (str(folder / name) for name in names)
    pq.write_table(make_log(300), folder / "scored.parquet")
    return World(folder, data, str(SCHEMA), config, "", bundle)


def world_of(script: str, shared: World, folder: Path) -> World:
    """A world in which everything is right, with a folder that may be changed."""
    data = str(shared.folder / "scored.parquet") if script == "score" else shared.data
    return replace(shared, folder=folder, data=data, out=str(folder / "out"))


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def unlogged(files: dict[str, bytes | None]) -> dict[str, bytes | None]:
    """All but the journals, in which a job says that it has failed."""
    return {name: text for name, text in files.items() if not name.endswith("/tracking.jsonl")}


@pytest.mark.parametrize(("script", "name"), CASES)
def test_a_bad_world_is_one_line_and_leaves_nothing(
    script: str,
    name: str,
    shared: World,
    tmp_path: Path,
    tracking: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change, text = CHANGES[name]
    bad = change(world_of(script, shared, tmp_path))
    before = snapshot(bad.folder)
    status = run_script(script, bad.arguments(script))
    written = capsys.readouterr()
    lines = written.err.strip().splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert status == 2 and written.out == ""
    assert len(errors) == 1 and lines[-1:] == errors, written.err
    assert re.search(text, errors[0]), errors[0]
    assert "Traceback" not in written.err
    left = snapshot(bad.folder)
    if script == "score" and "out/_manifest.json" in left:
        # Its parts before the fault are kept; the list of them is what --resume goes on from.
        assert json.loads(left.pop("out/_manifest.json") or b"")["finished"] == {}
        assert left.pop("out") is None
    if left.pop("out/tracking.jsonl", None) is not None:
        del left["out"]  # that it failed is logged, and nothing else is there
    if "out" not in before:
        assert "out" not in left
    assert unlogged(left) == unlogged(before)


def test_debug_shows_where_an_error_comes_from(
    shared: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = CHANGES["no data"][0](world_of("describe", shared, tmp_path))
    assert main(["describe", *bad.arguments("describe"), "--debug"]) == 2
    written = capsys.readouterr().err
    assert "Traceback" in written and written.splitlines()[-1].startswith("error: ")

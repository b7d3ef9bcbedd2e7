"""A job on an engine that fails or is killed goes on with what it has finished."""

import json
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cloudpickle
import pyarrow.parquet as pq
import pytest

from recmtl.atomic import partial_path
from recmtl.data.passes import encode as encoding
from recmtl.data.prepare import prepare
from recmtl.data.reader import open_log
from recmtl.engines.folds import FoldT
from recmtl.errors import DataError
from recmtl.schema import Schema, SideTable, parse_schema
from tests.unit.data.conftest import SCHEMA
from tests.unit.data.past_cases import log_table, schema_of
from tests.unit.engines.pieces import Pieces, differing_files
from tests.unit.engines.test_equal_logs import shop

ENTRIES = "{name: u, key: user, of: [click], %s}"


class Failing(Pieces):
    """Fails in the last pass, after so many pieces."""

    def __init__(self, parts: int, passes: int, after: int) -> None:
        super().__init__(parts)
        self._last, self._after = passes, after

    def fold(self, work: Callable[[Sequence[Any]], FoldT], units: Sequence[Any]) -> FoldT:
        if self.passes + 1 < self._last:
            return super().fold(work, units)
        for unit in range(self._after):
            cloudpickle.loads(cloudpickle.dumps(work))(units[unit : unit + 1])
        raise DataError("Spark failed: the last worker is gone")


def passes_of(data: Path, schema: Schema, out: Path) -> int:
    engine = Pieces(99)
    prepare(data, schema, out, engine=engine)
    return engine.passes


def with_statistics(folder: Path, roles: str) -> tuple[Path, Schema]:
    log = folder / "log.parquet"
    pq.write_table(log_table(300, seed=5), log, row_group_size=41)
    period = "grain: 1" if "time" in roles else "folds: 3"
    return log, schema_of(ENTRIES % period, roles=roles)


@pytest.mark.parametrize("case", ["{time: t}", "{group: user}", "shop"])
def test_it_goes_on_to_the_same_bytes(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if case == "shop":
        data, schema = shop(tmp_path), parse_schema(SCHEMA, source="shop.yaml")
    else:
        data, schema = with_statistics(tmp_path, case)
    prepare(data, schema, tmp_path / "whole")
    passes = passes_of(data, schema, tmp_path / "other")
    with pytest.raises(DataError, match="the last worker is gone"):
        prepare(data, schema, tmp_path / "out", engine=Failing(99, passes, after=3))
    notes = partial_path(tmp_path / "out") / "unfinished"
    assert len(list(notes.iterdir())) == 4
    encoded: list[int] = []
    whole = encoding._EncodedRows.__call__

    def counted(self: Any, batch: Any) -> Any:
        encoded.append(batch.first)
        return whole(self, batch)

    monkeypatch.setattr(encoding._EncodedRows, "__call__", counted)
    engine = Pieces(99, seed=4)
    prepare(data, schema, tmp_path / "out", engine=engine)
    units = open_log(data, schema.tables).units()
    assert not {unit.first for unit in units[:3]} & set(encoded) or case == "shop"
    assert engine.passes < passes
    assert differing_files(tmp_path / "whole", tmp_path / "out") == []
    assert not partial_path(tmp_path / "out").exists()


def test_a_piece_that_was_half_written_is_written_again(tmp_path: Path) -> None:
    data, schema = with_statistics(tmp_path, "{time: t}")
    prepare(data, schema, tmp_path / "whole")
    passes = passes_of(data, schema, tmp_path / "other")
    with pytest.raises(DataError):
        prepare(data, schema, tmp_path / "out", engine=Failing(99, passes, after=4))
    unfinished = partial_path(tmp_path / "out")
    last = max((unfinished / "unfinished").glob("*-*.json"), key=lambda p: p.stat().st_mtime_ns)
    last.unlink()
    for array in unfinished.glob("*/numeric.npy"):
        content = bytearray(array.read_bytes())
        content[-40:] = b"\x07" * 40
        array.write_bytes(content)
    for note in (unfinished / "unfinished").glob("*-*.json"):
        note.unlink()
    prepare(data, schema, tmp_path / "out", engine=Pieces(3))
    assert differing_files(tmp_path / "whole", tmp_path / "out") == []


def test_other_data_begin_anew(tmp_path: Path) -> None:
    data, schema = with_statistics(tmp_path, "{time: t}")
    passes = passes_of(data, schema, tmp_path / "other")
    with pytest.raises(DataError):
        prepare(data, schema, tmp_path / "out", engine=Failing(99, passes, after=2))
    pq.write_table(log_table(300, seed=6), data, row_group_size=41)
    prepare(data, schema, tmp_path / "whole")
    engine = Pieces(99)
    prepare(data, schema, tmp_path / "out", engine=engine)
    assert engine.passes == passes
    assert differing_files(tmp_path / "whole", tmp_path / "out") == []


def test_without_an_engine_an_unfinished_log_is_made_anew(tmp_path: Path) -> None:
    data, schema = with_statistics(tmp_path, "{time: t}")
    passes = passes_of(data, schema, tmp_path / "other")
    with pytest.raises(DataError):
        prepare(data, schema, tmp_path / "out", engine=Failing(99, passes, after=2))
    prepare(data, schema, tmp_path / "out")
    assert differing_files(tmp_path / "other", tmp_path / "out") == []


def test_a_damaged_note_is_named(tmp_path: Path) -> None:
    data, schema = with_statistics(tmp_path, "{time: t}")
    passes = passes_of(data, schema, tmp_path / "other")
    with pytest.raises(DataError):
        prepare(data, schema, tmp_path / "out", engine=Failing(99, passes, after=2))
    note = partial_path(tmp_path / "out") / "unfinished" / "fit.json"
    note.write_text("{")
    with pytest.raises(DataError, match=r"fit\.json: is damaged .*; delete its folder and run"):
        prepare(data, schema, tmp_path / "out", engine=Pieces(2))


def test_what_travels_finds_its_files_from_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop(tmp_path)
    monkeypatch.chdir(tmp_path)
    log = open_log("log", [SideTable("users.parquet", "user_id")])
    expected = [batch.columns for batch in log.batches(["user_id", "city"])]
    sent = pickle.dumps(log)
    assert b"city 3" not in sent, "a side table is read where it is needed"
    monkeypatch.chdir("/")
    arrived = pickle.loads(sent)
    columns = [batch.columns for batch in arrived.batches(["user_id", "city"])]
    assert columns == expected
    assert [file.path for file in log.files] == [Path(f"log/{n}.parquet") for n in range(3)]


def test_a_unit_is_a_row_group_with_its_place_in_the_log(tmp_path: Path) -> None:
    data = shop(tmp_path, rows=100, group_rows=20, files=2)
    log = open_log(data, [SideTable("users.parquet", "user_id")])
    units = log.units()
    assert [(u.file, u.group, u.first, u.rows) for u in units] == [
        (0, 0, 0, 20),
        (0, 1, 20, 20),
        (0, 2, 40, 10),
        (1, 0, 50, 20),
        (1, 1, 70, 20),
        (1, 2, 90, 10),
    ]
    batches = list(log.batches(["item_id"], units=[units[1], units[4]]))
    assert [(batch.first, batch.rows) for batch in batches] == [(20, 20), (70, 20)]


def test_notes_hold_no_more_than_json(tmp_path: Path) -> None:
    data, schema = with_statistics(tmp_path, "{time: t}")
    passes = passes_of(data, schema, tmp_path / "other")
    with pytest.raises(DataError):
        prepare(data, schema, tmp_path / "out", engine=Failing(99, passes, after=1))
    notes = partial_path(tmp_path / "out") / "unfinished"
    for note in notes.iterdir():
        json.loads(note.read_text())

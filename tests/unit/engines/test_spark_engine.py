"""Passes on a real Spark: equal bytes, an executor that is killed, and the command."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from recmtl.command.main import main
from recmtl.data.prepare import prepare
from recmtl.engines import spark as engine
from recmtl.engines.spark import SparkEngine, row_engine
from recmtl.errors import ConfigError, DataError
from recmtl.schema import load_schema, parse_schema
from recmtl.simulate import simulate
from tests.chaos.local_spark import local_spark
from tests.unit.data.conftest import SCHEMA
from tests.unit.data.past_cases import log_table, schema_of
from tests.unit.engines.pieces import differing_files
from tests.unit.engines.test_equal_logs import SIMULATED, shop

slow = pytest.mark.slow


@dataclass
class Digits:
    """A fold that shows its order."""

    digits: list[int] = field(default_factory=list)

    def add(self, digit: int) -> None:
        self.digits.append(digit)

    def merge(self, later: "Digits") -> None:
        self.digits += later.digits


@dataclass(frozen=True)
class Unit:
    digit: int
    rows: int = 1


def digits_of(units: Sequence[Unit]) -> Digits:
    return Digits([unit.digit for unit in units])


@pytest.fixture(scope="module")
def session() -> Iterator[Any]:
    with local_spark() as session:
        yield session


@slow
def test_results_are_merged_in_the_order_of_the_rows(session: Any) -> None:
    units = [Unit(digit) for digit in range(300)]
    for pieces in (1, 2, 17, 300):
        merged = SparkEngine(pieces=pieces).fold(digits_of, units)
        assert merged.digits == list(range(300))


@slow
def test_logs_have_the_bytes_of_one_machine(session: Any, tmp_path: Path) -> None:
    """A killed worker in between: Spark runs its piece again."""
    simulate(tmp_path / "plain.parquet", 2000, seed=1, users=300, items=200)
    table = pq.read_table(tmp_path / "plain.parquet")
    pq.write_table(table, tmp_path / "simulated.parquet", row_group_size=150)
    pq.write_table(log_table(300, seed=5), tmp_path / "past.parquet", row_group_size=41)
    entries = "{name: u, key: user, of: [click, like], grain: 1}"
    logs = {
        "simulated": (tmp_path / "simulated.parquet", load_schema(SIMULATED)),
        "past": (tmp_path / "past.parquet", schema_of(entries)),
        "shop": (shop(tmp_path), parse_schema(SCHEMA, source="shop.yaml")),
    }
    for name, (data, schema) in logs.items():
        prepare(data, schema, tmp_path / name / "whole")
        for pieces in (1, 2, 5):
            out = tmp_path / name / f"{pieces}"
            prepare(data, schema, out, engine=SparkEngine(pieces=pieces))
            assert differing_files(tmp_path / name / "whole", out) == [], (name, pieces)


@slow
def test_a_fault_of_the_data_is_told_in_its_line(session: Any, tmp_path: Path) -> None:
    table = log_table(60)
    clicks = table["click"].to_numpy().copy()
    clicks[50] = 7
    table = table.set_column(table.column_names.index("click"), "click", [clicks])
    pq.write_table(table, tmp_path / "log.parquet", row_group_size=20)
    schema = schema_of("{name: u, key: user, of: [like], grain: 1}")
    with pytest.raises(DataError, match=r"log\.parquet, row group 2: column 'click': holds 7"):
        prepare(tmp_path / "log.parquet", schema, tmp_path / "out", engine=SparkEngine(pieces=3))
    assert not (tmp_path / "out").exists()


@slow
def test_the_command_prepares_on_spark(
    session: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pq.write_table(log_table(200), tmp_path / "log.parquet", row_group_size=30)
    (tmp_path / "schema.yaml").write_text(
        "version: 1\nname: shop\nfeatures: {item: {kind: categorical}}\n"
        "tasks: {click: {kind: binary, label: click}}\nsplit: {by: random}\n"
    )
    options = ["prepare", "--data", str(tmp_path / "log.parquet"), "--json", "--quiet"]
    options += ["--schema", str(tmp_path / "schema.yaml")]
    prints = []
    for name, more in (("local", []), ("spark", ["--engine", "spark", "--pieces", "4"])):
        assert main([*options, "--out", str(tmp_path / name), *more]) == 0
        prints.append(json.loads(capsys.readouterr().out)["fingerprint"])
    assert prints[0] == prints[1]
    assert differing_files(tmp_path / "local" / "log", tmp_path / "spark" / "log") == []


@slow
def test_another_master_than_that_of_the_session_is_refused(session: Any) -> None:
    with pytest.raises(ConfigError, match="master is 'yarn', and a Spark session runs on 'local"):
        SparkEngine(master="yarn")


def test_options_of_spark_are_refused_for_another_engine() -> None:
    assert row_engine("local") is None
    for options in ({"master": "local[2]"}, {"pieces": 3}):
        with pytest.raises(ConfigError, match="--master and --pieces are for --engine spark"):
            row_engine("local", **options)


def test_without_pyspark_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pyspark is not installed: pip install 'recmtl\[spark"):
        row_engine("spark")

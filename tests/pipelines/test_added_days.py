"""Added days by the command line: `--like` keeps the vocabularies, and its error is one line."""

from pathlib import Path

import numpy as np
import pytest

from recmtl.command.main import main
from recmtl.data.encoded_log import EncodedLog
from recmtl.simulate import simulate
from tests.pipelines.conftest import SCHEMA


@pytest.fixture(scope="module")
def base(tracking: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("added")
    simulate(folder / "one.parquet", 600, seed=1)
    simulate(folder / "two.parquet", 500, seed=2)
    assert encode(folder, "one") == 0
    return folder


def encode(folder: Path, name: str, *options: str) -> int:
    given = ["--data", str(folder / f"{name}.parquet"), "--schema", str(SCHEMA)]
    return main(["prepare", *given, "--out", str(folder / name), *options])


def test_added_days_have_the_table_of_the_earlier_log(base: Path) -> None:
    assert encode(base, "two", "--like", str(base / "one" / "log")) == 0
    one, two = (EncodedLog.open(base / name / "log") for name in ("one", "two"))
    assert two.encoder().encoding == one.encoder().encoding
    rows = np.concatenate([two.split(part).ids for part in ("train", "validation", "test")])
    assert len(rows) == 500 and rows.max() < one.encoder().encoding.table_rows


def test_an_earlier_log_that_is_not_there_is_named(
    base: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert encode(base, "one", "--like", str(base / "nowhere")) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(told) == 1 and "nowhere" in told[0]

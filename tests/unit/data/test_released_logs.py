"""Encoded logs of earlier releases are opened and trained on, and are what is prepared today."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from recmtl.data.encoded_log import EncodedLog, LogSplit
from recmtl.data.prepare import prepare
from recmtl.schema import load_schema
from recmtl.train.tabular_problem import TabularProblem

LOGS = Path(__file__).parents[2] / "data" / "logs"
RELEASES = sorted(folder.name for folder in LOGS.iterdir())
PARTS = ("train", "validation", "test")


def same_rows(split: LogSplit, other: LogSplit) -> None:
    for name in LogSplit.__annotations__:
        np.testing.assert_array_equal(getattr(split, name), getattr(other, name), err_msg=name)


def test_there_is_a_log_of_a_release() -> None:
    assert "0.1" in RELEASES


@pytest.mark.parametrize("release", RELEASES)
def test_it_opens_with_its_encoder_its_labels_and_a_problem(release: str) -> None:
    log = EncodedLog.open(LOGS / release / "log")
    problem = TabularProblem.of(log)
    assert [task.name for task in problem.tasks] == ["click", "stars"]
    assert [len(log.split(part)) for part in PARTS] == [68, 26, 26]
    assert log.label_statistics["stars"].classes == (1, 2, 3)


@pytest.mark.parametrize("release", RELEASES)
def test_its_encoder_gives_the_rows_that_it_gave(release: str) -> None:
    log = EncodedLog.open(LOGS / release / "log")
    encoded = log.encoder().encode(pq.read_table(LOGS / release / "log.parquet"))
    for part in PARTS:
        split = log.split(part)
        np.testing.assert_array_equal(encoded.ids[split.row], split.ids)
        np.testing.assert_array_equal(encoded.numeric[split.row], split.numeric)


@pytest.mark.parametrize("release", RELEASES)
def test_the_same_data_are_prepared_to_the_same_log(
    release: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Byte for byte, so that a log prepared before is taken up and not prepared again.

    Later releases count more, and add that to the manifest.
    """
    schema = load_schema(LOGS / release / "schema.yaml", stored=True)
    monkeypatch.chdir(LOGS / release)
    there, now = EncodedLog.open("log"), prepare("log.parquet", schema, tmp_path / "log")
    assert now.manifest | there.manifest == now.manifest
    for part in PARTS:
        same_rows(now.split(part), there.split(part))

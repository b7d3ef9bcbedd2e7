"""Real logs in pieces, on Spark where it is installed, have the bytes of logs prepared at once."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from recmtl.data.prepare import prepare
from recmtl.engines.folds import RowEngine
from recmtl.engines.spark import SparkEngine
from recmtl.schema import load_schema
from tests.chaos.local_spark import local_spark
from tests.unit.engines.pieces import Pieces, differing_files

DATASETS = Path(__file__).resolve().parents[3] / "datasets"
LOGS = {
    "kuairand": ("kuairand_pure/log_0425_0430.parquet", "kuairand_pure/schema_statistics.yaml"),
    "census": ("census_income/train.parquet", "census_income/schema.yaml"),
}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["pieces", "spark"])
@pytest.mark.parametrize("name", LOGS)
def test_real_logs_have_the_same_bytes(
    name: str, engine: str, real_data: Path, tmp_path: Path
) -> None:
    path, schema = real_data / LOGS[name][0], load_schema(DATASETS / LOGS[name][1])
    for side_table in path.parent.glob("*.parquet"):
        (tmp_path / side_table.name).symlink_to(side_table)
    (tmp_path / path.name).unlink()
    pq.write_table(pq.read_table(path), tmp_path / path.name, row_group_size=20_000)
    prepare(tmp_path / path.name, schema, tmp_path / "whole")

    def equals(number: int, made: RowEngine) -> None:
        prepare(tmp_path / path.name, schema, tmp_path / f"{number}", engine=made)
        assert differing_files(tmp_path / "whole", tmp_path / f"{number}") == []

    if engine == "pieces":
        for pieces in (2, 5):
            equals(pieces, Pieces(pieces))
    else:
        with local_spark():
            equals(5, SparkEngine(pieces=5))

"""The shop's log with forests of a few trees."""

import pyarrow.parquet as pq
import pytest

from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
from recmtl.forest.grown import GrownForests, grow_forests
from recmtl.forest.settings import Trees
from recmtl.schema import parse_schema
from tests.unit.serve.shop import SCHEMA, make_log

FEW = Trees(enabled=True, rounds=8, leaves=5, smallest_leaf=5, folds=3)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> EncodedLog:
    """The encoded log of 600 rows."""
    folder = tmp_path_factory.mktemp("shop")
    pq.write_table(make_log(600), folder / "log.parquet")
    schema = parse_schema(SCHEMA, source="shop.yaml")
    return prepare(str(folder / "log.parquet"), schema, folder / "log")


@pytest.fixture(scope="module")
def grown(log: EncodedLog) -> GrownForests:
    """Its forests."""
    return grow_forests(log, log.folder.parent / "forest", FEW, threads=1, seed=0)

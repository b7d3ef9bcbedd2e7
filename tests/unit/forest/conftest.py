"""The shop's log with forests of a few trees."""

import pytest

from recmtl.data.encoded_log import EncodedLog
from recmtl.forest.grown import GrownForests
from tests.unit.serve.forest_shop import encoded_log, forests_of


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> EncodedLog:
    """The encoded log of 600 rows."""
    return encoded_log(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="module")
def grown(log: EncodedLog) -> GrownForests:
    """Its forests."""
    return forests_of(log)

"""The shop's log, encoder, bundle and scorer, made once a session."""

from pathlib import Path

import pyarrow as pa
import pytest

from recmtl.data.encoder import Encoder
from recmtl.serve import Scorer
from tests.unit.serve.shop import make_bundle, make_log


@pytest.fixture(scope="session")
def log() -> pa.Table:
    """Seven hundred rows: more than one chunk and no multiple of one."""
    return make_log(700)


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle folder; tests that alter it copy it first."""
    return make_bundle(tmp_path_factory.mktemp("shop") / "bundle")


@pytest.fixture(scope="session")
def encoder(bundle: Path) -> Encoder:
    """The preprocessing fitted on the log."""
    return Encoder.load(bundle / "encoder")


@pytest.fixture(scope="session")
def scorer(bundle: Path) -> Scorer:
    """The scorer of that bundle."""
    return Scorer.load(bundle)

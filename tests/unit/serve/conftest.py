"""The shop's log, encoder, bundle and scorer, made once a session."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recmtl.data.row_encoder import RowEncoder
from recmtl.serve import Scorer, save_bundle
from recmtl.serve.calibration.calibrators import Calibrators, ColumnCalibration, Platt
from tests.unit.serve.shop import HEADS, ROWS, USER, make_bundle, make_log, make_model


@pytest.fixture(scope="session")
def log() -> pa.Table:
    """Seven hundred rows: more than one chunk and no multiple of one."""
    return make_log(700)


@pytest.fixture(scope="session")
def big() -> pa.Table:
    """A log of several row groups, its rows numbered."""
    return make_log(ROWS, seed=5).append_column("row", pa.array(np.arange(ROWS)))


@pytest.fixture
def source(big: pa.Table, tmp_path: Path) -> Path:
    """Two files with row groups of uneven sizes."""
    folder = tmp_path / "log"
    folder.mkdir()
    pq.write_table(big.slice(0, 430), folder / "a.parquet", row_group_size=97)
    pq.write_table(big.slice(430), folder / "b.parquet", row_group_size=200)
    return folder


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle folder; tests that alter it copy it first."""
    return make_bundle(tmp_path_factory.mktemp("shop") / "bundle")


@pytest.fixture(scope="session")
def encoder(bundle: Path) -> RowEncoder:
    """The preprocessing fitted on the log."""
    return RowEncoder.load(bundle / "encoder")


@pytest.fixture(scope="session")
def scorer(bundle: Path) -> Scorer:
    """The scorer of that bundle."""
    return Scorer.load(bundle)


@pytest.fixture(scope="session")
def carrying(log: pa.Table, encoder: RowEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated bundle that carries its network as ONNX, and one for requests."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    unseen = int(encoder.unknown_rows()[1][0])
    maps = {"p_click": ColumnCalibration(Platt(0.7, 0.2), {unseen: Platt(2.0, 0.0)})}
    options = {"heads": HEADS, "encoding": encoder.encoding, "segment": "user_id"}
    return save_bundle(
        tmp_path_factory.mktemp("request") / "bundle",
        model=make_model(encoder),
        encoder=encoder,
        rows=log,
        metrics={},
        calibrators=Calibrators(maps, **options),
        user=USER,
        onnx=True,
    )

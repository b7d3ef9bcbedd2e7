"""Every way to share in the catalog, as ONNX: the torch network's scores to float32 rounding."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from recmtl.data.row_encoder import RowEncoder
from recmtl.grid.catalog import CATALOG
from recmtl.model import ModelSizes, TabularModel
from recmtl.serve.bundle.onnx_export import write_network
from recmtl.serve.scoring.onnx import OnnxNetwork, equal_to_rounding
from tests.unit.serve.shop import HEADS, SCHEMA, make_encoder, make_log

pytestmark = pytest.mark.chaos
# Not the exponent of a network whose weights are made up: it would leave float32.
PLAIN_HEADS = tuple(replace(head, transform="none") for head in HEADS)
SCHEMAS = {
    "all kinds": SCHEMA,
    "no lists": SCHEMA.replace("  history: {kind: list, table: item, max_length: 4}\n", ""),
    "no numbers": SCHEMA.replace("  price: {kind: numeric, encoding: standard}\n", "").replace(
        "  age: {kind: numeric}\n", ""
    ),
    "several sizes": SCHEMA.replace("item: {kind: categorical", "item: {kind: categorical, dim: 5"),
    "summed lists": SCHEMA.replace("max_length: 4", "max_length: 4, pooling: sum"),
}


@pytest.fixture(scope="module")
def log() -> pa.Table:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    return make_log(400)


def assert_equal(encoder: RowEncoder, name: str, folder: Path) -> None:
    torch.manual_seed(3)
    layout = CATALOG[name].layout(len(HEADS), cells=6, widths=(16, 8), depth=2)
    sizes = ModelSizes(embedding=8, tower=(8,))
    model = TabularModel(encoder.encoding, PLAIN_HEADS, layout=layout, sizes=sizes).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.2).add_(0.03 * torch.randn_like(parameter))
        for table in model.encoder.tables:
            table[0] = 0.0  # padding, which no training moves
    network = OnnxNetwork(write_network(model, folder / "n.onnx", {}), model.columns)
    encoding = encoder.encoding
    for rows in (1, 2, 37, 600):
        dice = np.random.default_rng(rows)
        ids = model.encoder.random_ids(rows, torch.Generator().manual_seed(rows)).numpy()
        numeric = dice.normal(0.0, 2.0, (rows, len(encoding.numeric))).astype(np.float32)
        numeric[dice.random(numeric.shape) < 0.3] = np.nan
        expected = model.predict(torch.from_numpy(ids), torch.from_numpy(numeric)).numpy()
        assert np.isfinite(expected).all()
        assert equal_to_rounding(network.scores(ids, numeric), expected), rows


@pytest.mark.parametrize("name", CATALOG)
def test_layouts(name: str, log: pa.Table, tmp_path: Path) -> None:
    assert_equal(make_encoder(log), name, tmp_path)


@pytest.mark.parametrize("schema", SCHEMAS)
def test_kinds_of_features(schema: str, log: pa.Table, tmp_path: Path) -> None:
    assert_equal(make_encoder(log, SCHEMAS[schema]), "shared_bottom", tmp_path)

"""A network with every model of a label scores as ONNX what it scores in torch."""

from pathlib import Path

import numpy as np
import pytest
import torch

from recmtl.grid import mmoe
from recmtl.model import ModelSizes, TabularModel
from recmtl.model.heads import HeadSpec
from recmtl.schema import GroupLoss, Head
from recmtl.serve.bundle.onnx_export import write_network
from recmtl.serve.scoring.onnx import OnnxNetwork, equal_to_rounding
from tests.tabular_problems import ENCODING
from tests.unit.model.test_label_models import LABELS, head_of


@pytest.mark.slow
def test_every_head_is_exported(tmp_path: Path) -> None:
    torch.manual_seed(0)
    options = {"ziln": {"quantiles": (0.1, 0.5, 0.9)}}
    specs = [head_of(kind, **options.get(kind, {})) for kind in LABELS]
    specs += [
        HeadSpec("best", "regression", head=Head("rank")),
        HeadSpec("like", "binary", mean=0.2, group_loss=GroupLoss("jrc")),
    ]
    sizes, layout = ModelSizes(embedding=4, tower=(6,)), mmoe(len(specs), experts=3, widths=(8, 4))
    model = TabularModel(ENCODING, specs, layout=layout, sizes=sizes).eval()
    with torch.no_grad():
        for parameter in model.heads.parameters():
            parameter.add_(torch.randn_like(parameter))
    network = OnnxNetwork(write_network(model, tmp_path / "n.onnx", {}), model.columns)
    dice = np.random.default_rng(0)
    ids = dice.integers(0, ENCODING.table_rows, (700, 5)).astype(np.int32)
    numeric = dice.normal(0.0, 2.0, (700, 2)).astype(np.float32)
    expected = model.predict(torch.from_numpy(ids), torch.from_numpy(numeric)).numpy()
    assert equal_to_rounding(network.scores(ids, numeric), expected)

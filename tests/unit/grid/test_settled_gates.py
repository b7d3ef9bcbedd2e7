"""A gate with all its edges is one softmax: weights and gradients are those of the general rule."""

from dataclasses import replace

import pytest
import torch

from recmtl.grid import CATALOG, SharingGrid
from recmtl.grid.gates import SoftmaxGate
from recmtl.grid.routes import full_decision


@pytest.mark.parametrize("name", CATALOG)
def test_settled_weights_are_those_of_the_full_decision(name: str) -> None:
    layout = CATALOG[name].layout(3, cells=5, widths=(8, 4), depth=2)
    grid = SharingGrid(layout, input_width=6).double().eval()
    lanes = torch.randn(7, layout.input_lanes, 6, dtype=torch.float64)
    source, settled = lanes.flatten(1), 0
    for depth in range(len(grid.layers)):
        layer = grid.layer(depth)
        gate = layer.gate
        if isinstance(gate, SoftmaxGate):
            for parameter in gate.parameters():
                torch.nn.init.normal_(parameter, std=3.0)
            if gate.is_plain:
                settled += 1
                full = full_decision(layer.layer)
                general = gate(lanes, source, replace(full, keep=full.keep.double()))
                found = layer.weights(lanes, source)
                torch.testing.assert_close(found, general, rtol=1e-13, atol=1e-15)
                towards, parameters = torch.randn_like(general), [*gate.parameters()]
                wanted, got = (
                    torch.autograd.grad((weights * towards).sum(), parameters)
                    for weights in (general, found)
                )
                torch.testing.assert_close(got, wanted, rtol=1e-11, atol=1e-14)
        lanes = layer(lanes, source, None)
    assert settled or name not in ("mmoe", "omoe", "ml_mmoe", "cgc", "ple", "ple_shared")

"""Layouts as data: what they refuse, what they derive, and the JSON of earlier versions."""

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from recmtl.errors import ConfigError
from recmtl.grid import INPUT, Layer, Layout, SharingGrid, adatt, lane_widths, stem
from recmtl.grid.layout import FORMER_NAMES, Convolution, lane_pixels

BUNDLES = Path(__file__).resolve().parents[2] / "data" / "bundles"
STORED = sorted(BUNDLES.rglob("network.json"))
PAIR = Layer(4, ((0, 0), (1, 0)), ((0, 1), (1,)))
PROJECTED = Convolution(stride=2, projected=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"edges": ((0, 2), (1,))}, "lane 0 listens to an application that does not exist.* has 2"),
        ({"edges": ((0,), (-1,))}, "lane 1 listens to an application that does not exist"),
        ({"edges": ((0,), ())}, "lane 1 has neither an edge nor a shortcut"),
        ({"queries": ((INPUT,),)}, "queries must have one entry for each lane"),
        ({"shortcut": (0, 0, 0)}, "shortcut must have one entry for each lane"),
        ({"residual_edges": ((0,),)}, "residual_edges must have one entry for each lane"),
        ({"residual_edges": ((), (0,))}, "lane 1: .* may only list .* own edges; 0 is not one"),
        ({"detached_edges": ((0, 7, 5), ())}, "lane 0: .* may only list .* own edges; 5 is not"),
        ({"experts": "linear", "hidden": (3,)}, "linear experts have no hidden widths"),
        ({"experts": "carry", "hidden": (3,)}, "carry experts have no hidden widths"),
        ({"experts": "cross"}, "need the rank of a crossing"),
        ({"rate": 0.0}, "rate must lie above 0 and be at most 1, not 0.0"),
        ({"rate": 1.5}, "rate must lie above 0 and be at most 1, not 1.5"),
        ({"experts": "conv"}, "conv and basic experts need a convolution"),
        ({"convolution": Convolution()}, "conv and basic experts need a convolution"),
    ],
    ids=str,
)
def test_a_layer_that_contradicts_itself_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(PAIR, **changes)


@pytest.mark.parametrize(
    ("layers", "readout", "message"),
    [
        ((replace(PAIR, applications=((0, 0), (1, 1))),), (0,), "odd: layer 0 reads .* 1 lanes"),
        ((PAIR, replace(PAIR, shortcut=(None, 2))), (0,), "odd: layer 1 reads .* 2 lanes"),
        ((PAIR, replace(PAIR, queries=((0,), (2,)))), (0,), "odd: layer 1 reads .* 2 lanes"),
        ((PAIR,), (0, 2), "odd: a head reads a lane that does not exist; the last layer writes 2"),
    ],
)
def test_a_layout_that_reads_lanes_that_do_not_exist_is_refused(
    layers: tuple[Layer, ...], readout: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Layout("odd", layers, readout)


def test_an_unmarked_layer_looks_at_the_input_and_always_runs() -> None:
    assert PAIR.queries == ((INPUT,), (INPUT,))
    assert PAIR.shortcut == (None, None)
    assert PAIR.residual_edges == PAIR.detached_edges == ((), ())


def test_a_layer_says_what_it_reads_and_how_wide_its_experts_are() -> None:
    shared = replace(PAIR, applications=((0, 0), (0, 1)), hidden=(8, 6))
    assert (shared.reads, shared.num_experts, shared.num_lanes) == ((0, 1), 1, 2)
    assert shared.expert_widths(5) == (5, 8, 6, 4)
    crossings = replace(PAIR, experts="cross", hidden=(2, 3))
    assert crossings.expert_widths(5) == (5, 2, 5, 3, 5, 4)
    mixing = replace(PAIR, width=0, experts="carry")
    assert mixing.only_mixes and mixing.num_experts == 0
    assert lane_widths(Layout("widths", (PAIR, mixing), (0,)), 7) == [7, 4, 4]


def test_a_shortcut_takes_the_projection_of_its_first_expert_unless_told_otherwise() -> None:
    block = Layer(
        4,
        ((1, 0), (0, 0)),
        ((0, 1), (), (1,)),
        shortcut=(0, 0, None),
        experts="basic",
        convolution=PROJECTED,
    )
    assert block.shortcut_projection == (1, 0, 0)
    assert block.projection_applications == ((1, 0), (0, 0))
    alone = replace(block, shortcut_projection=(2, 0, 0))
    assert alone.projection_applications == ((1, 0), (0, 0), (2, 0))
    plain = replace(block, convolution=Convolution(), shortcut_projection=())
    assert plain.shortcut_projection == () == plain.projection_applications


@pytest.mark.parametrize(
    ("shape", "inner", "outer"),
    [
        (Convolution(), (7, 6), (7, 6)),
        (Convolution(stride=2), (4, 3), (4, 3)),
        (Convolution(pool=True), (7, 6), (3, 3)),
        (Convolution(stride=2, pool=True), (4, 3), (2, 1)),
        (Convolution(kernel=0), (1, 1), (1, 1)),
    ],
    ids=str,
)
def test_a_convolution_knows_its_sizes(
    shape: Convolution, inner: tuple[int, int], outer: tuple[int, int]
) -> None:
    assert (shape.inner((7, 6)), shape.outer((7, 6))) == (inner, outer)
    layer = Layer(2, ((0, 0),), ((0,),), experts="conv", convolution=shape)
    assert lane_pixels(Layout("images", (layer,), (0,)), (7, 6)) == [(7, 6), outer]


def test_a_convolution_counts_its_kernels_by_hand() -> None:
    """Channels 2 to 3 to 5: 3x3 kernels have 9 (2 3 + 3 5) = 189 weights, used on 4x3 pixels."""
    widths, pixels = (2, 3, 5), (7, 6)
    assert Convolution(stride=2).weights(widths, pixels) == 189
    assert Convolution(stride=2).products(widths, pixels) == 12 * 189
    assert Convolution(kernel=1).weights(widths, pixels) == 6 + 15
    assert Convolution(kernel=0).weights(widths, pixels) == 7 * 6 * 6 + 15
    assert Convolution(kernel=0).products(widths, pixels) == 7 * 6 * 6 + 15


OLD_LAYER = """
{"width": 4, "applications": [[0, 0], [1, 0]], "edges": [[0, 1], [1]], "hidden": [6],
 "gate": "softmax", "queries": [[-1], [-1]], "shortcut": [null, 0], "searched": true,
 "experts": "basic", "again": [[0], []], "stopped": [[1], [1]], "rate": 0.5,
 "convolution": {"kernel": 3, "stride": 2, "dilation": 1, "pool": false, "norm": "group",
                 "projected": true},
 "through": [0, 2]}
"""


def test_fields_under_their_former_names_are_read() -> None:
    layer = Layer.from_json(json.loads(OLD_LAYER))
    assert layer.residual_edges == ((0,), ())
    assert layer.detached_edges == ((1,), (1,))
    assert layer.shortcut_projection == (0, 2)
    assert layer.convolution == Convolution(stride=2, norm="group", projected=True)
    assert layer.searched and layer.rate == 0.5 and layer.shortcut == (None, 0)


def test_new_files_have_only_new_names_and_every_former_name_leads_to_a_field() -> None:
    (written,) = Layout("one", (PAIR,), (0, 1)).to_json()["layers"]
    assert not {*FORMER_NAMES, "carries"} & {*written}
    assert {*FORMER_NAMES.values()} <= {field.name for field in fields(Layer)}


@pytest.mark.parametrize("path", STORED, ids=lambda path: "/".join(path.parts[-4:-2]))
def test_stored_networks_are_read_and_written_with_todays_names(path: Path) -> None:
    stored = json.loads(path.read_text(encoding="utf-8"))["layout"]
    layout = Layout.from_json(stored)
    assert Layout.from_json(json.loads(json.dumps(layout.to_json()))) == layout
    for layer, old in zip(layout.layers, stored["layers"], strict=True):
        assert layer.only_mixes is old["carries"]
        assert [list(edges) for edges in layer.edges] == old["edges"]


def test_there_are_stored_networks() -> None:
    assert len(STORED) >= 2


@pytest.mark.parametrize("path", STORED, ids=lambda path: "/".join(path.parts[-4:-2]))
def test_stored_weights_fit_the_layout_that_is_read(path: Path) -> None:
    facts = json.loads(path.read_text(encoding="utf-8"))
    stored = load_file(str(path.with_name("weights.safetensors")))
    weights = {n.removeprefix("grid."): w for n, w in stored.items() if n.startswith("grid.")}
    width = weights["layers.0.experts.weights.0"].shape[1]
    grid = SharingGrid(Layout.from_json(facts["layout"]), input_width=width)
    grid.load_state_dict(weights)
    for name, weight in grid.state_dict().items():
        assert torch.equal(weight, weights[name])


def test_weights_of_residual_edges_are_read_under_their_former_name() -> None:
    layout = adatt(2, own=2, levels=[(4,), (4,)])
    grid = SharingGrid(layout, input_width=3)
    for parameter in grid.parameters():
        torch.nn.init.normal_(parameter)
    state = grid.state_dict()
    assert sum(name.endswith("gate.scalar") for name in state) == 2
    former = {name.replace("gate.scalar", "gate.again"): weight for name, weight in state.items()}
    assert {*former} != {*state}
    other = SharingGrid(layout, input_width=3)
    other.load_state_dict(former)
    assert all(torch.equal(weight, state[name]) for name, weight in other.state_dict().items())
    assert "layers.0.gate.again" in former, "reading leaves what was read as it is"


@pytest.mark.parametrize("layout", [stem(2, own=1, shared=1, widths=(4,))], ids=lambda x: x.name)
def test_former_names_in_a_whole_layout_make_no_difference(layout: Layout) -> None:
    data = json.loads(json.dumps(layout.to_json()))
    for layer in data["layers"]:
        for former, name in FORMER_NAMES.items():
            layer[former] = layer.pop(name)
    assert Layout.from_json(data) == layout

"""What training may expect of any network, shown on the network of tables."""

from pathlib import Path

import numpy as np
import pytest
import torch

from recmtl.grid import Routes, mmoe
from recmtl.grid.catalog import cgc
from recmtl.model import (
    ModelSizes,
    Network,
    TabularModel,
    load_model,
    predict,
    prune_model,
    save_model,
)
from recmtl.model.encoder import TabularEncoder
from tests.tabular_problems import ENCODING, make_model, make_problem

PROBLEM = make_problem()
BATCH = next(PROBLEM.test.batches(batch_size=90, seed=None))


def test_predictions_come_in_the_order_of_their_names() -> None:
    model = make_model()
    predictions = model.predictions(BATCH)
    assert len(predictions) == len(model.columns)
    assert torch.equal(torch.stack(list(predictions), 1), model.predict(*BATCH.inputs))


def test_predictions_of_all_rows_keep_their_order() -> None:
    model = make_model()
    whole, backwards = (
        predict(model, rows, batch_size=32)
        for rows in (PROBLEM.test, PROBLEM.test.take(np.arange(90)[::-1]))
    )
    assert list(whole) == list(model.columns)
    for name, values in whole.items():
        np.testing.assert_allclose(values, backwards[name][::-1], rtol=1e-5)


def test_a_network_without_predictions_says_so() -> None:
    model = make_model()
    plain = Network(model.encoder, grid=model.grid, heads=model.heads)
    assert plain.sparse_parameters() == []
    with pytest.raises(NotImplementedError):
        plain.predictions(BATCH)
    with pytest.raises(NotImplementedError):
        plain.to_json()


def test_the_cost_counts_every_parameter() -> None:
    for layout in (mmoe(4, experts=3, widths=(8, 4)), cgc(4, own=1, shared=1, widths=(8, 4))):
        model = make_model(layout)
        assert model.cost().parameters == sum(p.numel() for p in model.parameters())


def test_a_full_route_prunes_nothing() -> None:
    model = make_model()
    small = prune_model(model, Routes.full(model.grid.layout))
    torch.testing.assert_close(small.predict(*BATCH.inputs), model.predict(*BATCH.inputs))
    assert small.cost() == model.cost()


def test_saving_twice_changes_no_byte(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    model = make_model()
    save_model(model, tmp_path / "one")
    save_model(load_model(tmp_path / "one"), tmp_path / "two")
    for file in ("network.json", "weights.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def encoder(lanes: int = 1, dropout: float = 0.0) -> TabularEncoder:
    torch.manual_seed(0)
    return TabularEncoder(ENCODING, size=4, lanes=lanes, dropout=dropout)


def test_the_lanes_of_an_encoder_are_encoders_of_their_own() -> None:
    whole = encoder(lanes=3)
    lanes = whole(*BATCH.inputs)
    assert lanes.shape == (90, 3, whole.width)
    for chosen in ([0], [2, 0], [1, 1]):
        assert torch.equal(whole.only(chosen)(*BATCH.inputs), lanes[:, chosen])


def test_padding_and_the_order_of_a_list_do_not_count() -> None:
    whole, (ids, numeric) = encoder(), BATCH.inputs
    field = ENCODING.lists[0]
    turned = ids.clone()
    turned[:, field.first : field.first + field.length] = ids[
        :, field.first : field.first + field.length
    ].flip(1)
    torch.testing.assert_close(whole(turned, numeric), whole(ids, numeric))
    empty = ids.clone()
    empty[:, field.first : field.first + field.length] = 0
    assert (whole(empty, numeric)[:, 0, 2 * 4 : 3 * 4] == 0).all(), "an empty list embeds as zero"


def test_a_missing_number_has_its_own_vector_whatever_the_ramps() -> None:
    whole, (ids, numeric) = encoder(), BATCH.inputs
    absent = torch.full_like(numeric, float("nan"))
    with torch.no_grad():
        before = whole(ids, absent)[:, 0, -8:]
        whole.ramps.mul_(5.0)
        whole.offset.add_(1.0)
        after = whole(ids, absent)[:, 0, -8:]
    torch.testing.assert_close(after, before)
    torch.testing.assert_close(after[0].view(2, 4), whole.missing.detach())


def test_dropout_takes_whole_fields_and_only_in_training() -> None:
    plain, dropping = encoder(), encoder(dropout=0.5)
    dropping.load_state_dict(plain.state_dict())
    torch.manual_seed(1)
    kept = dropping.train()(*BATCH.inputs).view(90, -1, 4)
    fields = plain(*BATCH.inputs).view(90, -1, 4)
    taken = (kept == 0).all(-1)
    assert 0.3 < taken.float().mean() < 0.7
    torch.testing.assert_close(kept[~taken], 2.0 * fields[~taken])
    assert torch.equal(dropping.eval()(*BATCH.inputs), plain(*BATCH.inputs))


def test_sizes_shape_the_network() -> None:
    sizes = ModelSizes(embedding=5, tower=(7, 6))
    model = TabularModel(
        PROBLEM.encoding, PROBLEM.heads, layout=mmoe(4, experts=2, widths=(3,)), sizes=sizes
    )
    assert model.encoder.width == 5 * ENCODING.num_fields == PROBLEM.lane_shape(sizes).input_width
    assert model.heads.hidden == (7, 6)

"""Places at which rows were shown: their bias is learnt beside the network, and not scored."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.special import expit, logit
from torch import Tensor, nn
from torch.nn import functional

from recmtl.grid import mmoe
from recmtl.model import ModelSizes, TabularModel, load_model, save_model
from recmtl.model.heads import HeadSpec, TabularHeads, fitted_places
from recmtl.model.heads.position import MOST_PLACES, PositionBias
from recmtl.schema import Position
from tests.tabular_problems import ENCODING

ADDITIVE, PRODUCT = Position("slot"), Position("slot", form="product")
FORMS = {"mean": ADDITIVE, "at": Position("slot", at=1), "product": PRODUCT}
every_form = pytest.mark.parametrize("position", FORMS.values(), ids=FORMS.keys())


pytestmark = pytest.mark.usefixtures("in_float64")


def click_of(position: Position, places: np.ndarray, label: np.ndarray) -> HeadSpec:
    spec = HeadSpec("click", "binary", mean=float(label.mean()), position=position)
    return replace(spec, numbers=fitted_places(spec, label, None, places))


def rows_of(seed: int = 0, rows: int = 500) -> tuple[np.ndarray, np.ndarray]:
    dice = np.random.default_rng(seed)
    places = dice.integers(0, 5, rows).astype(np.float64)
    return places, (dice.random(rows) < expit(0.5 - 0.5 * places)).astype(np.float64)


@every_form
def test_losses_and_gradients_are_the_plain_ones(position: Position) -> None:
    places, label = rows_of()
    heads = TabularHeads((click_of(position, places, label),), width=3, tower=())
    bias = heads.position
    assert bias is not None
    with torch.no_grad():
        bias.biases.add_(torch.randn_like(bias.biases))
    logits = torch.randn(500, 1, requires_grad=True)
    shown = torch.from_numpy(np.stack([label, places], 1))
    loss = heads.losses([logits], shown, torch.ones(500))
    loss.sum().backward()
    plain_logits, biases = logits.detach().clone().requires_grad_(), bias.biases.detach()[0]
    biases = biases.clone().requires_grad_()
    of_row = biases[places.astype(int)]
    if position.form == "product":
        p = torch.sigmoid(plain_logits[:, 0]) * torch.sigmoid(of_row)
    else:
        shares = torch.from_numpy(np.bincount(places.astype(int)) / 500)
        base = biases[1] if position.at is not None else (biases * shares).sum()
        p = torch.sigmoid(plain_logits[:, 0] + of_row - base)
    plain = functional.binary_cross_entropy(p, torch.from_numpy(label))
    plain.backward()
    assert loss.item() == pytest.approx(plain.item(), rel=1e-10)
    assert logits.grad is not None and plain_logits.grad is not None
    assert torch.allclose(logits.grad, plain_logits.grad, atol=1e-12)
    assert bias.biases.grad is not None and biases.grad is not None
    assert torch.allclose(bias.biases.grad[0], biases.grad, atol=1e-12)


@every_form
def test_what_is_scored_does_not_depend_on_biases_or_places(position: Position) -> None:
    spec = click_of(position, *rows_of())
    heads = TabularHeads((spec,), width=3, tower=())
    before = heads.scores(heads(torch.randn(4, 1, 3, generator=torch.manual_seed(0))))
    with torch.no_grad():
        heads.position.biases.add_(5.0)  # type: ignore[union-attr]
    after = heads.scores(heads(torch.randn(4, 1, 3, generator=torch.manual_seed(0))))
    assert torch.equal(before, after)


@every_form
def test_a_row_without_a_place_has_its_own_logit(position: Position) -> None:
    spec = click_of(position, *rows_of())
    bias, logits = PositionBias([spec]), torch.randn(3, 1)
    moved = bias.at([logits], torch.tensor([torch.nan, 2.0, torch.nan]))[0]
    assert torch.equal(moved[::2], logits[::2]) and moved[1] != logits[1]
    moved.sum().backward()
    assert bias.biases.grad is not None and bias.biases.grad.isfinite().all()


def test_places_further_down_share_the_last_bias() -> None:
    spec = click_of(ADDITIVE, *rows_of())
    moved = PositionBias([spec]).at([torch.zeros(3, 1)], torch.tensor([4.0, 5.0, 9e5]))[0]
    assert moved[0] == moved[1] == moved[2]
    places = np.arange(1000, dtype=np.float64)
    many = click_of(ADDITIVE, places, (places % 2 == 0).astype(np.float64))
    assert len(many.numbers["places"]) == MOST_PLACES


def test_biases_start_at_the_rates_of_the_places() -> None:
    places, label = rows_of(rows=200_000)
    spec = click_of(ADDITIVE, places, label)
    rates = [label[places == place].mean() for place in range(5)]
    expected = logit(rates) - logit(label.mean())
    assert np.array(spec.numbers["places"]) == pytest.approx(expected, abs=0.01)
    assert np.array(spec.numbers["shares"]) == pytest.approx(0.2, abs=0.01)
    product = np.array(click_of(PRODUCT, places, label).numbers["places"])
    assert expit(product) / expit(product).max() == pytest.approx(
        np.array(rates) / max(rates), abs=0.01
    )


def planted(seed: int, *, product: bool = False) -> tuple[np.ndarray, ...]:
    """Worth of 20 items, and rows in which worthier items were shown further up."""
    dice = np.random.default_rng(seed)
    worth = np.linspace(-1.0, 1.0, 20)
    item = dice.integers(0, 20, 15_000)
    place = np.clip(np.rint(3.5 - 1.5 * worth[item] + dice.normal(0, 2.0, 15_000)), 0, 7)
    if product:
        p = expit(2 * worth[item]) * 0.95 * 0.7**place
    else:
        p = expit(worth[item] + 1.0 - 0.6 * place)
    return worth, item, place, (dice.random(15_000) < p).astype(np.float64)


def learnt_worth(spec: HeadSpec, item: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, Tensor]:
    """The logit of each item under a head that is trained to the end, and its biases."""
    torch.manual_seed(0)
    heads = TabularHeads((spec,), width=20, tower=())
    nn.init.zeros_(heads.logits[0].get_parameter("weights.0"))
    lanes = torch.eye(20)[torch.from_numpy(item)].unsqueeze(1)
    optimizer = torch.optim.LBFGS(heads.parameters(), max_iter=40, line_search_fn="strong_wolfe")
    rows, weight = torch.from_numpy(labels), torch.ones(len(item))

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = heads.losses(heads(lanes), rows, weight).sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[arg-type] # a Tensor is a float to it
    worth = heads(torch.eye(20).unsqueeze(1))[0][:, 0].detach().numpy()
    return worth, heads.position.biases[0].detach() if heads.position else torch.empty(0)


def test_a_planted_bias_of_places_is_removed() -> None:
    worth, item, place, click = planted(1)
    spec = click_of(ADDITIVE, place, click)
    plain, _ = learnt_worth(replace(spec, position=None), item, click[:, None])
    learnt, biases = learnt_worth(spec, item, np.stack([click, place], 1))
    slope = np.polyfit(worth, learnt, 1)[0]
    assert slope == pytest.approx(1.0, abs=0.12)
    assert np.polyfit(worth, plain, 1)[0] > 1.25  # it takes places for worth
    assert np.diff(biases.numpy())[:5] == pytest.approx(-0.6, abs=0.2)


def test_a_planted_product_is_taken_apart() -> None:
    worth, item, place, click = planted(2, product=True)
    spec = click_of(PRODUCT, place, click)
    learnt, biases = learnt_worth(spec, item, np.stack([click, place], 1))
    assert np.corrcoef(worth, learnt)[0, 1] > 0.97
    seen = expit(biases.numpy())
    assert seen[1:6] / seen[:5] == pytest.approx(0.7, abs=0.12)


@every_form
def test_a_network_with_places_is_read_back(position: Position, tmp_path: Path) -> None:
    torch.set_default_dtype(torch.float32)
    specs = (click_of(position, *rows_of()), HeadSpec("price", "regression"))
    sizes, layout = ModelSizes(embedding=4, tower=(6,)), mmoe(2, experts=2, widths=(8, 4))
    model = TabularModel(ENCODING, specs, layout=layout, sizes=sizes).eval()
    save_model(model, tmp_path)
    read = load_model(tmp_path)
    assert read.heads.specs == specs
    assert torch.equal(read.heads.position.biases, model.heads.position.biases)  # type: ignore[union-attr]
    assert "position" not in json.loads((tmp_path / "network.json").read_text())["heads"][1]
    plain = TabularModel(
        ENCODING, [replace(s, position=None) for s in specs], layout=layout, sizes=sizes
    )
    assert model.cost().multiply_adds == plain.cost().multiply_adds

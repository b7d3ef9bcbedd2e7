"""Heads: names of columns, where they start, and that what is trained is what is scored."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from recmtl.errors import ConfigError
from recmtl.grid import mmoe
from recmtl.model import ModelSizes, TabularModel, load_model, save_model
from recmtl.model.heads import (
    AITM,
    ESCM2_DR,
    ESCM2_IPS,
    ESMM,
    Chain,
    HeadSpec,
    TabularHeads,
    output_columns,
)
from recmtl.model.heads.funnel import doubly_robust, inverse_propensity
from recmtl.schema.reading import load
from recmtl.train.config import Config, Training
from recmtl.train.loop import train
from tests.tabular_problems import make_problem

CLICK = HeadSpec("click", "binary", mean=0.3)
BUY = HeadSpec("buy", "binary", parent="click", mean=0.06)
REFUND = HeadSpec("refund", "binary", parent="buy", mean=0.012)
WATCH = HeadSpec("watch", "regression", transform="log1p", mean=2.0, std=1.5)
PRICE = HeadSpec("price", "regression", mean=-4.0, std=3.0)
STARS = HeadSpec("stars", "multiclass", classes=("1", "2", "5"))
ALL = (CLICK, BUY, REFUND, WATCH, PRICE, STARS)


CHAINS = {
    "esmm": ESMM,
    "transfer": Chain(transfer=True),
    "aitm": AITM,
    "ips": ESCM2_IPS,
    "dr": ESCM2_DR,
}
every_chain = pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS.keys())


def scores_at_zero(*specs: HeadSpec, chain: Chain = ESMM) -> dict[str, float]:
    """Scores of fresh heads on a lane of zeros: what they say before they have seen anything."""
    heads = TabularHeads(specs, width=4, tower=(5,), chain=chain)
    scores = heads.scores(heads(torch.zeros(1, len(specs), 4)))[0].tolist()
    return dict(zip(heads.columns, scores, strict=True))


def test_columns_come_in_task_order_under_the_names_of_the_surface() -> None:
    assert output_columns(ALL) == (
        "p_click",
        "p_buy_given_click",
        "p_click_and_buy",
        "p_refund_given_buy",
        "p_buy_and_refund",
        "value_watch",
        "value_price",
        "p_stars_1",
        "p_stars_2",
        "p_stars_5",
    )


@every_chain
def test_heads_start_at_the_base_rates(chain: Chain) -> None:
    start = scores_at_zero(*ALL, chain=chain)
    assert start["p_click"] == pytest.approx(0.3, rel=1e-5)
    assert start["p_buy_given_click"] == pytest.approx(0.2, rel=1e-5)
    assert start["p_click_and_buy"] == pytest.approx(0.06, rel=1e-5)
    assert start["p_refund_given_buy"] == pytest.approx(0.2, rel=1e-5)
    assert start["p_buy_and_refund"] == pytest.approx(0.012, rel=1e-5)
    assert start["value_watch"] == pytest.approx(math.expm1(2.0), rel=1e-5)
    assert start["value_price"] == pytest.approx(-4.0)
    assert [start[f"p_stars_{c}"] for c in (1, 2, 5)] == pytest.approx([1 / 3] * 3)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_an_extreme_rate_starts_finite(rate: float) -> None:
    start = scores_at_zero(
        HeadSpec("a", "binary", mean=rate), HeadSpec("b", "binary", parent="a", mean=rate)
    )
    assert all(0.0 < value < 1.0 for value in start.values())


def logits_of(*values: list[float]) -> list[torch.Tensor]:
    return [torch.tensor([value], dtype=torch.float64) for value in values]


def losses(heads: TabularHeads, logits: list[torch.Tensor], labels: list[float]) -> list[float]:
    label = torch.tensor([labels], dtype=torch.float64)
    return heads.losses(logits, label, torch.ones(1, dtype=torch.float64)).tolist()


@pytest.mark.parametrize("spec", [WATCH, PRICE], ids=lambda spec: spec.name)
@pytest.mark.parametrize("label", [0.0, 3.5, 400.0])
def test_a_regression_without_loss_scores_the_label(spec: HeadSpec, label: float) -> None:
    heads = TabularHeads((spec,), width=4, tower=())
    transformed = math.log1p(label) if spec.transform == "log1p" else label
    logits = logits_of([(transformed - spec.mean) / spec.std])
    assert losses(heads, logits, [label]) == pytest.approx([0.0], abs=1e-12)
    assert heads.scores(logits).item() == pytest.approx(label)


def test_a_regression_loss_is_measured_in_standard_deviations() -> None:
    heads = TabularHeads((PRICE,), width=4, tower=())
    assert losses(heads, logits_of([0.0]), [PRICE.mean + 2 * PRICE.std]) == pytest.approx([4.0])


def test_a_multiclass_head_is_a_softmax() -> None:
    heads = TabularHeads((STARS,), width=4, tower=())
    logits = logits_of([0.5, -1.0, 2.0])
    scores = heads.scores(logits)
    torch.testing.assert_close(scores, logits[0].softmax(1))
    expected = functional.cross_entropy(logits[0], torch.tensor([2])).item()
    assert losses(heads, logits, [2.0]) == pytest.approx([expected])


def test_one_chain_of_events_is_a_product_of_probabilities() -> None:
    heads = TabularHeads((CLICK, BUY, REFUND), width=4, tower=())
    logits = logits_of([0.3], [-1.0], [2.0])
    scores = dict(zip(heads.columns, heads.scores(logits)[0].tolist(), strict=True))
    assert scores["p_click_and_buy"] == pytest.approx(
        scores["p_click"] * scores["p_buy_given_click"]
    )
    assert scores["p_buy_and_refund"] == pytest.approx(
        scores["p_click_and_buy"] * scores["p_refund_given_buy"]
    )


@pytest.mark.parametrize("unknown", [0.0, math.nan])
def test_a_child_did_not_happen_where_its_parent_did_not(unknown: float) -> None:
    """Whether the log says 0 there or nothing, all the way down the chain."""
    heads = TabularHeads((CLICK, BUY, REFUND), width=4, tower=())
    logits = logits_of([0.3], [-1.0], [2.0])
    p = heads.scores(logits)[0].tolist()
    expected = [-math.log(1 - p[0]), -math.log(1 - p[2]), -math.log(1 - p[4])]
    assert losses(heads, logits, [0.0, unknown, unknown]) == pytest.approx(expected)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_a_child_of_an_unknown_parent_says_whether_both_happened(label: float) -> None:
    heads = TabularHeads((CLICK, BUY), width=4, tower=())
    logits = logits_of([0.3], [-1.0])
    both = heads.scores(logits)[0].tolist()[2]
    expected = -math.log(both) if label else -math.log(1 - both)
    assert losses(heads, logits, [math.nan, label]) == pytest.approx([0.0, expected])


def test_a_task_without_a_label_takes_nothing_from_the_others() -> None:
    heads = TabularHeads((CLICK, WATCH, STARS), width=4, tower=(5,)).double()
    lanes = torch.randn(2, 3, 4, dtype=torch.float64)
    labels = torch.tensor([[1.0, math.nan, math.nan], [math.nan, 5.0, 1.0]], dtype=torch.float64)
    weight = torch.ones(2, dtype=torch.float64)
    both = heads.losses(heads(lanes), labels, weight)
    first = heads.losses(heads(lanes[:1]), labels[:1], weight[:1])
    second = heads.losses(heads(lanes[1:]), labels[1:], weight[1:])
    torch.testing.assert_close(both, first + second)


def test_constant_loss_is_that_of_the_best_constant() -> None:
    assert CLICK.constant_loss == pytest.approx(-0.3 * math.log(0.3) - 0.7 * math.log(0.7))
    assert STARS.constant_loss == pytest.approx(math.log(3))
    assert WATCH.constant_loss == 1.0


def test_the_loss_scale_is_made_once() -> None:
    heads = TabularHeads((CLICK, WATCH), width=4, tower=())
    expected = [CLICK.constant_loss**-0.5, 1.0]
    assert heads.loss_scale(0.5).tolist() == pytest.approx(expected)
    assert heads.loss_scale(0.5) is heads.loss_scale(0.5)
    assert heads.loss_scale(0.0).tolist() == [1.0, 1.0]


@every_chain
def test_a_chain_changes_no_column(chain: Chain) -> None:
    assert TabularHeads(ALL, width=4, tower=(5,), chain=chain).columns == output_columns(ALL)


@every_chain
def test_scores_of_a_chain_are_consistent_probabilities(chain: Chain) -> None:
    heads = TabularHeads((CLICK, BUY, REFUND), width=4, tower=(5,), chain=chain)
    found = heads.scores(heads(torch.randn(50, 3, 4) * 3.0))
    scores = dict(zip(heads.columns, found.unbind(1), strict=True))
    assert found.min() >= 0.0 and found.max() <= 1.0
    above = scores["p_click"]
    for given, joint in (
        ("p_buy_given_click", "p_click_and_buy"),
        ("p_refund_given_buy", "p_buy_and_refund"),
    ):
        torch.testing.assert_close(scores[joint], above * scores[given])
        above = scores[joint]


@every_chain
def test_tasks_without_a_parent_do_not_notice_a_chain(chain: Chain) -> None:
    torch.manual_seed(0)
    plain = TabularHeads((CLICK, WATCH), width=4, tower=(5,))
    torch.manual_seed(0)
    chained = TabularHeads((CLICK, WATCH), width=4, tower=(5,), chain=chain)
    assert {n: p.tolist() for n, p in plain.named_parameters()} == {
        n: p.tolist() for n, p in chained.named_parameters()
    }
    assert chained.cost() == plain.cost()


@every_chain
def test_a_chain_does_not_depend_on_the_order_of_the_tasks(chain: Chain) -> None:
    torch.manual_seed(0)
    heads = TabularHeads((CLICK, BUY, REFUND), width=4, tower=(5,), chain=chain).double()
    moved = TabularHeads((REFUND, BUY, CLICK), width=4, tower=(5,), chain=chain).double()
    weights = {  # a step of the transfer is named by its child, elsewhere tasks are rows
        name.replace("steps.2", "steps.0"): value if "steps" in name else value.flip(0)
        for name, value in heads.state_dict().items()
    }
    moved.load_state_dict(weights)
    lanes, weight = torch.randn(9, 3, 4).double(), torch.ones(9).double()
    labels = (torch.rand(9, 3) < 0.7).double().cumprod(1)
    flipped = moved(lanes.flip(1))
    names = [heads.columns.index(column) for column in moved.columns]
    torch.testing.assert_close(moved.scores(flipped), heads.scores(heads(lanes))[:, names])
    losses = moved.losses(flipped, labels.flip(1), weight)
    torch.testing.assert_close(losses.flip(0), heads.losses(heads(lanes), labels, weight))


@every_chain
def test_a_batch_without_labels_teaches_nothing(chain: Chain) -> None:
    heads = TabularHeads((CLICK, BUY, REFUND), width=4, tower=(5,), chain=chain)
    losses = heads.losses(heads(torch.randn(6, 3, 4)), torch.full((6, 3), math.nan), torch.ones(6))
    losses.sum().backward()
    assert losses.tolist() == [0.0, 0.0, 0.0]
    assert all((p.grad == 0.0).all() for p in heads.parameters() if p.grad is not None)


def test_the_targets_of_images_are_refused() -> None:
    heads = TabularHeads((CLICK, BUY), width=4, tower=())
    with pytest.raises(TypeError, match="one tensor, not 2 of them"):
        heads.losses(heads(torch.randn(3, 2, 4)), (torch.ones(3), torch.ones(3)), torch.ones(3))


@every_chain
def test_evaluation_measures_the_tasks_alone(chain: Chain) -> None:
    """What a chain adds is for training: with it the children's losses are larger, or equal."""
    heads = TabularHeads((CLICK, BUY, REFUND), width=4, tower=(5,), chain=chain)
    lanes, labels = torch.randn(30, 3, 4), (torch.rand(30, 3) < 0.8).float().cumprod(1)
    trained = heads.losses(heads(lanes), labels, torch.ones(30))
    heads.eval()
    assert len(heads(lanes)) == 3
    plain = heads.losses(heads(lanes), labels, torch.ones(30))
    assert trained[0] == plain[0]
    adds = chain.child == "joint" or chain.counterfactual != "none"
    assert (trained >= plain).all()
    assert (trained > plain).any().item() == adds


def test_counterfactual_losses_are_unbiased() -> None:
    """Over the luck of clicking, both are the error that all rows would have if all clicked."""
    error, clicks = torch.rand(9).double(), torch.rand(9).double() * 0.9 + 0.05
    anything = torch.rand(9).double()

    def expected(happened: torch.Tensor, imputed: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        squares = happened * (error - imputed).square() / p  # trains the imputation, no estimate
        return doubly_robust(error, imputed, happened, p) - squares

    def mean(clicked: torch.Tensor, skipped: torch.Tensor) -> torch.Tensor:
        return clicks * clicked + (1.0 - clicks) * skipped

    one, zero = torch.ones(9).double(), torch.zeros(9).double()
    ips = mean(*(inverse_propensity(error, o, clicks) for o in (one, zero)))
    torch.testing.assert_close(ips, error)
    right_propensity = mean(*(expected(o, anything, clicks) for o in (one, zero)))
    torch.testing.assert_close(right_propensity, error)
    right_imputation = mean(*(expected(o, error, anything) for o in (one, zero)))
    torch.testing.assert_close(right_imputation, error)


@pytest.mark.parametrize("kind", ["ips", "dr"])
def test_a_counterfactual_loss_does_not_teach_the_propensity(kind: str) -> None:
    chain = replace(CHAINS[kind], counterfactual_weight=3.0)
    heads = TabularHeads((CLICK, BUY), width=4, tower=(), chain=chain)
    logits = [logit.detach().requires_grad_() for logit in heads(torch.randn(9, 2, 4))]
    labels = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 0.0]] * 3)
    added = heads.funnel.addition(1, logits, labels)
    assert added is not None
    click, buy = torch.autograd.grad(added.sum(), logits[:2], allow_unused=True)
    assert click is None
    assert buy is not None and (buy[labels[:, 0] == 1] != 0).all()


def test_the_calibrator_is_zero_where_children_stay_below_their_parents() -> None:
    heads = TabularHeads((CLICK, BUY), width=4, tower=(), chain=AITM)
    labels, weight = torch.zeros(1, 2).double(), torch.ones(1).double()
    for buy, price in ((-1.0, 0.0), (0.3, 0.0), (2.0, 0.6)):
        logits = logits_of([0.3], [buy])
        p, q = (torch.sigmoid(logit).item() for logit in logits)
        expected = -math.log(1 - q) + price * (q - p)
        assert heads.losses(logits, labels, weight)[1].item() == pytest.approx(expected)


def test_transfer_is_paid_for_and_imputation_only_stored() -> None:
    plain = TabularHeads((CLICK, BUY), width=4, tower=(5,)).cost()
    transfer = TabularHeads((CLICK, BUY), width=4, tower=(5,), chain=AITM).cost()
    assert transfer.multiply_adds - plain.multiply_adds == 25 + 2 * 3 * 25 + 2 * 5 + 2 * 5
    assert transfer.parameters - plain.parameters == 4 * 25 + 5
    imputed = TabularHeads((CLICK, BUY), width=4, tower=(5,), chain=ESCM2_DR).cost()
    assert imputed.multiply_adds == plain.multiply_adds
    assert imputed.parameters - plain.parameters == 4 * 5 + 5 + 5 + 1


@every_chain
def test_a_model_keeps_its_chain(chain: Chain, tmp_path: Path) -> None:
    """It trains, ends, is saved and scores the same bits again."""
    problem = make_problem(rows=100)
    sizes = ModelSizes(embedding=4, tower=(6,), chain=chain)
    layout = mmoe(len(problem.tasks), experts=2, widths=(4,))
    model = TabularModel(problem.encoding, problem.heads, layout=layout, sizes=sizes)
    fitted = train(model, problem, Training(batch_size=50, epochs=1), seed=0)
    assert all(math.isfinite(check.loss) for check in fitted.checks)
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    assert again.sizes == sizes
    batch = next(problem.test.batches(batch_size=20, seed=None))
    scores = [m.predict(batch.ids, batch.numeric) for m in (model, again)]
    assert torch.equal(*scores)


def test_a_model_of_the_time_before_chains_is_esmm(tmp_path: Path) -> None:
    problem = make_problem(rows=50)
    layout = mmoe(len(problem.tasks), experts=2, widths=(4,))
    save_model(
        TabularModel(problem.encoding, problem.heads, layout=layout, sizes=ModelSizes()), tmp_path
    )
    network = json.loads((tmp_path / "network.json").read_text())
    del network["sizes"]["chain"]
    (tmp_path / "network.json").write_text(json.dumps(network))
    assert load_model(tmp_path).sizes.chain == ESMM


def test_a_chain_is_read_from_the_settings() -> None:
    text = "sizes: {chain: {transfer: true, child: joint}}"
    assert load(Config, text, source="a.yaml", error=ConfigError).sizes.chain == AITM


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ("{counterfactual: ips, child: joint}", "counterfactual needs child: conditional"),
        ("{calibrator: -1}", "calibrator: must be at least 0"),
        ("{least_propensity: 0}", "least_propensity: must be above 0"),
        ("{transfers: true}", "transfer"),
    ],
)
def test_a_chain_that_cannot_be_trained_is_refused(settings: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        load(Config, f"sizes: {{chain: {settings}}}", source="a.yaml", error=ConfigError)

"""Heads: names of columns, where they start, and that what is trained is what is scored."""

import math

import pytest
import torch
from torch.nn import functional

from recmtl.heads import Heads, HeadSpec, output_columns

CLICK = HeadSpec("click", "binary", mean=0.3)
BUY = HeadSpec("buy", "binary", parent="click", mean=0.06)
REFUND = HeadSpec("refund", "binary", parent="buy", mean=0.012)
WATCH = HeadSpec("watch", "regression", transform="log1p", mean=2.0, std=1.5)
PRICE = HeadSpec("price", "regression", mean=-4.0, std=3.0)
STARS = HeadSpec("stars", "multiclass", classes=("1", "2", "5"))
ALL = (CLICK, BUY, REFUND, WATCH, PRICE, STARS)


def scores_at_zero(*specs: HeadSpec) -> dict[str, float]:
    """Scores of fresh heads on a lane of zeros: what they say before they have seen anything."""
    heads = Heads(specs, width=4, tower=(5,))
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


def test_heads_start_at_the_base_rates() -> None:
    start = scores_at_zero(*ALL)
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


def losses(heads: Heads, logits: list[torch.Tensor], labels: list[float]) -> list[float]:
    label = torch.tensor([labels], dtype=torch.float64)
    return heads.losses(logits, label, torch.ones(1, dtype=torch.float64)).tolist()


@pytest.mark.parametrize("spec", [WATCH, PRICE], ids=lambda spec: spec.name)
@pytest.mark.parametrize("label", [0.0, 3.5, 400.0])
def test_a_regression_without_loss_scores_the_label(spec: HeadSpec, label: float) -> None:
    heads = Heads((spec,), width=4, tower=())
    transformed = math.log1p(label) if spec.transform == "log1p" else label
    logits = logits_of([(transformed - spec.mean) / spec.std])
    assert losses(heads, logits, [label]) == pytest.approx([0.0], abs=1e-12)
    assert heads.scores(logits).item() == pytest.approx(label)


def test_a_regression_loss_is_measured_in_standard_deviations() -> None:
    heads = Heads((PRICE,), width=4, tower=())
    assert losses(heads, logits_of([0.0]), [PRICE.mean + 2 * PRICE.std]) == pytest.approx([4.0])


def test_a_multiclass_head_is_a_softmax() -> None:
    heads = Heads((STARS,), width=4, tower=())
    logits = logits_of([0.5, -1.0, 2.0])
    scores = heads.scores(logits)
    torch.testing.assert_close(scores, logits[0].softmax(1))
    expected = functional.cross_entropy(logits[0], torch.tensor([2])).item()
    assert losses(heads, logits, [2.0]) == pytest.approx([expected])


def test_one_chain_of_events_is_a_product_of_probabilities() -> None:
    heads = Heads((CLICK, BUY, REFUND), width=4, tower=())
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
    heads = Heads((CLICK, BUY, REFUND), width=4, tower=())
    logits = logits_of([0.3], [-1.0], [2.0])
    p = heads.scores(logits)[0].tolist()
    expected = [-math.log(1 - p[0]), -math.log(1 - p[2]), -math.log(1 - p[4])]
    assert losses(heads, logits, [0.0, unknown, unknown]) == pytest.approx(expected)


def test_a_child_of_an_unknown_parent_is_not_used() -> None:
    heads = Heads((CLICK, BUY), width=4, tower=())
    assert losses(heads, logits_of([0.3], [-1.0]), [math.nan, 1.0]) == [0.0, 0.0]


def test_a_task_without_a_label_takes_nothing_from_the_others() -> None:
    heads = Heads((CLICK, WATCH, STARS), width=4, tower=(5,)).double()
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

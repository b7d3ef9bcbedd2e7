"""Identities of funnels for any logits: probabilities, labels, losses, and their gradients."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recmtl.data.columns.labels import LabelStatistics
from recmtl.model.heads import AITM, ESCM2_DR, ESCM2_IPS, ESMM, Chain, HeadSpec, head_specs
from recmtl.model.heads.funnel import (
    Funnel,
    doubly_robust,
    excess,
    inverse_propensity,
    joint_log_probability,
    joint_loss,
)
from recmtl.model.heads.heads import TabularHeads, Transfer
from recmtl.schema import Condition, TaskSpec

CHAINS = {"esmm": ESMM, "aitm": AITM, "ips": ESCM2_IPS, "dr": ESCM2_DR}
CLICK, BUY, REFUND = (
    HeadSpec("click", "binary", mean=0.3),
    HeadSpec("buy", "binary", parent="click", mean=0.06),
    HeadSpec("refund", "binary", parent="buy", mean=0.01),
)
FUNNEL = (CLICK, BUY, REFUND)
few = settings(max_examples=40, deadline=None)
logits = st.lists(st.floats(-12.0, 12.0), min_size=3, max_size=3)


def column(values: list[float]) -> list[Tensor]:
    return [torch.tensor([[value]], dtype=torch.float64) for value in values]


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
@few
@given(values=logits)
def test_joint_probabilities_fall_down_the_funnel_and_factorise(
    chain: Chain, values: list[float]
) -> None:
    funnel = Funnel(FUNNEL, chain)
    (click,), (buy_given_click, buy), (refund_given_buy, refund) = (
        funnel.scores(position, column(values)) for position in range(3)
    )
    for probability in (click, buy_given_click, buy, refund_given_buy, refund):
        assert 0.0 <= probability.item() <= 1.0
    assert refund <= buy + 1e-15 and buy <= click + 1e-15
    torch.testing.assert_close(buy, click * buy_given_click)
    torch.testing.assert_close(refund, buy * refund_given_buy)


@few
@given(values=logits)
def test_a_joint_child_below_its_parents_is_scored_as_its_logit_says(values: list[float]) -> None:
    descending = sorted(values, reverse=True)
    funnel = Funnel(FUNNEL, AITM)
    for position in (1, 2):
        expected = torch.sigmoid(torch.tensor([descending[position]], dtype=torch.float64))
        torch.testing.assert_close(funnel.scores(position, column(descending))[1], expected)


@few
@given(st.lists(st.floats(-30.0, 30.0), min_size=1, max_size=4))
def test_the_joint_log_probability_is_the_log_of_the_product(values: list[float]) -> None:
    chain = [torch.tensor([value], dtype=torch.float64) for value in values]
    product = math.prod(1.0 / (1.0 + math.exp(-value)) for value in values)
    assert joint_log_probability(chain).item() == pytest.approx(math.log(product), abs=1e-9)


@few
@given(st.floats(-20.0, -1e-4), st.sampled_from([0.0, 1.0]))
def test_the_joint_loss_is_cross_entropy(log_joint: float, label: float) -> None:
    p = math.exp(log_joint)
    plain = -(label * math.log(p) + (1 - label) * math.log1p(-p))
    both = (torch.tensor([x], dtype=torch.float64) for x in (log_joint, label))
    assert joint_loss(*both).item() == pytest.approx(plain, rel=1e-9)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_the_joint_loss_falls_towards_its_label(label: float) -> None:
    grid = torch.linspace(-9.0, -0.01, 60, dtype=torch.float64)
    losses = joint_loss(grid, torch.full_like(grid, label))
    steps = losses.diff()
    assert (steps < 0).all() if label else (steps > 0).all()


def test_labels_on_the_entire_space_follow_the_first_event_that_failed() -> None:
    nan = math.nan
    labels = torch.tensor(
        [[1, 1, 1], [1, 1, 0], [1, 0, nan], [1, 0, 1], [0, nan, nan], [0, 1, 1], [1, nan, 1]]
    )
    expected = torch.tensor(
        [[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0], [1, nan, 1]]
    )
    whole = Funnel(FUNNEL, ESMM).labels(labels)
    torch.testing.assert_close(whole, expected, equal_nan=True)


def test_without_children_labels_are_handed_on_untouched() -> None:
    labels = torch.rand(4, 1)
    assert Funnel((CLICK,), ESMM).labels(labels) is labels


def test_two_children_of_one_parent_do_not_follow_one_another() -> None:
    share = HeadSpec("share", "binary", parent="click", mean=0.1)
    funnel = Funnel((CLICK, BUY, share), ESMM)
    one, two = (funnel.scores(1, column([0.5, -1.0, other])) for other in (-8.0, 8.0))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_new_biases_say_the_rates_of_their_labels() -> None:
    conditional, joint = Funnel(FUNNEL, ESMM), Funnel(FUNNEL, AITM)
    assert [conditional.base_rate(t) for t in range(3)] == pytest.approx([0.3, 0.2, 1 / 6])
    assert [joint.base_rate(t) for t in range(3)] == pytest.approx([0.3, 0.06, 0.01])


@few
@given(st.floats(-9.0, 9.0), st.floats(-9.0, 9.0))
def test_the_excess_is_the_part_of_the_child_above_its_parent(child: float, parent: float) -> None:
    both = [torch.tensor([value], dtype=torch.float64) for value in (child, parent)]
    expected = max(0.0, (torch.sigmoid(both[0]) - torch.sigmoid(both[1])).item())
    assert excess(*both).item() == pytest.approx(expected)


def test_right_propensities_give_the_mean_over_all_rows() -> None:
    """By hand: of four rows with propensity one half, the two that happened stand for all."""
    error, happened = torch.tensor([3.0, 9.0, 5.0, 9.0]), torch.tensor([1.0, 0.0, 1.0, 0.0])
    half = torch.full((4,), 0.5)
    assert inverse_propensity(error, happened, half).tolist() == [6.0, 0.0, 10.0, 0.0]
    exact = doubly_robust(error, error, happened, torch.rand(4) + 0.1)
    assert torch.equal(exact, error), "with the right error imputed, propensities do not matter"


def plain_gradient(function: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """Central differences of a scalar function in float64."""
    gradient, step = torch.zeros_like(at), 1e-6
    for place in range(at.numel()):
        shift = torch.zeros_like(at).view(-1)
        shift[place] = step
        shift = shift.view_as(at)
        gradient.view(-1)[place] = (function(at + shift) - function(at - shift)) / (2 * step)
    return gradient


SPECS = (*FUNNEL, HeadSpec("watch", "regression", transform="log1p", mean=1.0, std=0.7))


@pytest.mark.parametrize("chain", [ESMM, Chain(child="joint"), Chain(transfer=True)], ids=str)
@pytest.mark.parametrize("training", [False, True])
def test_gradients_of_the_lanes_are_finite_differences(chain: Chain, training: bool) -> None:
    torch.manual_seed(0)
    heads = TabularHeads(SPECS, width=3, tower=(4,), chain=chain).double().train(training)
    labels = torch.tensor([[1, 1, 0, 2.5], [1, 0, math.nan, math.nan], [0, math.nan, 0, 0.0]])
    weight = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)

    def loss(lanes: Tensor) -> Tensor:
        return heads.losses(heads(lanes), labels.double(), weight).sum()

    lanes = torch.randn(3, 4, 3, dtype=torch.float64, requires_grad=True)
    loss(lanes).backward()
    assert lanes.grad is not None
    with torch.no_grad():
        torch.testing.assert_close(lanes.grad, plain_gradient(loss, lanes), rtol=1e-5, atol=1e-7)


def test_losses_of_rows_add_up_by_weight() -> None:
    torch.manual_seed(1)
    heads = TabularHeads(SPECS, width=3, tower=()).eval()
    lanes, labels = torch.randn(6, 4, 3), torch.randint(0, 2, (6, 4)).float()
    weight = torch.rand(6) + 0.1
    whole = heads.losses(heads(lanes), labels, weight)
    rows = [heads.losses(heads(lanes[[n]]), labels[[n]], weight[[n]]) for n in range(6)]
    mean = (torch.stack(rows) * weight[:, None]).sum(0) / weight.sum()
    torch.testing.assert_close(whole, mean)


def test_transfer_reaches_all_descendants_and_nobody_else() -> None:
    torch.manual_seed(0)
    transfer = Transfer([None, 0, 1, None], width=3)
    features = torch.randn(2, 4, 3, requires_grad=True)
    for task, sources in ((0, {0}), (1, {0, 1}), (2, {0, 1, 2}), (3, {3})):
        (gradient,) = torch.autograd.grad(transfer(features)[:, task].sum(), features)
        assert {t for t in range(4) if gradient[:, t].abs().sum() > 0} == sources


def test_transfer_mixes_between_the_two_candidates() -> None:
    """With h1 the identity, each new feature lies between those of the parent and of the child."""
    torch.manual_seed(0)
    transfer = Transfer([None, 0], width=3)
    step = transfer.steps["1"]
    with torch.no_grad():
        step.h1.weight.copy_(torch.eye(3))
        features = torch.randn(5, 2, 3)
        parent, mixed = torch.relu(step.g(features[:, 0])), transfer(features)[:, 1]
    low, high = torch.minimum(parent, features[:, 1]), torch.maximum(parent, features[:, 1])
    assert (mixed >= low - 1e-6).all() and (mixed <= high + 1e-6).all()


def test_a_childs_rate_is_that_of_the_joint_event_however_its_label_is_stored() -> None:
    tasks = [
        TaskSpec("click", "binary", Condition("click")),
        TaskSpec("buy", "binary", Condition("buy"), parent="click"),
    ]
    click = LabelStatistics(100, 20, 0.2, 0.4, ())
    everywhere, on_clicks = (
        LabelStatistics(100, 5, 0.05, 0.2, ()),
        LabelStatistics(20, 5, 0.25, 0.4, ()),
    )
    for buy in (everywhere, on_clicks):
        specs = head_specs(tasks, {"click": click, "buy": buy})
        assert [spec.mean for spec in specs] == pytest.approx([0.2, 0.05])


@few
@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_no_constant_has_a_smaller_loss(rate: float, other: float) -> None:
    loss = HeadSpec("click", "binary", mean=rate).constant_loss
    assert loss <= -(rate * math.log(other) + (1 - rate) * math.log(1 - other)) + 1e-12


def test_a_constant_label_has_a_finite_scale() -> None:
    spec = head_specs(
        [TaskSpec("watch", "regression", Condition("watch"))],
        {"watch": LabelStatistics(9, 0, 4.0, 0.0, ())},
    )[0]
    assert spec.std == 1.0 and spec.constant_loss == 1.0
    assert 0 < HeadSpec("never", "binary", mean=0.0).constant_loss < 1e-4

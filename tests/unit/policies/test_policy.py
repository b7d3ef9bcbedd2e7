"""Choices, hard concrete gates and conjunctions: limits, invariances and exact expectations."""

import math
from collections.abc import Callable
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from recmtl.grid import Layout
from recmtl.policies import Policy, RoutePolicy, SkipPolicy
from recmtl.policies.policy import (
    BETA,
    Choice,
    HardConcreteGates,
    choose,
    open_probability,
    stretched_sigmoid,
)
from recmtl.search.schedule import ReinforceBaseline
from tests.contracts.spaces import both, cells, drawn, tree

numbers = st.floats(-8.0, 8.0, allow_nan=False, width=32)
rows_of_logits = st.lists(numbers, min_size=2, max_size=6)


def double(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@given(rows_of_logits, st.data())
def test_probabilities_sum_to_one_over_what_is_allowed(
    logits: list[float], data: st.DataObject
) -> None:
    allowed = data.draw(st.lists(st.booleans(), min_size=len(logits), max_size=len(logits)))
    allowed[data.draw(st.integers(0, len(logits) - 1))] = True
    choice = Choice(double([logits]), torch.tensor([allowed]))
    probabilities = choice.probabilities().detach()[0]
    assert probabilities.sum().item() == pytest.approx(1.0)
    assert (probabilities[~torch.tensor(allowed)] == 0).all()
    weights = [math.exp(z) if a else 0.0 for z, a in zip(logits, allowed, strict=True)]
    assert probabilities.tolist() == pytest.approx([w / sum(weights) for w in weights])


@given(rows_of_logits, numbers)
def test_the_hard_choice_is_the_argmax_and_ignores_a_shift(
    logits: list[float], shift: float
) -> None:
    row = double(logits)
    hard = choose(row, None)
    assert hard.sum() == 1 and row[hard.argmax()] == row.max()
    if len(set(logits)) == len(logits) and (row + shift).unique().numel() == len(logits):
        assert torch.equal(choose(row + shift, None), hard)


@pytest.mark.parametrize("temperature", [1e-4, 0.5, 3.0])
def test_a_hard_draw_has_exact_values_and_the_gradient_of_the_soft_one(temperature: float) -> None:
    """Straight-through: the forward value is one-hot to the bit, the backward pass is soft."""
    logits, worth = torch.randn(40, 5), torch.randn(5)
    gradients, values = [], []
    for hard in (True, False):
        torch.manual_seed(4)
        leaf = logits.clone().requires_grad_()
        value = choose(leaf, temperature, hard=hard)
        (value * worth).sum().backward()
        gradients.append(leaf.grad)
        values.append(value.detach())
    assert set(values[0].flatten().tolist()) == {0.0, 1.0}
    assert torch.equal(values[0], choose(values[1], None)), "the same noise decides both"
    torch.testing.assert_close(gradients[0], gradients[1])


def test_soft_draws_go_from_equal_shares_to_one_choice_as_they_cool() -> None:
    logits = torch.tensor([0.3, -0.2, 0.9]).expand(200, -1)
    hot, cold = choose(logits, 1e5, hard=False), choose(logits, 1e-5, hard=False)
    torch.testing.assert_close(hot, torch.full_like(hot, 1 / 3), rtol=0, atol=1e-3)
    assert (cold.amax(-1) > 0.999).float().mean() > 0.98
    for soft in (hot, cold):
        torch.testing.assert_close(soft.sum(-1), torch.ones(200))


START = double([0.4, -0.3, 1.1])
WORTH = double([2.0, -1.0, 0.5])


def leave_one_out(values: Tensor) -> Tensor:
    baseline = ReinforceBaseline(0.9)
    baseline.mean = 7.0
    return baseline.advantage(values)


def enumerated(samples: int, advantage: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Gradient of E[worth], and REINFORCE's expected gradient over every tuple of draws."""
    choice = Choice(START.unsqueeze(0), torch.ones(1, 3, dtype=torch.bool), draw="reinforce")
    p = choice.probabilities()[0]
    (exact,) = torch.autograd.grad((p * WORTH).sum(), choice.logits)
    total = torch.zeros_like(exact)
    for outcome in product(range(3), repeat=samples):
        log_p = []
        for number in outcome:
            choice.drawn = torch.eye(3, dtype=torch.float64)[[number]]
            log_p.append(choice.log_probability())
        loss = (advantage(WORTH[list(outcome)]) * torch.stack(log_p)).mean()
        (gradient,) = torch.autograd.grad(loss, choice.logits)
        total += p.detach()[list(outcome)].prod() * gradient
    return exact, total


@pytest.mark.parametrize("samples", [1, 2, 3])
def test_reinforce_is_unbiased_over_all_outcomes(samples: int) -> None:
    """Exactly, with the moving average of one draw and the leave-one-out mean of several."""
    exact, expected = enumerated(samples, leave_one_out)
    torch.testing.assert_close(expected, exact)
    assert exact.abs().max() > 0.1


def test_a_baseline_that_holds_the_draw_itself_shrinks_the_gradient() -> None:
    """Why each draw has the mean of the others: with the mean of all n it is (n - 1) / n of it."""
    for samples in (2, 3):
        exact, expected = enumerated(samples, lambda values: values - values.mean())
        torch.testing.assert_close(expected, exact * (samples - 1) / samples)


def test_the_log_probability_of_a_draw_is_that_of_its_rows() -> None:
    logits = torch.tensor([[0.0, 1.0, -1.0], [2.0, 0.5, 0.0]])
    choice = Choice(logits, torch.tensor([[True] * 3, [True, True, False]]), draw="reinforce")
    rows = choice(1.0)
    by_hand = 0.0
    for row, count in ((0, 3), (1, 2)):
        weights = [math.exp(z) for z in logits[row, :count].tolist()]
        by_hand += math.log(weights[int(rows[row].argmax())] / sum(weights))
    assert choice.log_probability().item() == pytest.approx(by_hand)
    assert not rows.requires_grad and choice.log_probability().requires_grad
    choice(None)
    assert choice.log_probability() == 0, "the most probable row was not drawn"


@given(st.lists(numbers, min_size=3, max_size=3))
def test_entropy_is_the_sum_of_p_log_p_as_a_share_of_the_largest(logits: list[float]) -> None:
    allowed = torch.tensor([[True, True, True], [True, True, False], [False, True, False]])
    choice = Choice(double(logits).expand(3, -1), allowed)
    shares = choice.entropies().tolist()
    for share, count in zip(shares, (3, 2), strict=True):
        weights = [math.exp(z) for z in logits[:count]]
        p = [w / sum(weights) for w in weights]
        entropy = -sum(x * math.log(x) for x in p)
        assert share == pytest.approx(entropy / math.log(count), abs=1e-6)
        assert -1e-6 <= share <= 1 + 1e-6


@given(numbers, st.floats(0.05, 4.0))
def test_the_stretched_sigmoid_is_odd_about_a_half_and_rises(
    log_odds: float, temperature: float
) -> None:
    low, high = stretched_sigmoid(double([-log_odds, log_odds]), temperature).tolist()
    assert low + high == pytest.approx(1.0)
    assert 0.0 <= low <= 1.0
    assert (high - low) * log_odds >= 0.0


def test_hard_concrete_opens_as_often_as_its_quantiles_say() -> None:
    """Over an even grid of noise in place of draws: the share of values that are not 0."""
    u = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    for log_alpha in (-3.0, -0.4, 0.0, 2.5):
        values = stretched_sigmoid(u.logit() + log_alpha, BETA)
        chance = open_probability(double([log_alpha])).item()
        assert (values > 0).double().mean().item() == pytest.approx(chance, abs=1e-5)
        above_half = (values > 0.5).double().mean().item()
        assert above_half == pytest.approx(1 / (1 + math.exp(-log_alpha)), abs=1e-5)


@given(st.lists(st.floats(0.0, 1.0), min_size=4, max_size=4), st.integers(1, 4), st.booleans())
def test_a_lane_opens_at_least_one_gate_and_at_most_as_many_as_it_may(
    start: list[float], most: int, frozen: bool
) -> None:
    start[2] = max(start[2], 0.01)
    probabilities = torch.tensor([start, start[::-1]])
    gates = HardConcreteGates(probabilities, most=most)
    with torch.no_grad():
        values = gates(None if frozen else 1.0)
    assert ((values >= 0) & (values <= 1)).all()
    assert (values[probabilities == 0] == 0).all(), "an edge that is not there"
    opened = (values > 0).sum(-1)
    assert (opened >= 1).all() and (opened <= most).all()


def test_gates_start_at_the_probabilities_that_they_are_given() -> None:
    start = torch.tensor([[0.2, 0.0, 0.9], [0.5, 0.7, 0.0]])
    gates = HardConcreteGates(start, most=2)
    torch.testing.assert_close(gates.probabilities(), start)
    assert gates.log_probability() == 0
    p = start[start > 0].tolist()
    entropies = [-(x * math.log2(x) + (1 - x) * math.log2(1 - x)) for x in p]
    assert gates.entropies().tolist() == pytest.approx(entropies)


def test_the_expected_share_of_gates_rises_with_every_gate() -> None:
    gates = HardConcreteGates(torch.full((2, 3), 0.4), most=3)
    (gradient,) = torch.autograd.grad(gates.expected_share(), gates.log_alpha)
    assert (gradient > 0).all()
    shares = []
    for log_alpha in (-60.0, 0.0, 60.0):
        with torch.no_grad():
            gates.log_alpha.fill_(log_alpha)
        shares.append(gates.expected_share().item())
    assert shares[0] == pytest.approx(0.0) and shares[2] == pytest.approx(1.0)
    assert shares[0] < shares[1] < shares[2]


def scrambled(policy: Policy) -> Policy:
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.normal_()
    return policy


def test_a_conjunction_is_the_product_of_its_policies_in_any_order() -> None:
    layout = both()
    route = scrambled(RoutePolicy(layout, max_edges=2))
    skips = [scrambled(SkipPolicy(layout, sparsity=0.2 + n, sharing=0.1)) for n in range(2)]
    orders = [route & skips[0] & skips[1], skips[1] & (route & skips[0])]
    single = [drawn(policy, None, draws=1)[0] for policy in (route, *skips)]
    for mixture in orders:
        for depth, decision in enumerate(drawn(mixture, None, draws=1)[0]):
            for name in ("keep", "query", "run"):
                parts = [getattr(decisions[depth], name) for decisions in single]
                assert torch.equal(getattr(decision, name), parts[0] * parts[1] * parts[2])
        penalties = [policy.penalty() for policy in (route, *skips)]
        torch.testing.assert_close(mixture.penalty(), torch.stack(penalties).sum())


def test_the_log_probability_of_a_conjunction_is_the_sum_of_its_draws() -> None:
    layout = both()
    parts = [scrambled(RoutePolicy(layout, max_edges=2, estimator="reinforce")) for _ in range(2)]
    mixture = parts[0] & parts[1]
    mixture(1.0)
    total = torch.stack([part.log_probability() for part in parts]).sum()
    torch.testing.assert_close(mixture.log_probability(), total)
    assert total < 0


@pytest.mark.parametrize("layout", [tree(), cells(), both()], ids=lambda layout: layout.name)
def test_a_policy_without_parameters_always_decides_the_same(layout: Layout) -> None:
    policy = Policy(layout)
    assert not list(policy.parameters())
    first, second = drawn(policy, 0.5, draws=2)
    for one_layer, again in zip(first, second, strict=True):
        assert torch.equal(one_layer.keep, again.keep) and torch.equal(one_layer.run, again.run)


def test_checkpoints_know_the_parameters_of_a_mixture_by_these_names() -> None:
    """States of unfinished searches hold them: a name may change only with a reader of the old."""
    layout = both()
    mixture = RoutePolicy(layout, max_edges=2) & SkipPolicy(layout)
    assert set(mixture.state_dict()) == {
        "policies.0.keeps.2.choice.logits",
        "policies.0.keeps.3.choice.logits",
        "policies.0.queries.2.logits",
        "policies.0.queries.3.logits",
        "policies.1.skips.1.logits",
        "policies.1.skips.2.logits",
    }
    gates = RoutePolicy(layout, max_edges=2, estimator="hard_concrete")
    assert {"keeps.2.log_alpha", "keeps.3.log_alpha"} <= set(gates.state_dict())

"""The skip policy: which lanes may skip, what its losses pull at, and what they ignore."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recmtl.grid import Layer, Layout, mmoe
from recmtl.policies import SkipPolicy
from tests.contracts.spaces import TASKS, both, tree

odds = st.lists(st.floats(-4.0, 4.0, width=32), min_size=2 * TASKS, max_size=2 * TASKS)
variants = pytest.mark.parametrize("variant", ["paper", "code"])


def with_odds(values: list[float], **options: object) -> SkipPolicy:
    """A skip policy of two layers with given log odds of running."""
    policy = SkipPolicy(tree(), **options).double()
    with torch.no_grad():
        for depth, row in enumerate(torch.tensor(values).view(2, TASKS), start=1):
            policy.skips[str(depth)].logits.copy_(torch.stack([row, torch.zeros(TASKS)], -1))
    return policy


@pytest.mark.parametrize("start", [-2.0, 0.0, 3.0])
def test_lanes_start_at_the_odds_that_are_given(start: float) -> None:
    policy = SkipPolicy(both(), start=start)
    probability = torch.sigmoid(torch.tensor(start)).item()
    assert policy.run_probability(1).tolist() == pytest.approx([probability] * TASKS)
    assert policy.run_probability(2).tolist() == pytest.approx([probability, 1.0, probability])


def test_a_lane_without_experts_always_skips() -> None:
    layer = Layer(4, ((0, 0),), ((0,), ()), gate="one", shortcut=(0, 1))
    policy = SkipPolicy(Layout("carried", (layer,), (0, 1), input_lanes=2), start=9.0)
    for temperature in (None, 0.5):
        assert policy(temperature)[0].run[0].tolist()[1] == 0.0


def test_a_layout_without_shortcuts_has_no_parameters_and_runs() -> None:
    policy = SkipPolicy(mmoe(3, experts=2, widths=(4,)), sparsity=1.0, sharing=1.0)
    assert not list(policy.parameters()) and policy.depths == ()
    assert policy.penalty() == 0
    assert all(decision.run.all() for decision in policy(1.0))


@variants
@given(values=odds)
def test_sparsity_pulls_every_lane_towards_skipping(variant: str, values: list[float]) -> None:
    policy = with_odds(values, variant=variant, sparsity=1.0)
    gradients = torch.autograd.grad(policy.penalty(), list(policy.parameters()))
    for gradient in gradients:
        run, skip = gradient.unbind(-1)
        assert (run > 0).all(), "descent lowers the logit of running"
        torch.testing.assert_close(skip, -run)


@variants
@given(values=odds, order=st.permutations(range(TASKS)))
def test_losses_do_not_depend_on_the_order_of_the_tasks(
    variant: str, values: list[float], order: list[int]
) -> None:
    options = {"variant": variant, "sparsity": 0.4, "sharing": 0.7}
    turned = [values[depth * TASKS + task] for depth in range(2) for task in order]
    one, other = (with_odds(v, **options).penalty() for v in (values, turned))
    torch.testing.assert_close(one, other)


@variants
@given(values=odds)
def test_losses_are_linear_in_their_weights(variant: str, values: list[float]) -> None:
    def penalty(sparsity: float, sharing: float) -> float:
        options = {"sparsity": sparsity, "sharing": sharing}
        return with_odds(values, variant=variant, **options).penalty().item()

    both_terms = 0.3 * penalty(1.0, 0.0) + 2.0 * penalty(0.0, 1.0)
    assert penalty(0.3, 2.0) == pytest.approx(both_terms, rel=1e-6, abs=1e-9)
    assert penalty(0.0, 1.0) >= 0.0, "sharing is a sum of distances"


@given(values=odds)
def test_the_variants_share_the_sign_of_every_pull_of_sharing(values: list[float]) -> None:
    """One compares probabilities and the other logits: a task that runs more is pulled down."""
    signs = []
    for variant in ("paper", "code"):
        policy = with_odds(values, variant=variant, sharing=1.0)
        gradients = torch.autograd.grad(policy.penalty(), list(policy.parameters()))
        signs.append(torch.stack([gradient[:, 0] for gradient in gradients]).sign())
    distinct = (
        len({*values}) == len(values)
        and min(abs(a - b) for n, a in enumerate(values) for b in values[:n]) > 1e-3
    )
    assert not distinct or torch.equal(*signs)


def test_soft_draws_mix_and_hard_ones_do_not() -> None:
    for hard in (True, False):
        policy = with_odds([0.0] * 6, hard=hard)
        runs = torch.cat([decision.run for _ in range(40) for decision in policy(1.0)[1:]])
        assert bool(((runs == 0) | (runs == 1)).all()) is hard
        assert runs.requires_grad
        frozen = torch.cat([decision.run for decision in policy(None)])
        assert ((frozen == 0) | (frozen == 1)).all()

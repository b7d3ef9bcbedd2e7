"""Penalties, estimators and curricula of the policies against their formulas."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from recmtl.errors import ConfigError
from recmtl.grid import Decision, Layer, Layout, recmtl_grid
from recmtl.policies import Policy, RoutePolicy, SkipPolicy
from recmtl.policies.policy import (
    BETA,
    GAMMA,
    ZETA,
    Choice,
    HardConcreteGates,
    open_probability,
    stretched_sigmoid,
)
from recmtl.search.schedule import ReinforceBaseline
from tests.contracts.spaces import TASKS, cells, tree

BLOCKS = 2
"""Layers of `tree()` that may skip; numbers 1 and 2 of its layers."""
GRID = recmtl_grid(4, cells=5, widths=(6, 4), depth=2)


def skips(run: list[list[float]], **options: object) -> SkipPolicy:
    """A skip policy with given log odds of running, `[layers][lanes]`; skip logits are 0."""
    policy = SkipPolicy(tree(), **options).double()
    with torch.no_grad():
        for depth, odds in enumerate(run, start=1):
            policy.skips[str(depth)].logits.copy_(torch.tensor([[o, 0.0] for o in odds]))
    return policy


ODDS = [[0.5, -1.0, 2.0], [1.5, 0.0, -0.5]]
PAIRS = [(0, 1), (0, 2), (1, 2)]
RUN = [[1 / (1 + math.exp(-z)) for z in row] for row in ODDS]


def test_the_printed_losses_of_adashare() -> None:
    sparsity = sum(math.log(a) for row in RUN for a in row)
    weights = [2 / 2, 1 / 2]
    sharing = sum(
        w * abs(row[i] - row[j]) for w, row in zip(weights, RUN, strict=True) for i, j in PAIRS
    )
    found = skips(ODDS, variant="paper", sparsity=0.3, sharing=0.7).penalty()
    assert found.item() == pytest.approx(0.3 * sparsity + 0.7 * sharing)


def test_the_coded_losses_of_adashare() -> None:
    sparsity = sum(-math.log(1 - RUN[layer][k]) / BLOCKS for k in range(3) for layer in (0, 1))
    weights = [1 / 2, 2 / 2]
    sharing = sum(
        w * abs(row[i] - row[j]) for w, row in zip(weights, ODDS, strict=True) for i, j in PAIRS
    )
    found = skips(ODDS, variant="code", sparsity=0.3, sharing=0.7).penalty()
    assert found.item() == pytest.approx(0.3 * sparsity + 0.7 * sharing)


def test_the_paper_shares_low_layers_the_code_high_ones() -> None:
    agree, differ = [1.0, 1.0, 1.0], [1.0, 1.0, -1.0]
    low, high = [differ, agree], [agree, differ]
    for variant, dearer, cheaper in (("paper", low, high), ("code", high, low)):
        dear, cheap = (
            skips(odds, variant=variant, sharing=1.0).penalty().item() for odds in (dearer, cheaper)
        )
        assert dear == pytest.approx(2 * cheap)


@pytest.mark.parametrize("variant", ["paper", "code"])
def test_sharing_costs_nothing_where_all_tasks_agree(variant: str) -> None:
    assert skips([[0.7] * 3, [-2.0] * 3], variant=variant, sharing=1.0).penalty() == 0


def test_the_coded_sparsity_tends_to_nothing_where_all_skip() -> None:
    values = [skips([[odds] * 3] * 2, variant="code", sparsity=1.0) for odds in (0, -5, -50)]
    found = [policy.penalty().item() for policy in values]
    assert found[0] == pytest.approx(TASKS * math.log(2))
    assert found[0] > found[1] > found[2] > 0
    assert found[2] < 1e-20


def test_the_printed_sparsity_is_nothing_where_all_run_and_has_no_floor() -> None:
    found = [
        skips([[odds] * 3] * 2, variant="paper", sparsity=1.0).penalty().item()
        for odds in (50, 0, -50)
    ]
    assert found[0] == pytest.approx(0, abs=1e-20)
    assert found[1] == pytest.approx(-6 * math.log(2))
    assert found[2] == pytest.approx(-300)


@pytest.mark.parametrize("variant", ["paper", "code"])
def test_a_curriculum_opens_layers_from_the_last(variant: str) -> None:
    """Shut layers always run; the losses follow what the class says about them."""
    policy = skips([[-9.0] * 3, [-9.0] * 3], variant=variant, sparsity=1.0)
    opened = {}
    for count in (0, 1, 2, 5):
        policy.open_layers(count)
        opened[count] = [int(decision.run.sum()) for decision in policy(None)]
    assert opened == {0: [3, 3, 3], 1: [3, 3, 0], 2: [3, 0, 0], 5: [3, 0, 0]}
    policy.open_layers(1)
    one = {"paper": 3 * math.log(1 / (1 + math.exp(9))), "code": 3 * math.log1p(math.exp(-9))}
    assert policy.penalty().item() == pytest.approx(one[variant])
    policy.open_layers(0)
    assert policy.penalty() == 0


def test_the_coded_sharing_covers_shut_layers_the_printed_one_does_not() -> None:
    odds = [[2.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    policies = {v: skips(odds, variant=v, sharing=1.0) for v in ("paper", "code")}
    for policy in policies.values():
        policy.open_layers(1)
    assert policies["paper"].penalty() == 0
    assert policies["code"].penalty().item() == pytest.approx(0.5 * (2 + 2))


def test_always_running_lanes_count_for_nothing() -> None:
    layer = Layer(4, ((0, 0), (1, 1)), ((0,), (1,)), gate="one", shortcut=(None, 1))
    layout = Layout("half", (layer,), (0, 1), input_lanes=2)
    policy = SkipPolicy(layout, variant="code", sparsity=1.0, sharing=1.0)
    assert policy.penalty().item() == pytest.approx(math.log(2))


def test_hard_concrete_is_louizos() -> None:
    """Against the formulas of the reference, with the noise written out."""
    torch.manual_seed(5)
    log_alpha, uniform = torch.randn(50, dtype=torch.float64), torch.rand(50, dtype=torch.float64)
    noise = uniform.log() - (1 - uniform).log()
    s = torch.sigmoid((noise + log_alpha) / BETA)
    wanted = (s * (ZETA - GAMMA) + GAMMA).clamp_min(0).clamp_max(1)
    torch.testing.assert_close(stretched_sigmoid(log_alpha + noise, BETA), wanted)
    opened = torch.sigmoid(log_alpha - 0.9 * math.log(0.1 / 1.1))
    torch.testing.assert_close(open_probability(log_alpha), opened)


def test_hard_concrete_gates_are_shut_and_open_as_often_as_they_say() -> None:
    draws, log_alpha = 40_000, torch.tensor([-1.0, 0.0, 1.5])
    gates = HardConcreteGates(torch.sigmoid(log_alpha).expand(draws, 3), most=3)
    with torch.no_grad():
        z = gates(1.0)
    loose = 5 * math.sqrt(0.25 / draws)
    chance = open_probability(log_alpha)
    whole = torch.sigmoid(log_alpha - 0.9 * math.log(1.1 / 0.1))
    # A lane whose gates are all shut keeps its highest: that many more may be open and whole.
    rescued = (1 - chance).prod() + loose
    for seen, wanted in (((z > 0), chance), ((z == 1), whole)):
        share = seen.float().mean(0)
        assert ((share >= wanted - loose) & (share <= wanted + rescued)).all()
    assert ((z > 0).sum(-1) >= 1).all()


def test_the_price_of_edges_is_their_expected_share() -> None:
    policy = RoutePolicy(cells(), max_edges=3, estimator="hard_concrete", edge_price=0.5).double()
    gates = [module for module in policy.modules() if isinstance(module, HardConcreteGates)]
    wanted = []
    for module in gates:
        with torch.no_grad():
            module.log_alpha.normal_()
        share = open_probability(module.log_alpha)[module.get_buffer("exists")]
        wanted.append(share.mean())
    assert len(gates) == 2
    torch.testing.assert_close(policy.penalty(), 0.5 * torch.stack(wanted).mean())
    with torch.no_grad():
        for module in gates:
            module.log_alpha.fill_(-60.0)
    assert policy.penalty().item() < 1e-20


@pytest.mark.parametrize("anchor", [0.0, 4.0])
def test_all_estimators_start_with_the_same_probabilities(anchor: float) -> None:
    subsets, gates = (
        RoutePolicy(GRID, max_edges=3, estimator=estimator, anchor=anchor)
        for estimator in ("reinforce", "hard_concrete")
    )
    depth = len(GRID.layers) - 1
    torch.testing.assert_close(gates.keep_probability(depth), subsets.keep_probability(depth))


def test_frozen_hard_concrete_gates_are_those_above_a_half() -> None:
    gates = HardConcreteGates(torch.tensor([[0.9, 0.8, 0.7, 0.0], [0.3, 0.2, 0.4, 0.1]]), most=2)
    assert gates(None).tolist() == [[1, 1, 0, 0], [0, 0, 1, 0]], "at most two, at least the best"


@pytest.mark.parametrize("samples", [1, 3])
def test_reinforce_has_the_gradient_of_the_expected_value(samples: int) -> None:
    """Mean of `(value - baseline) * grad log p` over draws, and the sum over all outcomes."""
    start = torch.tensor([[0.3, -0.5, 0.9], [0.0, 0.7, 0.0]], dtype=torch.float64)
    allowed = torch.tensor([[True, True, True], [True, True, False]])
    worth = torch.tensor([[1.0, 4.0, 2.0], [0.0, 3.0, 0.0]], dtype=torch.float64)
    choice = Choice(start, allowed, draw="reinforce")

    def value(rows: Tensor) -> Tensor:
        return (rows * worth).sum(-1).prod()

    p = choice.probabilities()
    expected = sum(
        p[0, i] * p[1, j] * worth[0, i] * worth[1, j] for i, j in product(range(3), range(2))
    )
    (wanted,) = torch.autograd.grad(expected, choice.logits)
    baseline, found = ReinforceBaseline(0.9), []
    for _ in range(1500):
        drawn = []
        for _ in range(samples):
            rows = choice(1.0)
            drawn.append((value(rows), choice.log_probability()))
        values, log_p = (torch.stack(column) for column in zip(*drawn, strict=True))
        loss = (baseline.advantage(values) * log_p).mean()
        found.append(torch.autograd.grad(loss, choice.logits)[0])
    gradients = torch.stack(found)
    error = gradients.std(0) / math.sqrt(len(gradients))
    assert ((gradients.mean(0) - wanted).abs() <= 5 * error).all()
    assert (wanted.abs() > 10 * error).any(), "the test would notice a zero gradient"


def test_a_policy_by_itself_keeps_and_runs_everything() -> None:
    policy = Policy(tree())
    decisions = policy(1.0)
    assert all(d.run.all() and (d.keep.sum(-1) == 1).all() for d in decisions)
    assert (policy.penalty(), policy.log_probability(), policy.entropy()) == (0, 0, 0)


def test_entropy_falls_from_one_to_zero_as_a_mixture_decides() -> None:
    mixture = RoutePolicy(GRID, max_edges=2) & SkipPolicy(GRID)
    assert mixture.entropy().item() == pytest.approx(1.0)
    with torch.no_grad():
        for module in mixture.modules():
            if isinstance(module, Choice):
                module.logits[:, 0] = 60.0
    assert mixture.entropy() < 1e-6


def test_mixtures_keep_their_order_and_refuse_other_layouts() -> None:
    route, one, two = RoutePolicy(GRID, max_edges=2), SkipPolicy(GRID), SkipPolicy(GRID, start=2.0)
    for policy in (one, two):
        policy.open_layers(0)
    mixture = route & one & two
    mixture.open_layers(1)
    assert one.opened == two.opened == one.depths != ()
    assert all(isinstance(decision, Decision) for decision in mixture(None))
    with pytest.raises(ConfigError, match="different layouts"):
        _ = route & SkipPolicy(tree())


def test_near_subsets_differ_in_one_step() -> None:
    depth, lane = len(GRID.layers) - 1, 2
    policy = RoutePolicy(GRID, max_edges=2)
    keep = torch.zeros(5)
    keep[2] = 1.0
    near = policy.near(depth, lane, keep, step=2)
    kept = {tuple(row.nonzero().flatten().tolist()) for row in near}
    more = {tuple(sorted((2, other))) for other in (0, 1, 3, 4)}
    assert kept == more | {(other,) for other in (0, 1, 3, 4)}
    assert len(near) == len(kept)


def test_the_baseline_of_a_single_draw_is_a_moving_average_of_those_before() -> None:
    baseline = ReinforceBaseline(0.5)
    found = [float(baseline.advantage(torch.tensor([value]))) for value in (3.0, 5.0, 4.0, 0.0)]
    assert found == [0.0, 2.0, 0.0, -4.0]
    several = ReinforceBaseline(0.5).advantage(torch.tensor([1.0, 2.0, 6.0]))
    assert several.tolist() == [1.0 - 4.0, 2.0 - 3.5, 6.0 - 1.5]

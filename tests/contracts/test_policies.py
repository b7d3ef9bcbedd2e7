"""What every policy and every mixture of policies promises, on tables and on images."""

import json

import pytest
import torch
from torch import Tensor

from recmtl.grid import INPUT, Layer, Layout, Routes, full_decision, prune_grid
from recmtl.grid.experts import pooled_features
from recmtl.policies import Conjunction, Policy
from recmtl.policies.policy import Choice, HardConcreteGates
from tests.contracts.spaces import (
    CASES,
    ESTIMATORS,
    EVERYONE,
    MAX_EDGES,
    TASKS,
    WIDTH,
    Case,
    drawn,
    route,
)
from tests.grids import decided

TABLES = [case for case in CASES if not case.image]
SYMMETRIC = Layout(
    "equal lanes",
    (
        Layer(WIDTH, tuple((e, 0) for e in EVERYONE), tuple((e,) for e in EVERYONE), gate="one"),
        Layer(
            WIDTH,
            tuple((e, e) for e in EVERYONE),
            (EVERYONE,) * TASKS,
            queries=((INPUT, 0),) * TASKS,
            searched=True,
        ),
    ),
    EVERYONE,
)
"""Routes whose lanes differ in nothing but their number."""

every = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def test_the_cases_cover_every_estimator_variant_and_mixture() -> None:
    names = " | ".join(case.name for case in CASES)
    for part in (*ESTIMATORS, "paper", "code", "hard", "soft", "instance", "images", "&"):
        assert part in names
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", [c for c in CASES if "inst" in c.name], ids=lambda c: c.name)
def test_the_instance_gates_of_these_cases_decide_for_each_example(case: Case) -> None:
    network, lanes = case.network(), case.lanes()
    with torch.no_grad():
        for depth, layer in enumerate(case.layout.layers):
            gate = network.layer(depth).instance
            assert (gate is not None) == (layer.rate < 1)
            assert gate is None or 0 < gate(lanes).mean() < 1
            lanes = network.layer(depth)(lanes, pooled_features(case.lanes()).flatten(1), None)


@every
@pytest.mark.parametrize("temperature", [None, 0.3, 2.0])
def test_decisions_have_the_shapes_and_ranges_of_the_layout(
    case: Case, temperature: float | None
) -> None:
    for decisions in drawn(case.policy(), temperature, draws=5):
        for layer, decision in zip(case.layout.layers, decisions, strict=True):
            full = full_decision(layer)
            for name in ("keep", "query", "run"):
                value = getattr(decision, name)
                assert value.shape == getattr(full, name).shape
                assert value.dtype == torch.float64
                assert ((value >= 0) & (value <= 1)).all()
            assert (decision.keep <= full.keep).all(), "an edge that is not there"
            assert ((decision.keep > 0).sum(-1) >= 1).all(), "a lane that hears nothing"
            assert (decision.query.sum(-1) == 1).all()
            if layer.searched:
                assert ((decision.keep > 0).sum(-1) <= MAX_EDGES).all()
            always = [lane is None for lane in layer.shortcut]
            assert (decision.run[0, always] == 1).all()


@every
def test_the_most_probable_decision_is_hard_and_always_the_same(case: Case) -> None:
    policy = case.policy()
    first, second = drawn(policy, None, draws=2)
    for one, other in zip(first, second, strict=True):
        for name in ("keep", "query", "run"):
            value = getattr(one, name)
            assert ((value == 0) | (value == 1)).all()
            assert torch.equal(value, getattr(other, name))


@every
def test_draws_differ(case: Case) -> None:
    policy = case.policy(scale=0.1)
    found = {str(Routes.of(case.layout, d)) for d in drawn(policy, 0.01, draws=40)}
    assert len(found) > 4


@every
def test_every_architecture_parameter_that_is_a_choice_gets_a_gradient(case: Case) -> None:
    """From the loss alone; what is no choice gets none."""
    policy, network, lanes = case.policy(scale=0.3), case.network(), case.lanes()
    total = {name: torch.zeros_like(p) for name, p in policy.named_parameters()}
    wanted = choices(policy)
    for _ in range(80):
        value = network(lanes, policy(1.0)).square().mean()
        loss = value + (value.detach() - 0.1) * policy.log_probability()
        gradients = torch.autograd.grad(loss, list(policy.parameters()), allow_unused=True)
        for name, gradient in zip(total, gradients, strict=True):
            assert gradient is not None, name
            assert gradient.isfinite().all(), name
            total[name] += gradient.abs()
        if all((total[name] > 0)[wanted[name]].all() for name in total):
            break
    for name, size in total.items():
        assert (size > 0)[wanted[name]].all(), f"{name}: {size}"
        if isinstance(policy.get_submodule(name.rpartition(".")[0]), Choice):
            assert (size == 0)[~wanted[name]].all(), f"{name}: {size}"


def choices(policy: Policy) -> dict[str, Tensor]:
    """For each parameter which of its entries stand for something that may be chosen or not."""
    found = {}
    for name, module in policy.named_modules():
        if isinstance(module, Choice):
            found[f"{name}.logits"] = several(module.get_buffer("allowed"))
        if isinstance(module, HardConcreteGates):
            found[f"{name}.log_alpha"] = several(module.get_buffer("exists"))
    return found


def several(there: Tensor) -> Tensor:
    return there & (there.sum(-1, keepdim=True) > 1)


@every
def test_only_draws_without_a_gradient_of_their_own_have_a_log_probability(case: Case) -> None:
    policy = case.policy()
    with torch.no_grad():
        policy(1.0)
        drawn_one = policy.log_probability()
        policy(None)
        assert policy.log_probability() == 0, "nothing was drawn"
    assert drawn_one.shape == ()
    assert (drawn_one < 0) if "reinforce" in case.name else (drawn_one == 0)


@every
def test_penalties_are_scalars_and_those_of_a_mixture_add_up(case: Case) -> None:
    policy = case.policy()
    penalty = policy.penalty()
    assert penalty.shape == () and penalty.isfinite()
    assert (penalty == 0) == (policy.zero is penalty or not penalty.requires_grad)
    if isinstance(policy, Conjunction):
        parts = [part.penalty() for part in policy.policies]
        torch.testing.assert_close(penalty, torch.stack(parts).sum())


@every
def test_cold_draws_are_hard(case: Case) -> None:
    for decisions in drawn(case.policy(), 1e-6, draws=10):
        for decision in decisions:
            for name in ("keep", "query", "run"):
                value = getattr(decision, name)
                torch.testing.assert_close(value, value.round(), rtol=0, atol=1e-6)


@every
def test_a_policy_that_is_sure_draws_what_is_most_probable(case: Case) -> None:
    policy = case.policy(scale=3000.0)
    sure = Routes.of(case.layout, drawn(policy, None, draws=1)[0])
    for decisions in drawn(policy, 0.5, draws=10):
        assert Routes.of(case.layout, decisions) == sure


@pytest.mark.parametrize("case", [c for c in CASES if "soft" in c.name], ids=lambda c: c.name)
def test_soft_mixing_tends_to_hard_as_it_cools(case: Case) -> None:
    policy = case.policy()
    softness = []
    for temperature in (5.0, 0.5, 0.05):
        runs = [d.run for found in drawn(policy, temperature, draws=60) for d in found]
        softness.append(torch.cat([run * (1 - run) for run in runs], 1).mean().item())
    assert softness[0] > 2 * softness[1] > 4 * softness[2]


@every
def test_a_frozen_route_replays_from_json(case: Case) -> None:
    policy, network, lanes = case.policy(), case.network(), case.lanes()
    with torch.no_grad():
        decisions = policy(None)
        text = json.dumps(Routes.of(case.layout, decisions).to_json())
        loaded = Routes.from_json(json.loads(text))
        assert torch.equal(network(lanes, decisions), network(lanes, decided(case.layout, loaded)))


@pytest.mark.parametrize("case", TABLES, ids=lambda case: case.name)
def test_the_pruned_network_computes_what_the_masked_one_does(case: Case) -> None:
    network, lanes = case.network(), case.lanes()
    for seed in range(4):
        decisions = drawn(case.policy(seed=seed), None, draws=1)[0]
        small = prune_grid(network, Routes.of(case.layout, decisions))
        with torch.no_grad():
            torch.testing.assert_close(
                small(lanes), network(lanes, decisions), rtol=1e-9, atol=1e-12
            )
        assert small.layout != case.layout


@every
def test_evaluation_is_deterministic_and_does_not_depend_on_the_batch(case: Case) -> None:
    policy, network, lanes = case.policy(), case.network(), case.lanes()
    with torch.no_grad():
        together = network(lanes, policy(None))
        torch.manual_seed(99)
        again = network(lanes, policy(None))
        alone = torch.cat([network(row.unsqueeze(0), policy(None)) for row in lanes])
    assert torch.equal(together, again)
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-12)


ALIKE = [case for case in CASES if case.layout.name == "skips"]
ALIKE += [Case(f"route {e}", SYMMETRIC, route(e)) for e in ESTIMATORS]
"""Cases whose tasks are alike: what they get depends on the policy alone."""


@pytest.mark.parametrize("case", ALIKE, ids=lambda case: case.name)
def test_relabelling_the_tasks_permutes_the_outputs(case: Case) -> None:
    order = [2, 0, 1]
    policy, network, lanes = case.policy(), case.network(), case.lanes()
    with torch.no_grad():
        before, penalty = network(lanes, policy(None)), policy.penalty()
        assert not torch.allclose(before, before[:, order]), "the tasks get different outputs"
        for parameter in policy.parameters():
            parameter.copy_(parameter[order])
        if case.layout is SYMMETRIC:
            relabel_gates(network.layer(1).gate, order)
        after = network(lanes, policy(None))
    torch.testing.assert_close(after, before[:, order], rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(policy.penalty(), penalty)


def relabel_gates(gate: torch.nn.Module, order: list[int]) -> None:
    """Give each lane's logits to the lane that has its place now."""
    for source in gate.sources:
        old = {
            (lane, a): [part.clone() for part in gate.logit(source, lane, a)]
            for lane in EVERYONE
            for a in EVERYONE
        }
        for lane, before in enumerate(order):
            for a in EVERYONE:
                for part, value in zip(gate.logit(source, lane, a), old[before, a], strict=True):
                    part.copy_(value)

"""Instance gates keep their rate where it costs something: in evaluation, without noise."""

import pytest
import torch

from recmtl.grid import InstancePolicy


def some_gate(rate: float) -> tuple[InstancePolicy, torch.Tensor]:
    torch.manual_seed(0)
    return InstancePolicy(6, [0, 1], rate=rate), torch.randn(400, 2, 6)


@pytest.mark.parametrize("rate", [0.3, 0.6, 0.9])
def test_a_gate_learns_to_run_its_share_of_examples_in_evaluation(rate: float) -> None:
    gate, lanes = some_gate(rate)
    optimizer = torch.optim.Adam(gate.parameters(), lr=3e-3)
    for _ in range(300):
        gate(lanes)
        optimizer.zero_grad()
        gate.penalty().backward()
        optimizer.step()
    assert gate.eval()(lanes).mean(0).tolist() == pytest.approx([rate, rate], abs=0.05)


def test_the_penalty_is_of_what_runs_in_evaluation() -> None:
    gate, lanes = some_gate(0.6)
    assert gate.penalty() == 0
    draws = [gate(lanes).detach() for _ in range(2)]
    assert not torch.equal(*draws)
    penalty = gate.penalty()
    share = gate.eval()(lanes).mean(0)
    assert penalty.item() == pytest.approx((0.6 - share).square().sum().item())

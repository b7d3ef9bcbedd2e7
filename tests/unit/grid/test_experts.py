"""Experts on any path are the plain products; dropout by bytes drops its share."""

from collections.abc import Sequence

import pytest
import torch

from recmtl.grid import fused
from recmtl.grid.experts import (
    Carry,
    StackedExperts,
    dropout,
    pooled_features,
    select_lane,
    select_lanes,
)

APPLICATIONS = {
    "one lane": [(0, 0), (1, 0), (2, 0)],
    "lanes of their own": [(0, 0), (1, 1), (2, 2)],
    "an expert on two lanes": [(0, 0), (1, 1), (0, 2)],
    "out of order": [(2, 0), (0, 0), (1, 0)],
}
WIDTHS = {"mlp": (4, 3, 2), "residual": (4, 3, 4), "linear": (4, 2), "cross": (4, 2, 4, 3)}


@pytest.mark.parametrize("kind", WIDTHS)
@pytest.mark.parametrize("applications", APPLICATIONS.values(), ids=APPLICATIONS)
def test_experts_one_by_one_are_those_together(
    kind: str, applications: Sequence[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    experts = StackedExperts(WIDTHS[kind], applications, kind=kind).double()
    with torch.no_grad():
        for parameter in experts.parameters():
            parameter.normal_()
    lanes = torch.randn(5, 3, 4, dtype=torch.float64)
    together = experts(lanes)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    torch.testing.assert_close(experts(lanes), together)


def drawn_experts(kind: str, applications: Sequence[tuple[int, int]]) -> StackedExperts:
    torch.manual_seed(0)
    experts = StackedExperts(WIDTHS[kind], applications, kind=kind).double()
    for parameter in experts.parameters():
        torch.nn.init.normal_(parameter)
    return experts


def plain_expert(experts: StackedExperts, number: int, x: torch.Tensor) -> torch.Tensor:
    """The formula of one expert, product by product."""
    weights = [weight[number] for weight in experts.weights]
    if experts.kind == "linear":
        return x @ weights[0]
    biases = [bias[number, 0] for bias in experts.biases]
    if experts.kind == "cross":
        crossed = x * ((x @ weights[0] + biases[0]) @ weights[1] + biases[1]) + x
        return crossed @ weights[2] + biases[2]
    hidden = x @ weights[0] + biases[0]
    for weight, bias in zip(weights[1:], biases[1:], strict=True):
        hidden = torch.relu(hidden) @ weight + bias
    return torch.relu(x + hidden if experts.kind == "residual" else hidden)


MORE_APPLICATIONS = {
    **APPLICATIONS,
    "lanes that differ in number": [(0, 0), (1, 1), (0, 2), (0, 1)],
}


@pytest.mark.parametrize("kind", WIDTHS)
@pytest.mark.parametrize("applications", MORE_APPLICATIONS.values(), ids=MORE_APPLICATIONS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("gradients", [True, False])
def test_every_path_computes_the_plain_experts(
    kind: str, applications: Sequence[tuple[int, int]], training: bool, gradients: bool
) -> None:
    experts = drawn_experts(kind, applications).train(training)
    lanes = torch.randn(5, 3, 4, dtype=torch.float64)
    with torch.set_grad_enabled(gradients):
        outputs = experts(lanes)
    for a, (number, lane) in enumerate(applications):
        torch.testing.assert_close(outputs[:, a], plain_expert(experts, number, lanes[:, lane]))


@pytest.mark.parametrize("kind", WIDTHS)
@pytest.mark.parametrize("applications", MORE_APPLICATIONS.values(), ids=MORE_APPLICATIONS)
def test_only_needed_outputs_are_computed(
    kind: str, applications: Sequence[tuple[int, int]]
) -> None:
    experts, lanes = drawn_experts(kind, applications), torch.randn(9, 3, 4, dtype=torch.float64)
    needed = torch.rand(9, len(applications)) < 0.5
    outputs = experts.needed_outputs(lanes, needed)
    torch.testing.assert_close(outputs, experts(lanes) * needed.unsqueeze(-1))


@pytest.mark.parametrize("order", [[0, 1, 2], [1, 0, 2], [2, 0, 1]], ids=str)
def test_a_linear_map_beside_experts_changes_neither(order: list[int]) -> None:
    experts = drawn_experts("mlp", [(number, 0) for number in order])
    linear, lanes = torch.nn.Linear(4, 6).double(), torch.randn(5, 1, 4, dtype=torch.float64)
    assert experts.takes_linear_map is (order == [0, 1, 2])
    if experts.takes_linear_map:
        assert fused.is_supported(lanes)
        outputs, mapped = experts.with_linear_map(lanes, linear)
        torch.testing.assert_close(outputs, experts(lanes))
        torch.testing.assert_close(mapped, linear(lanes[:, 0]))


def test_experts_without_applications_write_no_lane() -> None:
    assert StackedExperts((4, 2), []).forward(torch.ones(3, 1, 4)).shape == (3, 0, 2)


def test_a_layer_that_carries_hands_lanes_on() -> None:
    lanes, carry = torch.randn(3, 2, 4), Carry([(0, 1), (1, 0), (2, 1)])
    assert torch.equal(carry(lanes), lanes[:, [1, 0, 1]])
    assert torch.equal(carry.needed_outputs(lanes, torch.zeros(3, 3)), carry(lanes))


def test_lanes_are_selected_without_copies_where_that_is_possible() -> None:
    lanes = torch.randn(3, 2, 4)
    assert select_lanes(lanes, [0, 1]) is lanes
    repeated = select_lanes(lanes, [1, 1, 1])
    assert repeated.data_ptr() == lanes[:, 1:].data_ptr() and repeated.stride(1) == 0
    assert torch.equal(repeated, lanes[:, [1, 1, 1]])
    assert torch.equal(select_lanes(lanes, [1, 0]), lanes[:, [1, 0]])
    assert torch.equal(select_lane(lanes, 1), lanes[:, 1])
    assert torch.equal(select_lane(lanes[:, :1], 0), lanes[:, 0])


def test_gates_see_the_mean_of_an_images_pixels() -> None:
    images = torch.arange(24.0).view(1, 2, 3, 2, 2)
    assert pooled_features(images)[0].tolist() == [[1.5, 5.5, 9.5], [13.5, 17.5, 21.5]]
    table = torch.randn(5, 2, 3)
    assert pooled_features(table) is table


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_the_share_is_dropped_and_the_mean_stays(share: float) -> None:
    torch.manual_seed(0)
    dropped = dropout(torch.ones(300, 1001), share)
    assert abs((dropped == 0).float().mean().item() - round(share * 256) / 256) < 0.003
    assert abs(dropped.mean().item() - 1.0) < 0.02
    assert len(dropped.unique()) <= 2


def test_the_seed_decides_which() -> None:
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(dropout(torch.ones(50), 0.5))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_gradients_pass_where_values_do() -> None:
    hidden = torch.ones(1000, requires_grad=True)
    dropped = dropout(hidden, 0.3)
    dropped.sum().backward()
    assert hidden.grad is not None
    torch.testing.assert_close(hidden.grad, dropped.detach())

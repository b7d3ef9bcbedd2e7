"""Cross features as experts, a second time from DCN-V2's formula."""

import pytest
import torch

from recmtl.errors import ConfigError
from recmtl.grid import Layer, Layout
from recmtl.grid.experts import StackedExperts
from tests.grids import WIDTH, random_lanes, scrambled
from tests.parity.plain import assert_equal_with_gradients, crossed


@pytest.mark.parametrize("ranks", [(2,), (2, 1), (1, 3, 2)])
@pytest.mark.parametrize("reads", [(0, 0, 0), (0, 1, 2), (0, 1, 1), (2, 0, 1)])
def test_cross_experts_are_those_of_dcn_v2(reads: tuple[int, ...], ranks: tuple[int, ...]) -> None:
    """On one lane, on lanes of their own, and one expert on several lanes."""
    numbers = (0, 1, 2) if len(set(reads)) != 2 else (0, 1, 0)
    applications = tuple(zip(numbers, reads, strict=True))
    layer = Layer(3, applications, ((0,), (1,), (2,)), ranks, gate="one", experts="cross")
    grid = scrambled(layout := Layout("crossed", (layer,), (0, 1, 2), input_lanes=3))
    lanes = random_lanes(layout)
    want = [crossed(grid, 0, number, lanes[:, lane]) for number, lane in applications]
    assert_equal_with_gradients(grid, lanes, grid(lanes), torch.stack(want, 1))


def test_a_cross_expert_starts_almost_linear() -> None:
    torch.manual_seed(0)
    experts = StackedExperts((WIDTH, 2, WIDTH, 3), [(0, 0)], kind="cross")
    x = torch.randn(200, 1, WIDTH)
    with torch.no_grad():
        plain, bent = experts(x), experts(2.0 * x) - 2.0 * experts(x)
    assert 0.0 < float(bent.norm() / plain.norm()) < 0.2


def test_a_cross_expert_needs_a_rank() -> None:
    with pytest.raises(ConfigError, match="rank"):
        Layer(3, ((0, 0),), ((0,),), experts="cross")

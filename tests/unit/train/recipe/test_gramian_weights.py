"""Weights of two conflicting gradients by hand, and what no scale or dependence may change."""

import math
import sys

import pytest
import torch
from torch import Tensor

from recmtl.errors import ConfigError
from recmtl.train.recipe.gramian_weights import COMBINING, weigher
from recmtl.train.recipe.training import Weighting

JACOBIAN = torch.tensor([[1.0, 0.0], [-1.0, 1.0]]).double()
"""Two gradients at an angle of 135 degrees, of lengths 1 and sqrt 2."""
HALF = math.sqrt(2.0)
BY_HAND = {
    # g1 + g2 / 2 and g2 + g1: each without what points against the other.
    "pcgrad": (2.0, 1.5),
    "upgrad": (2.0, 1.5),
    # The shortest vector between both: (g2 - g1) g2 / |g1 - g2|^2 = 3 / 5 of the first.
    "mgda": (1.2, 0.8),
    # Equal projections on both directions: G^-1 (1, sqrt 2) with G^-1 = ((2, 1), (1, 1)).
    "imtl_g": (2 * (2 + HALF) / (3 + 2 * HALF), 2 * (1 + HALF) / (3 + 2 * HALF)),
    # g0 + |g0| / 2 along g1, which gains least: 1/2 + 1/4 and 1/2, times two tasks.
    "cagrad": (1.5, 1.0),
    # w1 |g1| = w2 |g2|.
    "nash_mtl": (2 / (1 + 1 / HALF), 2 / (1 + HALF)),
}


def weights_of(method: str, jacobian: Tensor) -> Tensor:
    if method != "nash_mtl":
        pytest.importorskip("torchjd", reason="the extra torchjd is not installed")
    if method == "cagrad":
        pytest.importorskip("clarabel", reason="the extra torchjd is not installed")
    return weigher(Weighting(method=method))(jacobian @ jacobian.T)


@pytest.mark.parametrize("method", list(BY_HAND))
def test_two_conflicting_gradients_by_hand(method: str) -> None:
    weights = weights_of(method, JACOBIAN)
    assert weights.tolist() == pytest.approx(BY_HAND[method], abs=2e-3)


def test_aligned_gradients_are_as_long_as_the_shortest() -> None:
    weights = weights_of("aligned_mtl", torch.diag(torch.tensor([1.0, 2.0])).double())
    assert weights.tolist() == pytest.approx([1.0, 0.5])


@pytest.mark.parametrize("method", COMBINING)
def test_equal_lengths_without_conflict_make_the_step_of_fixed_weights(method: str) -> None:
    """Apart from CAGrad, which goes beyond the mean gradient by the radius it may."""
    weights = weights_of(method, 3.0 * torch.eye(4).double())
    expected = 1.5 if method == "cagrad" else 1.0
    torch.testing.assert_close(weights, torch.full((4,), expected).double(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("method", ["imtl_g", "upgrad"])
def test_no_task_loses_where_the_method_promises_it(method: str) -> None:
    """The common direction has no negative product with any gradient (random conflicts)."""
    generator = torch.Generator().manual_seed(3)
    for _ in range(20):
        jacobian = torch.randn(3, 5, generator=generator).double()
        products = jacobian @ (weights_of(method, jacobian) @ jacobian)
        assert float(products.min()) > -1e-6


def test_nash_weights_solve_the_bargain() -> None:
    generator = torch.Generator().manual_seed(0)
    for tasks in (2, 3, 6):
        jacobian = torch.randn(tasks, 9, generator=generator).double()
        gramian = jacobian @ jacobian.T
        weights = weights_of("nash_mtl", jacobian)
        product = weights * (gramian @ weights)
        assert float(weights.min()) > 0 and float(weights.sum()) == pytest.approx(tasks)
        torch.testing.assert_close(product, product.mean().expand(tasks), rtol=1e-8, atol=0.0)


@pytest.mark.parametrize("method", COMBINING)
def test_dependent_gradients_have_finite_weights(method: str) -> None:
    equal = torch.tensor([[1.0, 2.0], [1.0, 2.0], [-1.0, -2.0]]).double()
    assert bool(torch.isfinite(weights_of(method, equal)).all())


def test_without_the_extra_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchjd", None)
    with pytest.raises(ConfigError, match=r"mgda needs TorchJD: pip install 'recmtl\[torchjd\]'"):
        weigher(Weighting(method="mgda"))
    assert weigher(Weighting(method="nash_mtl")) is not None

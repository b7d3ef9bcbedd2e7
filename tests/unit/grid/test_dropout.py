"""Dropout by bytes: the stated share is dropped, the mean stays, and the generator decides."""

import pytest
import torch

from recmtl.grid.experts import dropout


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_the_share_is_dropped_and_the_mean_stays(share: float) -> None:
    torch.manual_seed(0)
    found = dropout(torch.ones(300, 1001), share)
    assert abs((found == 0).float().mean().item() - round(share * 256) / 256) < 0.003
    assert abs(found.mean().item() - 1.0) < 0.02
    assert len(found.unique()) <= 2


def test_the_seed_decides_which() -> None:
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        drawn.append(dropout(torch.ones(50), 0.5))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_gradients_pass_where_values_do() -> None:
    hidden = torch.ones(1000, requires_grad=True)
    found = dropout(hidden, 0.3)
    found.sum().backward()
    assert hidden.grad is not None
    torch.testing.assert_close(hidden.grad, found.detach())

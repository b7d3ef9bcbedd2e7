"""Learning rates over a training: warm-up, then linear, cosine, steps or none."""

import math

import pytest
import torch

from recmtl.errors import ConfigError
from recmtl.train.config import Training
from recmtl.train.optimizer import Optimizer
from tests.tabular_problems import make_model, make_problem

STEPS = 20
PROBLEM = make_problem(rows=40)


def rates(**settings: object) -> list[float]:
    """The dense rate of every step, as a share of the initial one; the table's is the same."""
    model = make_model(problem=PROBLEM)
    options = {"learning_rate": 0.5, "table_learning_rate": 0.25, **settings}
    optimizer = Optimizer(model, Training(**options), total_steps=STEPS)
    shares = []
    for _ in range(STEPS):
        optimizer.step(sum((p.sum() for p in model.heads.parameters()), torch.zeros(())))
        dense = optimizer.dense.param_groups[0]["lr"] / 0.5
        assert optimizer.sparse is not None
        assert optimizer.sparse.param_groups[0]["lr"] / 0.25 == pytest.approx(dense)
        shares.append(dense)
    return shares


def test_without_warm_up_rates_fall_linearly_from_the_first_step() -> None:
    assert rates() == pytest.approx([1.0 - step / STEPS for step in range(STEPS)], abs=0.0)


def test_a_cosine_ends_near_zero_and_is_half_in_the_middle() -> None:
    expected = [0.5 * (1.0 + math.cos(math.pi * step / STEPS)) for step in range(STEPS)]
    assert rates(decay="cosine") == pytest.approx(expected)
    assert expected[STEPS // 2] == pytest.approx(0.5)


@pytest.mark.parametrize("decay", [True, False, "cosine"])
@pytest.mark.parametrize("share", [0.05, 0.25, 0.3])
def test_rates_rise_to_the_full_rate_and_then_fall_as_without_warm_up(
    decay: bool | str, share: float
) -> None:
    shares, rising = rates(decay=decay, warm_up=share), math.ceil(share * STEPS)
    assert shares[:rising] == pytest.approx([(n + 1) / rising for n in range(rising)])
    assert shares[rising] == pytest.approx(1.0)
    falls = [a - b for a, b in zip(shares[rising:], shares[rising + 1 :], strict=False)]
    assert min(falls) >= 0.0 and (max(falls) > 0.0) == (decay is not False)


def test_rates_may_rise_and_then_fall_by_steps() -> None:
    shares = rates(warm_up=0.2, step_every=10, step_factor=0.1)
    assert shares == pytest.approx([0.25, 0.5, 0.75, 1.0, *[1.0] * 6, *[0.1] * 10])


@pytest.mark.parametrize("setting", [{"warm_up": 1.0}, {"warm_up": -0.1}, {"decay": "square"}])
def test_a_schedule_that_does_not_exist_is_refused(setting: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        Training(**setting)

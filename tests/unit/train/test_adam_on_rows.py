"""Lazy Adam against dense Adam and plain loops: equal on touched rows, still on all others."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from recmtl.train.config import Training
from recmtl.train.optimizer import Optimizer, RowAdam, clip_gradients, sum_by_row
from recmtl.train.row_kernels import move_rows
from tests.tabular_problems import make_model

few = settings(max_examples=40, deadline=None)
looked_up = st.lists(st.integers(0, 7), min_size=1, max_size=20)


def table(seed: int = 0) -> nn.Parameter:
    start = torch.randn(8, 3, dtype=torch.float64, generator=torch.manual_seed(seed))
    return nn.Parameter(start)


def look_up(weights: nn.Parameter, ids: list[int], *, sparse: bool) -> None:
    functional.embedding(torch.tensor(ids), weights, sparse=sparse).pow(3).sum().backward()


@few
@given(st.lists(looked_up, min_size=1, max_size=4))
def test_rows_that_every_batch_holds_move_as_with_dense_adam(batches: list[list[int]]) -> None:
    lazy, dense = table(), table()
    # Lazy Adam adds epsilon before the correction of the bias, dense Adam after it: keep it small.
    optimizers = RowAdam([lazy], lr=0.1, eps=1e-14), torch.optim.Adam([dense], lr=0.1, eps=1e-14)
    for ids in batches:
        for weights, optimizer, sparse in zip(
            (lazy, dense), optimizers, (True, False), strict=True
        ):
            look_up(weights, ids, sparse=sparse)
            optimizer.step()
            optimizer.zero_grad()
    always = sorted(set.intersection(*map(set, batches)))
    torch.testing.assert_close(lazy[always], dense[always], rtol=1e-7, atol=1e-8)


@few
@given(looked_up)
def test_rows_outside_the_batch_do_not_move_by_a_bit(ids: list[int]) -> None:
    weights = table()
    before, optimizer = weights.detach().clone(), RowAdam([weights], lr=0.1)
    for _ in range(3):
        look_up(weights, ids, sparse=True)
        optimizer.step()
        optimizer.zero_grad()
    moved = (weights.detach() != before).any(1)
    assert set(moved.nonzero().flatten().tolist()) <= set(ids)
    assert (optimizer.state[weights]["exp_avg"][~moved] == 0).all()


def test_the_first_step_is_the_learning_rate_against_the_sign() -> None:
    weights = nn.Parameter(torch.zeros(4, 2, dtype=torch.float64))
    rows = functional.embedding(torch.tensor([1, 3, 3]), weights, sparse=True)
    (rows * torch.tensor([5.0, -0.01], dtype=torch.float64)).sum().backward()
    RowAdam([weights], lr=0.1).step()
    expected = torch.tensor([[0.0, 0.0], [-0.1, 0.1], [0.0, 0.0], [-0.1, 0.1]])
    torch.testing.assert_close(weights.detach(), expected.double(), rtol=1e-4, atol=1e-9)


@few
@given(looked_up, st.integers(0, 100))
def test_the_compiled_step_is_the_plain_loop(ids: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    rows, gradient = np.array(ids), random.normal(size=(len(ids), 3))
    arrays = [random.normal(size=(8, 3)), random.normal(size=(8, 3)), random.random((8, 3))]
    plain = [array.copy() for array in arrays]
    first, second, epsilon, rate = 0.9, 0.99, 1e-3, 0.05
    for row in set(ids):
        g = gradient[rows == row].sum(0)
        plain[1][row] = first * plain[1][row] + (1 - first) * g
        plain[2][row] = second * plain[2][row] + (1 - second) * g * g
        plain[0][row] -= rate * plain[1][row] / (np.sqrt(plain[2][row]) + epsilon)
    slots = np.full(8, -1, np.int32)
    work_space = np.empty(len(ids), np.int64), np.empty((len(ids), 3)), slots
    numbers = np.array([1 - first, second, 1 - second, epsilon, rate])
    move_rows(rows, gradient, *work_space, *arrays, numbers)
    for array, expected in zip(arrays, plain, strict=True):
        np.testing.assert_allclose(array, expected, rtol=1e-9, atol=1e-12)
    assert (slots == -1).all(), "the work space is ready for the next step"


@few
@given(looked_up)
def test_summed_rows_are_the_rows_of_the_dense_gradient(ids: list[int]) -> None:
    weights = table()
    look_up(weights, ids, sparse=True)
    assert weights.grad is not None
    rows, sums = sum_by_row(weights.grad)
    assert rows.tolist() == sorted(set(ids))
    dense = weights.grad.to_dense()
    torch.testing.assert_close(sums, dense[rows])
    assert dense.abs().sum().item() == pytest.approx(sums.abs().sum().item())


def norm(tensors: list[Tensor]) -> float:
    return math.sqrt(sum(float(t.to_dense().square().sum()) for t in tensors))


@few
@given(looked_up, st.floats(1e-3, 1e3))
def test_clipping_keeps_the_direction_and_bounds_the_norm(ids: list[int], bound: float) -> None:
    weights, other = table(), nn.Parameter(torch.randn(5, dtype=torch.float64))
    look_up(weights, ids, sparse=True)
    other.square().sum().backward()
    before = [p.grad.to_dense().clone() for p in (weights, other) if p.grad is not None]
    clip_gradients([weights, other, nn.Parameter(torch.ones(2))], bound)
    after = [p.grad.to_dense() for p in (weights, other) if p.grad is not None]
    assert norm(after) <= bound * (1 + 1e-9)
    assert norm(after) == pytest.approx(min(bound, norm(before)))
    factor = norm(after) / norm(before)
    for one, two in zip(before, after, strict=True):
        torch.testing.assert_close(two, one * factor)


def test_clipping_without_gradients_does_nothing() -> None:
    clip_gradients([nn.Parameter(torch.ones(3))], 1.0)


@pytest.mark.parametrize(
    ("settings_of_rates", "shares"),
    [
        ({"decay": False}, [1.0, 1.0, 1.0, 1.0]),
        ({"decay": True}, [1.0, 0.75, 0.5, 0.25]),
        ({"step_every": 2, "step_factor": 0.1}, [1.0, 1.0, 0.1, 0.1]),
        ({"step_every": 1, "step_factor": 0.5, "decay": True}, [1.0, 0.5, 0.25, 0.125]),
    ],
    ids=str,
)
def test_all_learning_rates_fall_by_the_same_share(
    settings_of_rates: dict[str, float], shares: list[float]
) -> None:
    model = make_model()
    settings = Training(
        learning_rate=0.1, head_learning_rate=0.3, table_learning_rate=0.2, **settings_of_rates
    )
    optimizer = Optimizer(model, settings, total_steps=4)
    assert optimizer.sparse is not None
    for number, share in enumerate(shares):
        assert optimizer.progress == number / 4
        optimizer.step()
        rates = [group["lr"] for group in optimizer.dense.param_groups]
        assert rates == pytest.approx([0.1 * share, 0.3 * share])
        assert optimizer.sparse.param_groups[0]["lr"] == pytest.approx(0.2 * share)


@pytest.mark.parametrize("head_rate", [None, 0.01])
def test_every_parameter_is_trained_once(head_rate: float | None) -> None:
    model = make_model()
    optimizer = Optimizer(model, Training(head_learning_rate=head_rate), total_steps=1)
    assert optimizer.sparse is not None
    groups = [*optimizer.sparse.param_groups, *optimizer.dense.param_groups]
    trained = [id(p) for group in groups for p in group["params"]]
    assert sorted(trained) == sorted(id(p) for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "kind"),
    [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)],
)
def test_the_dense_optimizer_is_the_one_that_is_named(name: str, kind: type) -> None:
    settings = Training(optimizer=name, betas=(0.8, 0.95), weight_decay=0.02)
    dense = Optimizer(make_model(), settings, total_steps=1).dense
    assert type(dense) is kind and dense.defaults["weight_decay"] == 0.02
    momentum = dense.defaults["momentum"] if name == "sgd" else dense.defaults["betas"][0]
    assert momentum == 0.8

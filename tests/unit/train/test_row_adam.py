"""Adam on touched rows moves them as PyTorch's own sparse Adam does, and its state goes on."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from recmtl.train.optimizer import (
    RowAdam,
    StepNumbers,
    TableArrays,
    _move_with_torch,
    grouped_by_numpy,
    grouped_by_torch,
    sum_by_row,
)

ROWS, SIZE, STEPS = 50, 3, 12


def table() -> nn.Parameter:
    start = torch.randn(ROWS, SIZE, dtype=torch.float64, generator=torch.manual_seed(1))
    return nn.Parameter(start)


def step(optimizer: torch.optim.Optimizer, weights: nn.Parameter, number: int) -> None:
    """A batch of repeated rows, looked up twice, as single values and pooled lists are."""
    dice = torch.manual_seed(number)
    ids = torch.randint(ROWS // 2, (8, 5), generator=dice)
    bags = torch.randint(ROWS, (4, 6), generator=dice)
    optimizer.param_groups[0]["lr"] = 0.1 / (1 + number)
    optimizer.zero_grad(set_to_none=True)
    single = functional.embedding(ids, weights, sparse=True)
    pooled = functional.embedding_bag(bags, weights, sparse=True, mode="sum", padding_idx=0)
    (single.pow(3).sum() + pooled.sin().sum()).backward()
    optimizer.step()


def assert_equal_to_rounding(one: Tensor, two: Tensor) -> None:
    torch.testing.assert_close(one, two, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("coalesced", [False, True])
def test_equals_the_library_s_sparse_adam(coalesced: bool) -> None:
    own, library = table(), table()
    optimizers = {"own": RowAdam([own], lr=0.1), "library": torch.optim.SparseAdam([library])}
    if coalesced:
        own.register_post_accumulate_grad_hook(lambda p: setattr(p, "grad", p.grad.coalesce()))
    for number in range(STEPS):
        step(optimizers["own"], own, number)
        step(optimizers["library"], library, number)
        assert_equal_to_rounding(own.detach(), library.detach())
    for name in ("exp_avg", "exp_avg_sq"):
        moments = (optimizers["own"].state[own][name], optimizers["library"].state[library][name])
        assert_equal_to_rounding(*moments)


def test_goes_on_from_the_state_of_either() -> None:
    ours, theirs, whole = table(), table(), table()
    straight, library = RowAdam([whole], lr=0.1), torch.optim.SparseAdam([theirs])
    first = RowAdam([ours], lr=0.1)
    for number in range(STEPS // 2):
        for optimizer, weights in ((straight, whole), (library, theirs), (first, ours)):
            step(optimizer, weights, number)
    for weights, saved in ((ours, first), (theirs, library)):
        revived = RowAdam([weights], lr=0.1)
        revived.load_state_dict(saved.state_dict())
        for number in range(STEPS // 2, STEPS):
            step(revived, weights, number)
    for number in range(STEPS // 2, STEPS):
        step(straight, whole, number)
    assert torch.equal(ours, whole)
    assert_equal_to_rounding(theirs.detach(), whole.detach())


def test_a_table_without_a_gradient_stays() -> None:
    weights = table()
    before = weights.detach().clone()
    optimizer = RowAdam([weights], lr=0.1)
    optimizer.step()
    functional.embedding(torch.empty(0, dtype=torch.long), weights, sparse=True).sum().backward()
    assert weights.grad is not None and weights.grad.is_sparse
    optimizer.step()
    assert torch.equal(weights, before)
    assert not optimizer.state[weights]


@pytest.mark.parametrize("rows", [1, 2, 5, 4096])
def test_rows_are_grouped_as_on_other_devices(rows: int) -> None:
    indices = torch.randint(2**40, (rows,), generator=torch.manual_seed(rows))
    indices = torch.cat([indices, indices[: rows // 2], indices[:1]])
    for one, other in zip(grouped_by_numpy(indices), grouped_by_torch(indices), strict=True):
        assert torch.equal(one, other)


def test_rows_of_a_part_of_a_wider_table_move() -> None:
    whole = torch.zeros(6, 8)
    part = nn.Parameter(whole[:, 2:5])
    optimizer = RowAdam([part], lr=0.1)
    functional.embedding(torch.tensor([1, 4, 1]), part, sparse=True).sum().backward()
    optimizer.step()
    moved = torch.zeros(6, 8, dtype=torch.bool)
    moved[1, 2:5] = moved[4, 2:5] = True
    assert torch.equal(whole != 0, moved)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rows_move_on_other_devices_as_here(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for here in (True, False):
        torch.manual_seed(0)
        table = nn.Parameter(torch.randn(ROWS, SIZE, dtype=dtype))
        optimizer = RowAdam([table], lr=0.1)
        if not here:
            monkeypatch.setattr(optimizer, "_move_compiled", elsewhere)
        for _ in range(STEPS):
            optimizer.zero_grad()
            ids = torch.randint(ROWS, (20,))
            values = functional.embedding(ids, table, sparse=True)
            (values * torch.randn_like(values)).sum().backward()
            before = ids.clone()
            optimizer.step()
            assert torch.equal(ids, before)
        found.append([table.detach(), *optimizer.state[table].values()])
    rounding = 1e-12 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(found[0], found[1], rtol=rounding, atol=rounding)


def elsewhere(arrays: TableArrays, gradient: Tensor, numbers: StepNumbers) -> None:
    _move_with_torch(arrays, *sum_by_row(gradient), numbers)


def test_the_state_is_that_of_adam_alone() -> None:
    table = nn.Parameter(torch.zeros(4, 2))
    optimizer = RowAdam([table], lr=0.1)
    functional.embedding(torch.tensor([1, 1, 3]), table, sparse=True).sum().backward()
    optimizer.step()
    assert set(optimizer.state_dict()["state"][0]) == {"step", "exp_avg", "exp_avg_sq"}
    (slots,) = optimizer._slots.values()
    assert slots.tolist() == [-1] * 4

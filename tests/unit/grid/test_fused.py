"""Fused passes are the plain expressions, gradients included, and stand aside where they must."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from recmtl.grid import CATALOG, Layout, SharingGrid, fused

G, N, D, H, K, LINEAR = 3, 7, 5, 4, 2, 6
DICE = torch.Generator().manual_seed(0)


def small_layout(name: str) -> Layout:
    return CATALOG[name].layout(3, cells=5, widths=(8, 4), depth=2)


def draw(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=DICE, dtype=dtype)


def plain_dense(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return torch.relu(torch.einsum("gnd,gdh->gnh", rows, weight) + bias)


def plain_wide(
    lane: Tensor, weight: Tensor, bias: Tensor, beside: Tensor, also: Tensor
) -> tuple[Tensor, Tensor]:
    return plain_dense(lane.expand(len(weight), *lane.shape), weight, bias), lane @ beside.T + also


def wide(lane: Tensor, weight: Tensor, bias: Tensor, *beside: Tensor) -> tuple[Tensor, Tensor]:
    return fused.wide(lane, weight, bias, (beside[0], beside[1]))


def plain_mixed(weights: Tensor, outputs: Tensor) -> Tensor:
    return torch.einsum("bka,baf->bkf", weights, outputs)


CASES: dict[str, tuple[Callable[..., Any], Callable[..., Any], list[tuple[int, ...]]]] = {
    "dense": (fused.dense, plain_dense, [(G, N, D), (G, D, H), (G, 1, H)]),
    "wide": (wide, plain_wide, [(N, D), (G, D, H), (G, 1, H), (LINEAR, D), (LINEAR,)]),
    "mixed": (fused.mixed, plain_mixed, [(N, K, G), (N, G, H)]),
}


def results(of: Callable[..., Any], arguments: list[Tensor], towards: list[Tensor]) -> list[Tensor]:
    """Outputs, and the gradients of all arguments."""
    leaves = [a.clone().requires_grad_() for a in arguments]
    found = of(*leaves)
    found = [found] if isinstance(found, Tensor) else [*found]
    torch.autograd.backward(found, towards)
    return [*found, *(leaf.grad for leaf in leaves)]  # type: ignore[list-item]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_the_plain_expression(
    name: str, dtype: torch.dtype
) -> None:
    of, plain, shapes = CASES[name]
    arguments = [draw(*shape, dtype=dtype) for shape in shapes]
    outputs = plain(*arguments)
    outputs = [outputs] if isinstance(outputs, Tensor) else outputs
    # Gradients whose numbers do not lie side by side, as many operations leave them.
    towards = [draw(*o.T.shape if o.dim() == 2 else o.mT.shape, dtype=dtype).mT for o in outputs]
    one, other = results(of, arguments, towards), results(plain, arguments, towards)
    tolerance = 1e-13 if dtype == torch.float64 else 1e-5
    torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_differences(name: str) -> None:
    of, _, shapes = CASES[name]
    assert torch.autograd.gradcheck(of, [draw(*shape).requires_grad_() for shape in shapes])


def test_inputs_without_a_gradient_get_none() -> None:
    rows, weight, bias = draw(G, N, D), draw(G, D, H).requires_grad_(), draw(G, 1, H)
    fused.dense(rows, weight, bias).sum().backward()
    hidden, nothing = fused.wide(rows[0], weight, bias)
    hidden.sum().backward()
    assert rows.grad is None and weight.grad is not None and nothing.shape == (N, 0)


def test_rows_that_are_one_lane_expanded_get_their_sum() -> None:
    lane, weight, bias = draw(N, D), draw(G, D, H), draw(G, 1, H)

    def expanded(lane: Tensor) -> Tensor:
        return fused.dense(lane.expand(G, N, D), weight, bias)

    towards = [draw(G, N, H)]
    one = results(expanded, [lane], towards)
    other = results(lambda lane: fused.wide(lane, weight, bias)[0], [lane], towards)
    torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("of", [fused.dense, fused.wide])
def test_an_inner_depth_has_the_gradients_of_the_plain_expression(of: Callable[..., Any]) -> None:
    arguments = [draw(*shape) for shape in [(N, D), (G, D, H), (G, 1, H), (G, H, K), (G, 1, K)]]

    def chain(x: Tensor, *w: Tensor, one: Callable[..., Any], **inner: bool) -> Tensor:
        hidden = one(x if one is fused.wide else x.expand(G, N, D), *w[:2], **inner)
        last: Tensor = fused.dense(hidden[0] if one is fused.wide else hidden, *w[2:])
        return last

    towards = [draw(G, N, K)]
    one = results(partial(chain, one=of, inner=True), arguments, towards)
    other = results(partial(chain, one=plain_dense), arguments, towards)
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("inner", [True, False])
def test_only_the_gradient_of_an_inner_depth_is_overwritten(inner: bool) -> None:
    arguments, towards = [draw(G, N, D), draw(G, D, H), draw(G, 1, H)], draw(G, N, H)
    given = towards.clone()
    results(partial(fused.dense, inner=inner), arguments, [towards])
    assert torch.equal(towards, given) != inner


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_what_is_not_finite_stays_so(bad: float) -> None:
    rows, weight, bias = draw(G, N, D), draw(G, D, H), draw(G, 1, H)
    rows[1, 2, 3] = bad
    hidden = fused.dense(rows, weight, bias)
    torch.testing.assert_close(hidden, plain_dense(rows, weight, bias), equal_nan=True)
    assert not hidden.isfinite().all()
    gates = torch.softmax(draw(N, K, G), -1)
    mixed = fused.mixed(gates, hidden.transpose(0, 1))
    assert mixed.isfinite().all(-1).all(-1).tolist() == [n != 2 for n in range(N)]
    gradient = torch.full((G, N, H), bad)
    one, other = (results(of, [draw(G, N, D).fill_(1.0), weight.abs(), bias.abs()], [gradient])
                  for of in (fused.dense, plain_dense))  # fmt: skip
    assert not one[1].isfinite().any() and not other[1].isfinite().any()


def test_they_stand_aside_without_a_gradient_and_on_other_types() -> None:
    assert fused.is_supported(torch.zeros(1))
    assert not fused.is_supported(torch.zeros(1, dtype=torch.bfloat16))
    assert not fused.is_supported(torch.zeros(1, device="meta"))
    with torch.no_grad():
        assert not fused.is_supported(torch.zeros(1))
    with torch.inference_mode():
        assert not fused.is_supported(torch.zeros(1))


@pytest.mark.parametrize("name", sorted(CATALOG))
def test_a_grid_trains_the_same_without_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    layout = small_layout(name)
    grid = SharingGrid(layout, input_width=D).double().train()
    for parameter in grid.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    lanes = draw(N, layout.input_lanes, D).requires_grad_()
    found = []
    for pays in (fused.is_supported, lambda _: False):
        monkeypatch.setattr(fused, "is_supported", pays)
        torch.manual_seed(2)  # instance gates draw
        task_lanes = grid(lanes)
        towards = torch.linspace(-1, 1, task_lanes.numel(), dtype=torch.float64)
        of = [lanes, *grid.parameters()]
        loss = (task_lanes * towards.view_as(task_lanes)).sum()
        found.append([task_lanes, *torch.autograd.grad(loss, of, materialize_grads=True)])
    torch.testing.assert_close(found[0], found[1], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", ["mmoe", "omoe"])
def test_gates_beside_experts_are_computed_with_them(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, asked = SharingGrid(small_layout(name), input_width=D).train(), list[Any]()
    real = fused.wide

    def watched(*arguments: Any, **options: Any) -> tuple[Tensor, Tensor]:
        asked.append(arguments)
        return real(*arguments, **options)

    monkeypatch.setattr(fused, "wide", watched)
    grid(draw(N, 1, D, dtype=torch.float32))
    assert len(asked) == 1 and len(asked[0]) == 4
    grid.eval()
    with torch.no_grad():
        grid(draw(N, 1, D, dtype=torch.float32))
    assert len(asked) == 1

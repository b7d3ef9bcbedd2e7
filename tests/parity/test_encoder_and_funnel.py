"""The encoder and the funnel's loss against plain loops: equal values and gradients in float64."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from recmtl.data.encoding import Encoding, ListField, NumericField
from recmtl.model.encoder import TabularEncoder
from recmtl.model.heads import HeadSpec, TabularHeads

SIZE, BINS = 3, 4
ENCODING = Encoding(
    table_rows=12,
    single=("user", "item"),
    lists=(ListField("history", 2, 3, "mean"), ListField("tags", 5, 2, "sum")),
    numeric=(NumericField("age", "standard", 1), NumericField("price", "piecewise", BINS)),
)
IDS = torch.tensor([[1, 5, 6, 7, 0, 9, 9], [2, 5, 0, 0, 0, 10, 0], [1, 6, 8, 8, 7, 0, 0]])
NUMERIC = torch.tensor([[0.5, 3.2], [math.nan, 0.0], [-1.5, math.nan]], dtype=torch.float64)


@pytest.fixture
def encoder() -> TabularEncoder:
    encoder = TabularEncoder(ENCODING, size=SIZE).double()
    encoder.table.sparse = False
    return encoder


def assert_same_gradients(module: torch.nn.Module, got: Tensor, want: Tensor) -> None:
    probe = torch.randn_like(got)
    gradients = []
    for value in (got, want):
        (value * probe).sum().backward()
        found = {n: p.grad for n, p in module.named_parameters() if p.grad is not None}
        gradients.append({n: g.to_dense() if g.is_sparse else g for n, g in found.items()})
        module.zero_grad()
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=1e-10)


def plain_pool(table: Tensor, ids: list[int], pooling: str) -> Tensor:
    """Sum or mean of the rows of a list, padding left out; zeros for an empty list."""
    total, count = torch.zeros(SIZE, dtype=table.dtype), 0
    for row in ids:
        if row != 0:
            total, count = total + table[row], count + 1
    return total / max(count, 1) if pooling == "mean" else total


def plain_number(encoder: TabularEncoder, number: int, field: NumericField, u: float) -> Tensor:
    if math.isnan(u):
        return encoder.missing[number]
    if field.encoding != "piecewise":
        return encoder.offset[number] + u * encoder.ramps[number, 0]
    ramps = [min(max(u - t, 0.0), 1.0) for t in range(field.bins)]
    return encoder.offset[number] + sum(r * encoder.ramps[number, t] for t, r in enumerate(ramps))


def test_every_field_is_its_lookup_its_pool_or_its_ramps(encoder: TabularEncoder) -> None:
    rows = []
    for ids, numbers in zip(IDS.tolist(), NUMERIC.tolist(), strict=True):
        fields = [encoder.table.weight[ids[column]] for column in range(2)]
        for f in ENCODING.lists:
            chosen = ids[f.first : f.first + f.length]
            fields.append(plain_pool(encoder.table.weight, chosen, f.pooling))
        for n, f in enumerate(ENCODING.numeric):
            fields.append(plain_number(encoder, n, f, numbers[n]))
        rows.append(torch.cat(fields))
    got, want = encoder(IDS, NUMERIC), torch.stack(rows).unsqueeze(1)
    assert got.shape == (3, 1, encoder.width)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    assert_same_gradients(encoder, got, want)


def gorishniy(x: float, edges: list[float]) -> list[float]:
    """Piecewise-linear encoding of x (NeurIPS 2022, eq. 1), held at its ends."""
    last = len(edges) - 2
    parts = []
    for t, (low, high) in enumerate(pairwise(edges)):
        if x < low and t > 0:
            parts.append(0.0)
        elif x >= high and t < last:
            parts.append(1.0)
        else:
            parts.append((min(max(x, edges[0]), edges[-1]) - low) / (high - low))
    return parts


@pytest.mark.parametrize("x", [-3.0, 0.0, 0.4, 1.0, 4.2, 9.0, 20.0, 31.0])
def test_ramps_are_the_piecewise_linear_embedding(encoder: TabularEncoder, x: float) -> None:
    edges = [0.0, 1.0, 2.5, 9.0, 30.0]
    u = float(np.interp(x, edges, np.arange(BINS + 1)))
    numeric = torch.tensor([[0.0, u]], dtype=torch.float64)
    got = encoder(IDS[:1], numeric)[0, 0, -SIZE:]
    parts = torch.tensor(gorishniy(x, edges), dtype=torch.float64)
    torch.testing.assert_close(got, parts @ encoder.ramps[1] + encoder.offset[1])


def funnel(rows: int) -> tuple[TabularHeads, Tensor, Tensor, Tensor]:
    """Heads of view -> click -> buy with lanes, labels that obey the chain, and row weights."""
    torch.manual_seed(3)
    specs = [HeadSpec("view", "binary"), HeadSpec("click", "binary", parent="view")]
    specs.append(HeadSpec("buy", "binary", parent="click"))
    heads = TabularHeads(specs, width=4, tower=(5,)).double()
    labels = (torch.rand(rows, 3, dtype=torch.float64) < 0.6).double().cumprod(1)
    labels[0] = math.nan
    lanes = torch.randn(rows, 3, 4, dtype=torch.float64) * 2.0
    return heads, lanes, labels, torch.rand(rows, dtype=torch.float64)


def plain_joint_loss(logits: list[float], label: float) -> float:
    """`-(y log p + (1 - y) log(1 - p))` with p the product of the sigmoids (ESMM, eq. 6)."""
    p = math.prod(1.0 / (1.0 + math.exp(-logit)) for logit in logits)
    return -(label * math.log(p) + (1.0 - label) * math.log(1.0 - p))


def test_the_joint_loss_is_esmm_on_the_entire_space() -> None:
    heads, lanes, labels, weight = funnel(40)
    logits = heads(lanes)
    losses = heads.losses(logits, labels, weight).tolist()
    chain = torch.cat(logits, 1).tolist()
    for task in range(3):
        total = mass = 0.0
        for row in range(1, 40):
            share = float(weight[row])
            total += share * plain_joint_loss(chain[row][: task + 1], float(labels[row, task]))
            mass += share
        assert math.isclose(losses[task], total / mass, rel_tol=0, abs_tol=1e-10)


def test_the_joint_loss_has_the_gradient_of_the_plain_formula() -> None:
    heads, lanes, labels, weight = funnel(40)
    got = heads.losses(heads(lanes), labels, weight)
    known, share = labels[1:], (weight[1:] / weight[1:].sum()).unsqueeze(1)
    p = torch.sigmoid(torch.cat(heads(lanes), 1)[1:]).cumprod(1)
    plain = -(known * torch.log(p) + (1.0 - known) * torch.log(1.0 - p))
    assert_same_gradients(heads, got, (share * plain).sum(0))


@pytest.mark.parametrize("logit", [-80.0, -20.0, 0.0, 20.0, 80.0])
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_the_joint_loss_stays_finite_at_the_ends(logit: float, label: float) -> None:
    heads, _, _, _ = funnel(1)
    logits = [torch.full((1, 1), logit, requires_grad=True) for _ in range(3)]
    loss = heads.losses(logits, torch.full((1, 3), label), torch.ones(1)).sum()
    loss.backward()
    assert math.isfinite(loss.item())
    assert all(math.isfinite(one.grad.item()) for one in logits if one.grad is not None)

"""How the embeddings of a list become one: each pooling against a plain loop over its values."""

from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recmtl.data.encoding import Encoding, ListField
from recmtl.model.encoder import TabularEncoder

Pooling = Literal["mean", "sum", "max"]
POOLINGS: tuple[Pooling, ...] = ("mean", "sum", "max")
LENGTH, TABLE_ROWS, SIZE = 4, 7, 3

lists = st.lists(st.lists(st.integers(1, TABLE_ROWS - 1), max_size=LENGTH), min_size=1, max_size=5)


def encoder_of(pooling: Pooling) -> TabularEncoder:
    fields = (ListField("history", 0, LENGTH, pooling),)
    torch.manual_seed(0)
    encoding = Encoding(table_rows=TABLE_ROWS, single=(), lists=fields, numeric=())
    return TabularEncoder(encoding, size=SIZE).double()


def padded(rows: list[list[int]]) -> torch.Tensor:
    return torch.tensor([row + [0] * (LENGTH - len(row)) for row in rows])


def plain(table: torch.Tensor, row: list[int], pooling: Pooling) -> torch.Tensor:
    """One list at a time, one feature at a time; an empty list is 0."""
    if not row:
        return torch.zeros(SIZE, dtype=table.dtype)
    columns = [[table[value, feature] for value in row] for feature in range(SIZE)]
    of = {"mean": lambda c: sum(c) / len(c), "sum": sum, "max": max}[pooling]
    return torch.stack([of(column) for column in columns])


def pooled(encoder: TabularEncoder, rows: list[list[int]]) -> torch.Tensor:
    nothing = torch.empty(len(rows), 0, dtype=torch.float64)
    return encoder(padded(rows), nothing)[:, 0]


@pytest.mark.parametrize("pooling", POOLINGS)
@given(rows=lists)
def test_pooling_equals_a_plain_loop(pooling: Pooling, rows: list[list[int]]) -> None:
    encoder = encoder_of(pooling)
    expected = torch.stack([plain(encoder.table.weight, row, pooling) for row in rows])
    torch.testing.assert_close(pooled(encoder, rows), expected)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_gradients_equal_those_of_a_plain_loop(pooling: Pooling) -> None:
    rows = [[1, 2, 3], [4], [], [5, 6, 2, 1]]
    direction = torch.arange(12.0, dtype=torch.float64).view(4, SIZE) - 5.0
    encoder, other = encoder_of(pooling), encoder_of(pooling)
    (pooled(encoder, rows) * direction).sum().backward()
    table = other.table.weight
    loop = torch.stack([plain(table, row, pooling) for row in rows])
    (loop * direction).sum().backward()
    assert encoder.table.weight.grad is not None and table.grad is not None
    torch.testing.assert_close(encoder.table.weight.grad.to_dense(), table.grad)
    assert torch.isfinite(table.grad).all()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_order_of_a_list_does_not_matter(pooling: Pooling) -> None:
    encoder = encoder_of(pooling)
    there, back = pooled(encoder, [[1, 5, 3]]), pooled(encoder, [[3, 1, 5]])
    torch.testing.assert_close(there, back)


def test_the_largest_value_does_not_count_how_often_it_occurs() -> None:
    encoder = encoder_of("max")
    torch.testing.assert_close(pooled(encoder, [[2, 5]]), pooled(encoder, [[2, 5, 5, 2]]))


def test_the_largest_of_negative_values_is_negative() -> None:
    """Padding is 0 and must not win."""
    encoder = encoder_of("max")
    with torch.no_grad():
        encoder.table.weight[1:] = -1.0
    assert pooled(encoder, [[1, 2]]).tolist() == [[-1.0] * SIZE]

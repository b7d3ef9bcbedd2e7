"""What ranks share: rows, random numbers, sums, and what the first of them has made."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recmtl.errors import DataError
from recmtl.grid.experts import dropout
from recmtl.ranks import ALONE, BatchPart, Share, computing, draw, ranks, together
from tests.rank_processes import on_ranks
from tests.tabular_problems import make_split


@given(rows=st.integers(1, 50), count=st.integers(1, 7))
def test_shares_divide_a_batch_evenly_and_in_order(rows: int, count: int) -> None:
    parts = [Share(number, count).part(rows) for number in range(count)]
    real = [part for part in parts if not part.is_idle]
    assert [row for part in real for row in range(rows)[part.rows]] == list(range(rows))
    sizes = [part.last - part.first for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert {part.rows.start for part in parts if part.is_idle} <= {0}
    assert {(part.whole, part.ranks) for part in parts} == {(rows, count)}


@given(
    seed=st.one_of(st.none(), st.integers(0, 99)),
    count=st.integers(2, 5),
    size=st.integers(1, 40),
    start=st.integers(0, 3),
    restricted=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_the_parts_of_a_batch_make_it_up(
    seed: int | None, count: int, size: int, start: int, restricted: bool
) -> None:
    split = make_split(101, 0)
    chosen = np.flatnonzero(np.arange(101) % 3) if restricted else None
    pass_ = {"batch_size": size, "seed": seed, "rows": chosen, "start": start}
    of_table = {"block": 8, "buffer_blocks": 3}
    whole = list(split.batches(**pass_, **of_table))
    by_rank = [
        list(split.batches(**pass_, **of_table, share=Share(number, count)))
        for number in range(count)
    ]
    assert [len(batches) for batches in by_rank] == [len(whole)] * count
    for number, batch in enumerate(whole):
        parts = [batches[number] for batches in by_rank]
        mine = [part for part in parts if part.part is None or not part.part.is_idle]
        for name in ("ids", "numeric", "labels", "weight"):
            together_again = torch.cat([getattr(part, name) for part in mine])
            torch.testing.assert_close(
                together_again, getattr(batch, name), rtol=0, atol=0, equal_nan=True
            )
        for part in parts:
            if part.part is not None and part.part.is_idle:
                assert torch.equal(part.ids, batch.ids[:1])


@given(rows=st.integers(1, 30), count=st.integers(1, 4), each=st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_a_row_meets_the_same_draws_on_any_number_of_ranks(
    rows: int, count: int, each: int
) -> None:
    def drawn(size: int) -> torch.Tensor:
        torch.manual_seed(4)
        numbers = draw((2, size * each, 5), 1, torch.rand)
        return torch.cat([numbers.flatten(), dropout(torch.ones(size, 8), 0.5).flatten()])

    def of_part(part: BatchPart) -> torch.Tensor:
        with computing(part):
            return drawn(part.last - part.first)

    whole = drawn(rows)
    numbers = whole[: 10 * rows * each].view(2, -1, 5)
    dropped = whole[10 * rows * each :].view(rows, 8)
    for number in range(count):
        part = Share(number, count).part(rows)
        mine, length = of_part(part), part.last - part.first
        expected = numbers[:, part.first * each : part.last * each]
        assert torch.equal(mine[: 10 * length * each], expected.flatten())
        assert torch.equal(mine[10 * length * each :], dropped[part.rows].flatten())


def test_alone_every_call_is_the_plain_one() -> None:
    values = torch.arange(3.0)
    assert ranks() is ALONE and ALONE.share is None and ALONE.is_first
    assert ALONE.total(values) is values and ALONE.mean(values) is values
    assert ALONE.joined(values) == [values]
    assert ALONE.map(lambda n: n + 1, iter((1, 2))) == [2, 3]
    assert ALONE.first(lambda: "made") == "made"


def calls() -> dict[str, object]:
    """On a rank: what each call gives."""
    me, number = ranks(), ranks().number
    rows = torch.full((number, 2), float(number))
    error = ""
    try:
        me.first(failing)
    except DataError as fault:
        error = str(fault)
    return {
        "number": number,
        "total": me.total(torch.tensor([1.0, number])).tolist(),
        "mean": me.mean(torch.tensor(float(number))).item(),
        "joined": [part.tolist() for part in me.joined(rows, torch.arange(number))],
        "empty": me.joined(torch.empty(0, dtype=torch.long))[0].tolist(),
        "first": me.first(lambda: f"of rank {number}"),
        "map": [me.map(lambda n: (n, number), range(size)) for size in (0, 1, 5)],
        "error": error,
    }


def failing() -> None:
    raise DataError("log: cannot be read; look again")


def test_ranks_add_join_and_tell_one_another(tmp_path: Path) -> None:
    for number, of_rank in enumerate(on_ranks(3, tmp_path, calls)):
        assert of_rank == {
            "number": number,
            "total": [3.0, 3.0],
            "mean": 1.0,
            "joined": [[[1.0, 1.0], [2.0, 2.0], [2.0, 2.0]], [0, 0, 1]],
            "empty": [],
            "first": "of rank 0",
            "map": [[], [(0, 0)], [(0, 0), (1, 1), (2, 2), (3, 0), (4, 1)]],
            "error": "log: cannot be read; look again",
        }


def test_an_error_ends_being_together() -> None:
    with pytest.raises(DataError), together(ALONE):
        failing()
    assert ranks() is ALONE

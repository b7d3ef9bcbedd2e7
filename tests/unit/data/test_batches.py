"""Feeding: every row once a pass, in the file's order or in one fixed by the seed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recmtl.data import batches
from recmtl.data.arrays.groups import drawn_rows
from recmtl.data.batches import TableBatch
from recmtl.data.encoded_log import NO_GROUP, LogSplit
from recmtl.ranks import Share


def numbered(rows: int) -> LogSplit:
    """A split whose every column says the row's number."""
    row = np.arange(rows)
    column = row[:, None].astype(np.float32)
    ids = row[:, None].astype(np.int32) * np.ones((1, 2), np.int32)
    return LogSplit(ids, column, column, row.astype(np.float32), row, row)


def order(split: LogSplit, **options: object) -> np.ndarray:
    got = list(split.batches(**options))  # type: ignore[arg-type] # options are checked by name
    return np.concatenate([batch.weight.numpy() for batch in got]).astype(int)


@pytest.mark.parametrize("seed", [None, 0])
@pytest.mark.parametrize("rows", [1, 99, 100, 101, 256])
def test_every_row_comes_once(rows: int, seed: int | None) -> None:
    got = order(numbered(rows), batch_size=10, seed=seed, block=8, buffer_blocks=3)
    np.testing.assert_array_equal(np.sort(got), np.arange(rows))


def test_without_a_seed_rows_come_in_order_and_only_the_last_batch_is_short() -> None:
    got = list(numbered(25).batches(batch_size=10, seed=None))
    assert [len(batch) for batch in got] == [10, 10, 5]
    assert order(numbered(25), batch_size=10, seed=None).tolist() == list(range(25))


def test_shuffled_batches_are_full_but_the_last() -> None:
    got = list(numbered(95).batches(batch_size=10, seed=0, block=7, buffer_blocks=2))
    assert [len(batch) for batch in got] == [10] * 9 + [5]


def test_the_seed_fixes_the_order() -> None:
    options = {"batch_size": 16, "block": 32, "buffer_blocks": 4}
    split = numbered(1000)
    one, again, other = (order(split, seed=seed, **options) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one != other).mean() > 0.9
    assert (one != np.arange(1000)).mean() > 0.9


def test_with_one_buffer_the_order_is_uniform() -> None:
    places = [order(numbered(64), batch_size=64, seed=seed)[0] for seed in range(400)]
    counts = np.bincount(np.array(places) // 16, minlength=4)
    assert np.square(counts - 100).sum() / 100 < 16.3  # chi-squared, 3 degrees, p = .001


@pytest.mark.parametrize("seed", [None, 5])
def test_a_pass_can_be_restricted_to_rows(seed: int | None) -> None:
    rows = np.array([3, 4, 10, 11, 50, 98])
    got = order(numbered(99), batch_size=4, seed=seed, rows=rows, block=2, buffer_blocks=2)
    np.testing.assert_array_equal(np.sort(got), rows)


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("rows", [None, np.arange(0, 99, 2)])
def test_a_pass_can_start_at_any_batch(seed: int | None, rows: np.ndarray | None) -> None:
    options = {"batch_size": 7, "seed": seed, "rows": rows, "block": 4, "buffer_blocks": 3}
    whole = [batch.weight.tolist() for batch in numbered(99).batches(**options)]
    for start in range(len(whole) + 2):
        rest = [batch.weight.tolist() for batch in numbered(99).batches(start=start, **options)]
        assert rest == whole[start:]


def test_a_pass_does_not_read_the_buffers_that_it_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    read, seen = batches._read, list[int]()

    def counting(arrays: tuple[np.ndarray, ...], parts: list[slice]) -> list[torch.Tensor]:
        seen.append(sum(part.stop - part.start for part in parts))
        return read(arrays, parts)

    monkeypatch.setattr(batches, "_read", counting)
    found = order(numbered(100), batch_size=5, seed=0, block=5, buffer_blocks=4, start=8)
    assert (seen, len(found)) == ([20, 20, 20], 60)


def test_the_columns_of_a_row_stay_together() -> None:
    for batch in numbered(200).batches(batch_size=30, seed=0, block=9):
        row = batch.weight
        for column in (batch.ids[:, 0], batch.ids[:, 1], batch.numeric[:, 0], batch.labels[:, 0]):
            torch.testing.assert_close(column.float(), row)
        assert batch.ids.dtype == torch.int64
        assert isinstance(batch.to("cpu"), TableBatch)


def test_a_batch_size_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="batch_size"):
        next(numbered(3).batches(batch_size=0, seed=None))


@pytest.mark.parametrize("seed", [None, 0])
def test_mapped_pages_do_not_stay_in_the_process(tmp_path: Path, seed: int | None) -> None:
    rows = 400_000
    mapped = np.lib.format.open_memmap(tmp_path / "ids.npy", "w+", np.int32, (rows, 40))
    del mapped  # 64 MB of zeros
    small = numbered(rows)
    split = replace(small, ids=np.load(tmp_path / "ids.npy", mmap_mode="r"))

    def resident_mb() -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) >> 10 for line in lines if line.startswith("RssFile"))

    before, most = resident_mb(), 0
    for number, _ in enumerate(split.batches(batch_size=4096, seed=seed, buffer_blocks=4)):
        most = max(most, resident_mb()) if number % 8 == 0 else most
    assert most - before < 16


def plain_order(rows: int, seed: int, block: int, buffer_blocks: int) -> list[int]:
    """The random order, row by row: blocks in random order, mixed a buffer of blocks at a time."""
    random = np.random.default_rng(seed)
    starts = random.permutation(np.arange(0, rows, block)).tolist()
    ordered: list[int] = []
    while starts:
        chosen, starts = sorted(starts[:buffer_blocks]), starts[buffer_blocks:]
        held = [row for first in chosen for row in range(first, min(first + block, rows))]
        ordered += [held[i] for i in random.permutation(len(held))]
    return ordered


@given(
    rows=st.integers(1, 120),
    seed=st.integers(0, 9),
    block=st.integers(1, 40),
    buffer_blocks=st.integers(1, 5),
    batch_size=st.integers(1, 50),
    start=st.integers(0, 4),
)
def test_batches_cut_the_plain_order_into_equal_parts(
    rows: int, seed: int, block: int, buffer_blocks: int, batch_size: int, start: int
) -> None:
    mixing = {"block": block, "buffer_blocks": buffer_blocks}
    parts = numbered(rows).batches(batch_size=batch_size, seed=seed, start=start, **mixing)
    expected = plain_order(rows, seed, block, buffer_blocks)
    firsts = range(start * batch_size, rows, batch_size)
    assert [batch.weight.int().tolist() for batch in parts] == [
        expected[first : first + batch_size] for first in firsts
    ]


def test_a_split_without_rows_has_no_batch() -> None:
    for seed in (None, 0):
        assert list(numbered(0).batches(batch_size=4, seed=seed)) == []
        assert list(numbered(9).batches(batch_size=4, seed=seed, rows=np.array([], int))) == []


def test_a_part_of_a_batch_has_the_same_rows_of_every_column() -> None:
    batch = next(numbered(10).batches(batch_size=10, seed=3))
    part = batch[2:5]
    assert len(part) == 3 and isinstance(part, TableBatch)
    for whole, piece in zip(
        (*batch.inputs, batch.labels, batch.weight),
        (*part.inputs, part.labels, part.weight),
        strict=True,
    ):
        torch.testing.assert_close(piece, whole[2:5], rtol=0, atol=0)


def test_batches_of_a_split_in_memory_do_not_share_its_memory() -> None:
    """A step that changes its batch leaves the log alone."""
    split = numbered(8)
    for seed in (None, 1):
        for batch in split.batches(batch_size=4, seed=seed):
            for tensor in (*batch.inputs, batch.labels, batch.weight):
                tensor.fill_(-1)
    np.testing.assert_array_equal(split.weight, np.arange(8))
    np.testing.assert_array_equal(split.ids[:, 0], np.arange(8))


def in_groups(rows: int, *, apart: bool = False, largest: int = 6) -> LogSplit:
    """Rows of groups of 1 to `largest`, which lie together or anywhere in the log."""
    dice = np.random.default_rng(4)
    group = np.repeat(np.arange(rows), dice.integers(1, largest + 1, rows))[:rows]
    group = dice.permutation(group) if apart else group
    group[dice.random(rows) < 0.05] = NO_GROUP
    return replace(numbered(rows), group=group).with_members()


def pieces(split: LogSplit, got: list[TableBatch]) -> list[int]:
    """In how many runs of rows each group is seen, where the end of a batch ends a run."""
    seen = [(n, g) for n, b in enumerate(got) for g in split.group[b.weight.numpy().astype(int)]]
    runs = [pair for pair, before in zip(seen, [None, *seen], strict=False) if pair != before]
    return [sum(g == group for _, g in runs) for group in {g for _, g in seen} - {NO_GROUP}]


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("rows", [None, np.arange(3, 500, 2)])
def test_groups_stay_together_but_for_the_edges_of_batches(
    apart: bool, rows: np.ndarray | None
) -> None:
    split = in_groups(500, apart=apart)
    for seed in range(3):
        got = list(split.batches(batch_size=50, block=32, buffer_blocks=4, rows=rows, seed=seed))
        order_of_pass = np.concatenate([batch.weight.numpy() for batch in got]).astype(int)
        expected = np.arange(500) if rows is None else rows
        np.testing.assert_array_equal(np.sort(order_of_pass), expected)
        cut = np.array(pieces(split, got))
        assert cut.max() <= 2 and np.count_nonzero(cut == 2) <= len(got) - 1
    assert order(split, seed=None, batch_size=50).tolist() == list(range(500))


def test_a_group_larger_than_a_block_does_not_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, seen = batches._read, list[int]()

    def counting(arrays: tuple[np.ndarray, ...], parts: list[np.ndarray]) -> list[torch.Tensor]:
        columns = read(arrays, parts)
        seen.append(len(columns[0]))
        return columns

    monkeypatch.setattr(batches, "_read", counting)
    split = replace(numbered(1000), group=np.full(1000, 3)).with_members()
    got = order(split, batch_size=100, seed=1, block=50, buffer_blocks=3)
    np.testing.assert_array_equal(np.sort(got), np.arange(1000))
    assert max(seen) <= 150


def test_groups_that_lie_together_are_read_in_long_stretches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, parts_read = batches._read, list[slice]()

    def noting(arrays: tuple[np.ndarray, ...], parts: list[slice]) -> list[torch.Tensor]:
        parts_read.extend(parts)
        return read(arrays, parts)

    monkeypatch.setattr(batches, "_read", noting)
    group = np.repeat(np.arange(100), 5)
    order(replace(numbered(500), group=group).with_members(), batch_size=50, seed=1, block=64)
    assert all(isinstance(part, slice) and part.start % 5 == 0 for part in parts_read)


@pytest.mark.parametrize("apart", [False, True])
def test_a_pass_over_groups_can_start_anywhere_and_be_shared(apart: bool) -> None:
    split = in_groups(200, apart=apart)
    options = {"batch_size": 30, "seed": 2, "block": 16, "buffer_blocks": 3}
    whole = [batch.weight.tolist() for batch in split.batches(**options)]
    for start in range(8):
        assert [b.weight.tolist() for b in split.batches(start=start, **options)] == whole[start:]
    shares = [list(split.batches(share=Share(rank, 3), **options)) for rank in range(3)]
    for number, batch in enumerate(whole):
        parts = [of_rank[number] for of_rank in shares]
        assert [row for part in parts for row in part.weight.tolist()] == batch


@given(st.lists(st.integers(-2, 5), max_size=30))
def test_numbers_of_groups_say_which_rows_compete(groups: list[int]) -> None:
    group = np.array([NO_GROUP if g < 0 else g for g in groups], np.int64)
    member = replace(numbered(len(group)), group=group).with_members().member[:, 0]
    alike = (group[:, None] == group) & (group != NO_GROUP)
    np.testing.assert_array_equal(member[:, None] == member, alike)


def test_units_are_whole_groups_and_single_rows() -> None:
    split = in_groups(60, apart=True)
    units, alone = split.units, np.count_nonzero(split.group == NO_GROUP)
    assert units is not None and alone > 0
    assert len(set(units)) == len(set(split.group)) - 1 + alone
    drawn = drawn_rows(30, 60, units, np.random.default_rng(0))
    shares = [np.isin(np.flatnonzero(units == unit), drawn).mean() for unit in set(units)]
    assert len(drawn) == 30 and sum(0 < share < 1 for share in shares) <= 1
    assert numbered(60).units is None

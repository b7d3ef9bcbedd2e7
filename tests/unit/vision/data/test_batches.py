"""Batches of images: every image once, the same whatever reads them, in an order of the seed."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from recmtl.errors import DataError
from recmtl.vision.data.batches import ImageBatch
from recmtl.vision.data.examples import Example
from tests.image_problems import make_images

ROWS = make_images(train=23).train


def read(threads: int = 0, seed: int | None = 3, size: int = 5) -> list[ImageBatch]:
    return list(replace(ROWS, threads=threads).batches(batch_size=size, seed=seed))


def same(one: ImageBatch, other: ImageBatch) -> bool:
    pairs = zip((*one.inputs, *one.labels), (*other.inputs, *other.labels), strict=True)
    return all(torch.equal(a.nan_to_num(9), b.nan_to_num(9)) for a, b in pairs)


@pytest.mark.parametrize("seed", [None, 3])
def test_threads_change_nothing(seed: int | None) -> None:
    alone, together = read(0, seed), read(3, seed)
    assert len(alone) == 5
    assert all(map(same, alone, together))


def test_every_image_comes_once_in_batches_of_nearly_equal_size() -> None:
    sizes = [len(batch) for batch in read()]
    assert sum(sizes) == 23 and max(sizes) - min(sizes) <= 1
    plain = {ROWS.split.example(n, None).targets[3].tobytes() for n in range(23)}
    found = {t.numpy().tobytes() for batch in read() for t in batch.labels[3]}
    assert found == plain


def test_an_image_is_augmented_by_seed_and_number_alone() -> None:
    def by_depth(found: list[ImageBatch]) -> dict[bytes, bytes]:
        pairs = (zip(b.labels[3], b.inputs[0], strict=True) for b in found)
        return {t.numpy().tobytes(): i.numpy().tobytes() for pair in pairs for t, i in pair}

    first, smaller = by_depth(read(size=5)), by_depth(read(size=4))
    assert first == smaller
    other = by_depth(read(seed=4))
    assert first.keys() == other.keys() and first.values() != other.values()
    stored = {ROWS.split.example(n, None).image.tobytes() for n in range(23)}
    assert not stored & set(first.values())
    assert {i.numpy().tobytes() for b in read(seed=None) for i in b.inputs[0]} == stored


def test_an_image_is_augmented_alike_among_fewer_images() -> None:
    some = ROWS.take(np.array([4, 9]))
    assert np.array_equal(some.example(1, 3).image, ROWS.example(9, 3).image)


def test_a_pass_can_be_restricted() -> None:
    rows = np.array([2, 3, 11])
    some = ROWS.take(rows)
    assert len(some) == 3
    one, two = (
        next(some.batches(batch_size=9, seed=None)),
        next(ROWS.batches(batch_size=9, seed=None, rows=rows)),
    )
    assert same(one, two)
    found = list(ROWS.batches(batch_size=4, seed=None))
    assert [len(batch) for batch in found] == [4] * 5 + [3]


@pytest.mark.parametrize("seed", [None, 3])
def test_a_pass_can_start_at_any_batch(seed: int | None) -> None:
    whole = read(seed=seed)
    for start in range(len(whole) + 2):
        rest = list(ROWS.batches(batch_size=5, seed=seed, start=start))
        assert len(rest) == len(whole[start:]) and all(map(same, rest, whole[start:]))


def test_reading_ahead_ends_with_the_pass() -> None:
    before = threading.active_count()
    feed = replace(ROWS, threads=2).batches(batch_size=2, seed=1)
    next(feed)
    assert threading.active_count() > before
    feed.close()
    assert threading.active_count() == before


def test_a_batch_is_a_slice_of_its_images_targets_and_weights() -> None:
    batch = read(seed=None, size=8)[0]
    part = batch[2:5]
    assert len(part) == 3 and len(part.weight) == 3
    assert torch.equal(part.inputs[0], batch.inputs[0][2:5])
    for sliced, whole in zip(part.labels, batch.labels, strict=True):
        assert torch.equal(sliced.nan_to_num(9), whole[2:5].nan_to_num(9))


def test_targets_are_those_of_the_chosen_tasks_in_their_order() -> None:
    chosen = replace(ROWS, tasks=(3, 0))
    example, stored = chosen.example(4, None), ROWS.split.example(4, None)
    assert np.array_equal(example.targets[0], stored.targets[3], equal_nan=True)
    assert np.array_equal(example.targets[1], stored.targets[0])


@pytest.mark.parametrize("threads", [0, 2])
def test_an_error_of_a_reader_ends_the_pass_with_that_error(threads: int) -> None:
    class Broken:
        def __len__(self) -> int:
            return 9

        def example(self, index: int, random: np.random.Generator | None) -> Example:
            if index == 5:
                raise DataError("5.png: is damaged; copy it again")
            return ROWS.split.example(index, random)

    rows = replace(ROWS, split=Broken(), numbers=np.arange(9), threads=threads)
    before = threading.active_count()
    with pytest.raises(DataError, match=r"5\.png: is damaged"):
        list(rows.batches(batch_size=3, seed=None))
    assert threading.active_count() == before


def test_a_pass_over_no_images_has_no_batch() -> None:
    empty = ROWS.take(np.array([], np.int64))
    for seed in (None, 3):
        assert list(empty.batches(batch_size=4, seed=seed)) == []

"""Sums over a data set: pooled means and medians are those of all values at once."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recmtl.vision.metrics.sums import PooledMean, PooledMedian, valid_pixels

VALUES = st.lists(st.floats(-1e3, 1e3), max_size=6)
BATCHES = st.lists(VALUES, min_size=1, max_size=6)
ANGLES = st.lists(st.floats(0.0, 180.0), min_size=1, max_size=40)
BIN = 180.0 / 2**20


def mean_of(batches: list[list[float]]) -> PooledMean:
    mean = PooledMean()
    for number, batch in enumerate(batches):
        mean.add(torch.tensor(batch, dtype=torch.float64), images=number + 1)
    return mean


def median_of(batches: list[list[float]]) -> float:
    median = PooledMedian()
    for batch in batches:
        median.add(torch.tensor(batch, dtype=torch.float64))
    return median.value


@given(BATCHES)
def test_a_pooled_mean_is_the_mean_of_all_values(batches: list[list[float]]) -> None:
    values = [value for batch in batches for value in batch]
    pooled = mean_of(batches).value
    if values:
        assert pooled == pytest.approx(np.mean(values), abs=1e-9)
    else:
        assert math.isnan(pooled)


@given(BATCHES)
def test_the_published_means_weigh_batches_and_images(batches: list[list[float]]) -> None:
    full = [(number + 1, batch) for number, batch in enumerate(batches) if batch]
    mean = mean_of(batches)
    if not full:
        assert math.isnan(mean.mean_of_batches) and math.isnan(mean.weighted_by_images)
        return
    means, images = [np.mean(batch) for _, batch in full], [count for count, _ in full]
    assert mean.mean_of_batches == pytest.approx(np.mean(means), abs=1e-9)
    assert mean.weighted_by_images == pytest.approx(np.average(means, weights=images), abs=1e-9)


@given(st.lists(st.floats(-10, 10), min_size=4, max_size=4), st.integers(1, 5))
def test_batches_of_equal_size_make_the_three_means_one(values: list[float], times: int) -> None:
    mean = PooledMean()
    for _ in range(times):
        mean.add(torch.tensor(values, dtype=torch.float64), images=2)
    assert mean.mean_of_batches == pytest.approx(mean.value)
    assert mean.weighted_by_images == pytest.approx(mean.value)


def test_single_precision_values_are_summed_in_double() -> None:
    mean = PooledMean()
    mean.add(torch.full((3_000_000,), 0.1, dtype=torch.float32), images=1)
    assert mean.value == pytest.approx(float(np.float32(0.1)), rel=1e-12)


@given(ANGLES)
def test_the_median_is_numpys_to_one_bin(angles: list[float]) -> None:
    assert median_of([angles]) == pytest.approx(np.median(angles), abs=BIN)


@given(ANGLES, st.randoms(use_true_random=False))
def test_the_median_sees_neither_batches_nor_their_order(angles: list[float], dice) -> None:  # type: ignore[no-untyped-def]
    shuffled = dice.sample(angles, len(angles))
    cut = dice.randrange(len(angles) + 1)
    assert median_of([shuffled[:cut], shuffled[cut:]]) == median_of([angles])


def test_the_ends_of_the_range_have_bins_of_their_own() -> None:
    assert median_of([[0.0]]) == pytest.approx(0.0, abs=BIN)
    assert median_of([[180.0]]) == pytest.approx(180.0, abs=BIN)
    assert median_of([[0.0, 180.0]]) == pytest.approx(90.0, abs=BIN)


def test_a_median_without_values_is_nan() -> None:
    assert math.isnan(PooledMedian().value)
    assert math.isnan(median_of([[], []]))


def test_valid_pixels_are_taken_image_by_image_and_row_by_row() -> None:
    torch.manual_seed(0)
    values, valid = torch.randn(2, 3, 4, 5), torch.rand(2, 4, 5) < 0.5
    loop = [
        values[b, :, y, x].double()
        for b in range(2)
        for y in range(4)
        for x in range(5)
        if valid[b, y, x]
    ]
    pixels = valid_pixels(values, valid)
    assert pixels.dtype == torch.float64
    assert torch.equal(pixels, torch.stack(loop))
    assert valid_pixels(values, torch.zeros_like(valid)).shape == (0, 3)

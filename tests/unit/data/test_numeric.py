"""Numbers: float64 of every form, and scalers as monotone maps with known ends."""

import math
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.data.columns.canonical import canonical
from recmtl.data.columns.numeric import FARTHEST, NumericFit, Scaler, finite_numbers, numbers
from recmtl.errors import DataError, SourceLocation
from recmtl.schema import Numeric

PLACE = SourceLocation("here")
FINITE = st.floats(-1e9, 1e9)
SAMPLES = st.lists(FINITE, min_size=1, max_size=30)


def fitted(values: list[float], **options: Any) -> Scaler:
    fit = NumericFit(Numeric("x", "x", **options))
    fit.add(np.array(values, np.float64))
    return fit.finish()


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (pa.array([2**53 + 1, None]), [2.0**53, math.nan]),
        (pa.array([2**64 - 1], pa.uint64()), [2.0**64]),
        (pa.array([0.1], pa.float32()), [float(np.float32(0.1))]),
        (pa.array([0.1]).cast(pa.float16()), [float(np.float16(0.1))]),
        (pa.array([True, False, None]), [1.0, 0.0, math.nan]),
        (pa.array([Decimal("0.10"), None]), [0.1, math.nan]),
        (pa.array([Decimal(10**30)]), [1e30]),
        (pa.array([Decimal(10**60)], pa.decimal256(61, 0)), [1e60]),
        (pa.array([1.5, None]).dictionary_encode(), [1.5, math.nan]),
        (pa.nulls(2), [math.nan, math.nan]),
        (pa.array([math.inf, -math.inf]), [math.inf, -math.inf]),
    ],
    ids=lambda column: str(getattr(column, "type", "")),
)
def test_every_form_of_numbers_is_float64(column: Any, values: list[float]) -> None:
    got = numbers(canonical(column, "x", PLACE), "x", PLACE)
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, values)


def test_float64_without_gaps_is_not_copied() -> None:
    x = np.arange(4.0)
    assert np.shares_memory(numbers(pa.array(x), "x", PLACE), x)


@pytest.mark.parametrize(
    "column",
    [pa.array(["1"]), pa.array(["1"]).dictionary_encode(), pa.array([b"1"]), pa.array([[1]]),
     pa.array([1], pa.timestamp("s")), pa.array([1], pa.duration("s")), pa.array([{"a": 1}])],
    ids=lambda column: str(column.type),
)  # fmt: skip
def test_columns_that_hold_no_numbers_are_refused(column: Any) -> None:
    with pytest.raises(DataError, match=r"here: column 'x': holds .*, not numbers; store numbers"):
        numbers(column, "x", PLACE)


def test_infinite_features_are_counted() -> None:
    column = pa.array([1.0, math.inf, -math.inf, None])
    with pytest.raises(DataError, match="'x': 2 values are infinite; replace them by null"):
        finite_numbers(column, "x", PLACE)


@given(SAMPLES, st.lists(FINITE, min_size=2, max_size=10), st.booleans(),
       st.sampled_from(["standard", "quantile", "piecewise"]))  # fmt: skip
def test_a_scaler_never_turns_the_order_round(
    train: list[float], values: list[float], log: bool, encoding: Any
) -> None:
    scaler = fitted(train, encoding=encoding, log=log, bins=5)
    got = scaler.transform(np.sort(np.array(values)))
    assert (np.diff(got) >= 0).all() and np.isfinite(got).all()


@given(SAMPLES, st.integers(1, 8))
def test_quantiles_end_at_0_and_1_and_the_piecewise_ramp_at_its_bins(
    train: list[float], bins: int
) -> None:
    ends = np.array([min(train) - 1.0, max(train) + 2.0])
    quantile = fitted(train, encoding="quantile", bins=bins)
    piecewise = fitted(train, encoding="piecewise", bins=bins)
    np.testing.assert_array_equal(quantile.transform(ends), [0, 1])
    np.testing.assert_array_equal(piecewise.transform(ends), [0, piecewise.bins])
    assert 1 <= quantile.bins <= max(bins, len(set(train)))


@given(SAMPLES)
def test_a_standardised_column_has_mean_0_and_deviation_1(train: list[float]) -> None:
    scaler = fitted(train, encoding="standard")
    got = scaler.transform(np.array(train)).astype(np.float64)
    assert abs(got.mean()) < 1e-3
    if np.std(train) > 1e-3 * max(1.0, np.abs(train).max()):
        assert got.std() == pytest.approx(1, abs=1e-3)


def test_values_far_from_the_train_rows_end_at_a_million() -> None:
    scaler = fitted([0.0, 1.0], encoding="standard")
    got = scaler.transform(np.array([1e300, -1e300, math.nan]))
    np.testing.assert_array_equal(got, [FARTHEST, -FARTHEST, math.nan])


@given(st.lists(FINITE, min_size=1, max_size=20))
def test_the_logarithm_is_odd_and_keeps_zero(values: list[float]) -> None:
    scaler = Scaler("x", "standard", log=True, mean=0.0, std=1.0, edges=())
    x = np.array(values)
    np.testing.assert_array_equal(scaler.transform(-x), -scaler.transform(x))
    assert scaler.transform(np.zeros(1)) == 0
    np.testing.assert_allclose(scaler.transform(np.expm1(np.arange(4.0))), np.arange(4), rtol=1e-6)


def test_a_value_that_fills_a_bin_alone_has_an_edge_of_its_own() -> None:
    scaler = fitted([0.0] * 900 + list(np.linspace(1, 2, 100)), bins=4)
    assert 0.0 in scaler.edges
    inside = [edge for edge in scaler.edges if edge > 0]
    np.testing.assert_allclose(inside, np.linspace(1, 2, len(inside)), atol=0.02)
    assert len(inside) >= 3, "the rest of the bins tells the other values apart"


def test_a_constant_column_still_moves_above_its_value() -> None:
    scaler = fitted([7.0] * 5)
    got = scaler.transform(np.array([6.0, 7.0, 7.5, 9.0]))
    np.testing.assert_allclose(got, [0, 0, 0.5, 1])


def test_a_feature_without_any_train_value_is_scaled_all_the_same() -> None:
    for encoding in ("standard", "quantile", "piecewise"):
        scaler = fitted([math.nan], encoding=encoding)
        assert np.isfinite(scaler.transform(np.array([0.5, -3.0]))).all()
        assert (scaler.mean, scaler.std) == (0.0, 1.0)

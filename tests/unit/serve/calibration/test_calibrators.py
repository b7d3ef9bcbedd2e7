"""Calibration maps as mathematics: limits, inverses, monotony, and what they refuse to be."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from recmtl.data.row_encoder import RowEncoder
from recmtl.serve.calibration.calibrators import (
    Calibrators,
    ColumnCalibration,
    Curve,
    Isotonic,
    Platt,
    calibrated_columns,
    curve_from_json,
    curve_to_json,
    log_odds,
)
from tests.unit.serve.shop import HEADS

inner = st.floats(1e-6, 1 - 1e-6)
columns_of_p = st.lists(inner, min_size=1, max_size=20).map(np.array)
slopes, intercepts = st.floats(0.05, 8.0), st.floats(-8.0, 8.0)
SCORED = [name for head in HEADS for name in head.columns]


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    if draw(st.booleans()):
        return Platt(draw(slopes), draw(intercepts))
    scores = sorted(draw(st.sets(st.floats(0.0, 1.0), min_size=1, max_size=6)))
    values = draw(st.lists(st.floats(0.0, 1.0), min_size=len(scores), max_size=len(scores)))
    return Isotonic(tuple(scores), tuple(sorted(values)))


@given(columns_of_p)
def test_slope_one_and_intercept_zero_is_the_identity(p):
    np.testing.assert_allclose(Platt(1.0, 0.0)(p), p, rtol=1e-9)


@given(columns_of_p, slopes, intercepts, slopes, intercepts)
def test_platt_maps_are_closed_under_composition(p, a, b, c, d):
    """`c (a z + b) + d = (c a) z + (c b + d)`."""
    once = Platt(a, b)(p)
    inside = (once > 1e-12) & (once < 1 - 1e-6)  # elsewhere log odds are clipped or cancel
    twice = Platt(c, d)(once)[inside]
    np.testing.assert_allclose(twice, Platt(c * a, c * b + d)(p)[inside], rtol=1e-5)


@given(columns_of_p, slopes, intercepts)
def test_a_platt_map_mirrors_with_its_classes(p, slope, intercept):
    """Swapping the classes swaps p for 1 - p and turns the intercept round."""
    mirrored = Platt(slope, -intercept)(1 - p)
    np.testing.assert_allclose(mirrored, 1 - Platt(slope, intercept)(p), rtol=1e-6, atol=1e-9)


def test_a_vanishing_slope_forgets_the_score_and_a_huge_one_sees_a_threshold() -> None:
    p = np.array([0.01, 0.4, 0.6, 0.99])
    np.testing.assert_allclose(Platt(1e-9, 0.7)(p), expit(0.7), rtol=1e-7)
    np.testing.assert_allclose(Platt(1e6, 0.0)(p), [0.0, 0.0, 1.0, 1.0], atol=1e-12)


@pytest.mark.parametrize("score", [0.0, 2.0**-149, 1.0, float(np.nextafter(np.float32(1), 0))])
def test_every_float32_probability_has_finite_log_odds(score: float) -> None:
    assert np.isfinite(log_odds(np.array([score]))).all()
    assert 0.0 <= Platt(3.0, 0.0)(np.array([score]))[0] <= 1.0


def test_a_score_of_one_has_higher_odds_than_any_below_it() -> None:
    just_below = float(np.nextafter(np.float32(1), np.float32(0)))
    odds = log_odds(np.array([just_below, 1.0]))
    assert odds[0] < odds[1]


def test_an_isotonic_map_meets_its_corners_and_is_flat_beyond_them() -> None:
    curve = Isotonic((0.2, 0.4, 0.8), (0.1, 0.1, 0.9))
    asked = np.array([0.0, 0.2, 0.3, 0.4, 0.5, 0.8, 1.0])
    np.testing.assert_allclose(curve(asked), [0.1, 0.1, 0.1, 0.1, 0.3, 0.9, 0.9], rtol=1e-12)


def test_a_single_corner_is_a_constant() -> None:
    np.testing.assert_array_equal(Isotonic((0.5,), (0.3,))(np.linspace(0, 1, 5)), np.full(5, 0.3))


@given(st.lists(st.floats(0.0, 1.0), min_size=2, max_size=8, unique=True), columns_of_p)
def test_corners_on_the_diagonal_are_the_identity_between_them(corners, p):
    scores = tuple(sorted(corners))
    expected = np.clip(p, scores[0], scores[-1])
    np.testing.assert_allclose(Isotonic(scores, scores)(p), expected, rtol=1e-9, atol=1e-12)


@given(curves(), columns_of_p)
def test_an_isotonic_map_agrees_with_numpys_interpolation(curve, p):
    if isinstance(curve, Isotonic):
        expected = np.interp(p, curve.scores, curve.values)
        np.testing.assert_allclose(curve(p), expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    "numbers", [(0.0, 0.0), (-1.0, 0.0), (math.inf, 0.0), (math.nan, 0.0), (1.0, math.nan),
                (1.0, -math.inf)]
)  # fmt: skip
def test_platt_maps_that_do_not_increase_are_refused(numbers: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="needs a slope above 0 and finite numbers"):
        Platt(*numbers)


@pytest.mark.parametrize(
    ("scores", "values"),
    [((), ()), ((0.1,), (0.1, 0.2)), ((0.1, 0.1), (0.2, 0.3)), ((0.1, 0.2), (0.3, 0.2)),
     ((0.1,), (-0.1,)), ((0.1,), (1.5,)), ((math.nan, 0.2), (0.1, 0.2)), ((0.1,), (math.nan,))],
)  # fmt: skip
def test_isotonic_maps_that_do_not_increase_within_0_and_1_are_refused(scores, values) -> None:
    with pytest.raises(ValueError, match="ascending scores and rising values"):
        Isotonic(scores, values)


@given(columns_of_p, st.floats(0.05, 1.0), st.floats(0.05, 1.0))
def test_negatives_dropped_twice_are_corrected_by_the_product(p, first, second):
    once = ColumnCalibration(kept_negatives=first)(p, None)
    twice = ColumnCalibration(kept_negatives=second)(once, None)
    whole = ColumnCalibration(kept_negatives=first * second)(p, None)
    np.testing.assert_allclose(twice, whole, rtol=1e-9)
    assert (twice <= p).all(), "with negatives back, everything is less probable"


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5, math.nan])
def test_shares_of_negatives_that_no_log_has_are_refused(share: float) -> None:
    with pytest.raises(ValueError, match=r"kept_negatives must lie in \(0, 1\]"):
        ColumnCalibration(kept_negatives=share)


@given(st.dictionaries(st.integers(1, 6), curves(), max_size=4), st.data())
def test_rows_with_segments_are_mapped_as_if_alone_in_any_order(maps, data):
    rows = data.draw(st.lists(st.tuples(inner, st.integers(1, 6)), min_size=1, max_size=20))
    p = np.array([score for score, _ in rows])
    segment = np.array([value for _, value in rows], np.int32)
    calibration = ColumnCalibration(Platt(0.5, 0.1), maps)
    alone = [maps.get(value, calibration.curve)(np.array([score]))[0] for score, value in rows]
    np.testing.assert_array_equal(calibration(p, segment), alone)
    order = np.array(data.draw(st.permutations(range(len(p)))))
    np.testing.assert_array_equal(calibration(p[order], segment[order]), np.array(alone)[order])


def test_segments_need_no_map_for_the_others() -> None:
    calibration = ColumnCalibration(None, {3: Platt(1.0, 5.0)})
    mapped = calibration(np.array([0.2, 0.2]), np.array([3, 4], np.int32))
    assert mapped[0] > 0.9 and mapped[1] == 0.2
    assert calibration(np.array([]), np.array([], np.int32)).shape == (0,)


@given(curves())
def test_curves_travel_through_json_to_the_last_bit(curve):
    assert curve_from_json(json.loads(json.dumps(curve_to_json(curve)))) == curve


@settings(max_examples=20)
@given(st.dictionaries(st.sampled_from(["p_click", "p_rating_3"]), curves()), st.data())
def test_calibrators_travel_through_their_file_to_the_last_bit(
    tmp_path_factory, encoder, maps, data
):
    kept = data.draw(st.floats(0.01, 1.0))
    columns = {
        name: ColumnCalibration(curve, {4: curve, 2: Platt(kept, 1 / 3)}, kept)
        for name, curve in maps.items()
    }
    where = {"heads": HEADS, "encoding": encoder.encoding}
    path = tmp_path_factory.mktemp("maps") / "calibrators.json"
    Calibrators(columns, segment="item", **where).save(path)
    loaded = Calibrators.load(path, **where)
    assert (loaded.columns, loaded.segment) == (columns, "item")


@pytest.mark.parametrize("name", ["value_watch", "p_click_and_buy", "p_nothing"])
def test_columns_without_a_probability_of_their_own_are_refused(
    encoder: RowEncoder, name: str
) -> None:
    with pytest.raises(ValueError, match=f"column '{name}' is no probability"):
        Calibrators({name: ColumnCalibration()}, heads=HEADS, encoding=encoder.encoding)


@pytest.mark.parametrize("segment", ["price", "history", "nobody"])
def test_segments_are_categorical_features(encoder: RowEncoder, segment: str) -> None:
    with pytest.raises(ValueError, match=f"segment '{segment}' is no categorical feature"):
        Calibrators({}, heads=HEADS, encoding=encoder.encoding, segment=segment)


def test_heads_offer_their_own_probabilities() -> None:
    offered = {head.name: calibrated_columns(head) for head in HEADS}
    assert offered == {
        "click": ("p_click",),
        "buy": ("p_buy_given_click",),
        "watch": (),
        "rating": ("p_rating_1", "p_rating_2", "p_rating_3"),
    }


def test_without_maps_scores_pass_through_untouched(encoder: RowEncoder) -> None:
    scores = np.random.default_rng(0).random((4, len(SCORED)), dtype=np.float32)
    nothing = Calibrators({}, heads=HEADS, encoding=encoder.encoding)
    assert nothing.apply(scores, np.zeros((4, 6), np.int32)) is scores


def test_calibrating_one_class_moves_the_others_so_that_they_sum_to_one(
    encoder: RowEncoder,
) -> None:
    maps = {"p_rating_1": ColumnCalibration(Isotonic((0.5,), (0.5,)))}
    scores = np.full((1, len(SCORED)), 0.5, np.float32)
    scores[0, -3:] = 0.2, 0.3, 0.5
    before = scores.copy()
    calibrators = Calibrators(maps, heads=HEADS, encoding=encoder.encoding)
    after = calibrators.apply(scores, np.zeros((1, 6), np.int32))
    np.testing.assert_allclose(after[0, -3:], np.array([0.5, 0.3, 0.5]) / 1.3, rtol=1e-6)
    np.testing.assert_array_equal(after[0, :-3], before[0, :-3])
    np.testing.assert_array_equal(scores, before), "the network's scores are not written to"


def test_uncorrected_keeps_maps_and_segments(encoder: RowEncoder) -> None:
    column = ColumnCalibration(Platt(2.0, 0.1), {3: Platt(1.0, 0.0)}, 0.25)
    where = {"heads": HEADS, "encoding": encoder.encoding}
    plain = Calibrators({"p_click": column}, segment="item", **where).uncorrected()
    expected = {"p_click": ColumnCalibration(column.curve, column.segments)}
    assert (plain.columns, plain.segment) == (expected, "item")


def test_files_of_another_format_are_refused(encoder: RowEncoder, tmp_path: Path) -> None:
    path = tmp_path / "calibrators.json"
    path.write_text('{"format": 2, "segment": "", "columns": {}}')
    with pytest.raises(ValueError, match="calibrators of format 2"):
        Calibrators.load(path, heads=HEADS, encoding=encoder.encoding)
    with pytest.raises(ValueError, match="a curve of kind 'spline'"):
        curve_from_json({"kind": "spline"})

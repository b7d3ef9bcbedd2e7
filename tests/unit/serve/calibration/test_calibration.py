"""Calibration: maps recover what was planted, never turn an order round, and travel exactly."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from recmtl.data.encoded_log import LogSplit
from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import BundleError, ConfigError
from recmtl.model import TabularModel
from recmtl.serve import Ranker, Scorer, load_bundle, save_bundle
from recmtl.serve.bundle.card import model_card
from recmtl.serve.bundle.manifest import write_manifest
from recmtl.serve.calibration.calibrators import (
    Calibrators,
    ColumnCalibration,
    Isotonic,
    Platt,
)
from recmtl.serve.calibration.fit import (
    calibration_gain,
    fit_calibrators,
    isotonic,
    platt,
)
from recmtl.train.config import Calibration
from tests.unit.serve.shop import HEADS, make_log, make_model

probabilities = st.floats(0.0, 1.0, width=32)
ROWS = 6000


@pytest.fixture(scope="module")
def model(encoder: RowEncoder) -> TabularModel:
    return make_model(encoder)


def planted(model: TabularModel, encoder: RowEncoder, seed: int, *, rows: int = ROWS) -> LogSplit:
    """Rows whose clicks happen at sigmoid(0.5 z - 1) of the network's log odds z.

    Of user 2 ** 40 + 7 they happen at sigmoid(0.5 z + 2) instead; purchases follow a click with
    the square of their predicted probability, stars are as predicted but for those of class 1,
    half of which become class 3.
    """
    random = np.random.default_rng(seed)
    log = make_log(rows, seed=seed)
    users = np.where(random.random(rows) < 0.2, 7, np.asarray(log["user_id"]) - 2**40)
    log = log.set_column(1, "user_id", pa.array(users + 2**40))
    encoded = encoder.encode(log)
    p = scores_of(model, encoded.ids, encoded.numeric)
    shift = np.where(users == 7, 2.0, -1.0)
    click = random.random(rows) < expit(0.5 * logit(p["p_click"]) + shift)
    buy = click & (random.random(rows) < p["p_buy_given_click"] ** 2)
    edges = np.stack([p["p_rating_1"], p["p_rating_1"] + p["p_rating_2"]], 1)
    stars = (random.random((rows, 1)) > edges).sum(1)
    stars = np.where((stars == 0) & (random.random(rows) < 0.5), 2, stars)
    labels = np.stack([click, buy, np.ones(rows), stars], 1).astype(np.float32)
    return LogSplit(
        ids=encoded.ids,
        numeric=encoded.numeric,
        labels=labels,
        weight=np.ones(rows, np.float32),
        group=np.zeros(rows, np.int64),
        row=np.arange(rows),
    )


def scores_of(model: TabularModel, ids: np.ndarray, numeric: np.ndarray) -> dict[str, np.ndarray]:
    import torch

    scores = model.predict(torch.from_numpy(ids.copy()), torch.from_numpy(numeric.copy()))
    return dict(zip(model.columns, scores.numpy().astype(np.float64).T, strict=True))


@pytest.fixture(scope="module")
def validation(model: TabularModel, encoder: RowEncoder) -> LogSplit:
    return planted(model, encoder, 1)


@pytest.fixture(scope="module")
def fresh_rows(model: TabularModel, encoder: RowEncoder) -> LogSplit:
    return planted(model, encoder, 2)


@pytest.fixture(scope="module", params=["platt", "isotonic"])
def calibrators(
    request: pytest.FixtureRequest, model: TabularModel, encoder: RowEncoder, validation: LogSplit
) -> Calibrators:
    settings = Calibration(method=request.param)
    return fit_calibrators(model, encoder, rows=validation, settings=settings)


def raw_scores(model: TabularModel, rows: LogSplit) -> np.ndarray:
    columns = scores_of(model, np.asarray(rows.ids), np.asarray(rows.numeric))
    return np.stack(list(columns.values()), 1).astype(np.float32)


@pytest.mark.parametrize(("slope", "intercept"), [(0.5, -1.0), (2.0, 0.3), (1.0, 0.0)])
def test_platt_recovers_the_planted_numbers(slope: float, intercept: float) -> None:
    """Every score once as positive and once as negative, each with its planted probability."""
    p = np.linspace(0.02, 0.98, 97)
    q = expit(slope * logit(p) + intercept)
    twice, label = np.tile(p, 2), np.repeat([1.0, 0.0], len(p))
    found = platt(twice, label, 1e6 * np.concatenate([q, 1 - q]))
    assert found.slope == pytest.approx(slope, rel=1e-4)
    assert found.intercept == pytest.approx(intercept, abs=1e-4)


def test_platt_is_the_best_line_that_scikit_learn_finds() -> None:
    """With Platt's softened labels: every row counts as both classes, with its target's weight."""
    random = np.random.default_rng(3)
    p, weight = random.beta(1, 4, 800), random.uniform(0.1, 3.0, 800)
    label = (random.random(800) < p**1.5).astype(float)
    positive, negative = (weight * label).sum(), (weight * (1 - label)).sum()
    target = np.where(label == 1, (positive + 1) / (positive + 2), 1 / (negative + 2))
    reference = LogisticRegression(C=np.inf, tol=1e-9).fit(
        np.tile(logit(p), 2)[:, None],
        np.repeat([1, 0], 800),
        sample_weight=np.concatenate([weight * target, weight * (1 - target)]),
    )
    found = platt(p, label, weight)
    assert found.slope == pytest.approx(reference.coef_[0, 0], rel=1e-5)
    assert found.intercept == pytest.approx(reference.intercept_[0], rel=1e-5)


def test_platt_keeps_the_order_of_scores_that_are_wrong_way_round() -> None:
    p = np.linspace(0.01, 0.99, 400)
    label = (p < 0.3).astype(float)
    found = platt(p, label, np.ones(400))
    assert found.slope == 1.0
    assert found(p).mean() == pytest.approx(label.mean(), abs=0.01)


def test_platt_is_finite_where_the_score_separates_or_never_varies() -> None:
    p = np.linspace(0.01, 0.99, 100)
    found = platt(p, (p > 0.5).astype(float), np.ones(100))
    assert np.isfinite([found.slope, found.intercept]).all()
    assert 0 < found(np.array([1e-9]))[0] < 0.05
    constant = platt(np.full(50, 0.2), np.arange(50) % 2, np.ones(50))
    assert constant(np.array([0.2]))[0] == pytest.approx(0.5, abs=1e-6)


def test_isotonic_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    p = random.random(500).astype(np.float32).astype(np.float64)
    label = (random.random(500) < p**2).astype(float)
    weight = random.uniform(0.5, 2.0, 500)
    reference = IsotonicRegression(y_min=1 / 502, y_max=501 / 502, out_of_bounds="clip")
    reference.fit(p, label, sample_weight=weight)
    found, asked = isotonic(p, label, weight), np.append(random.random(2000), [0.0, 1.0])
    np.testing.assert_allclose(found(asked), reference.predict(asked), atol=1e-12)
    # What pooling promises: right on average.
    assert np.average(found(p), weights=weight) == pytest.approx(
        np.average(label, weights=weight), abs=5e-3
    )


@st.composite
def curves(draw: st.DrawFn) -> Platt | Isotonic:
    if draw(st.booleans()):
        return Platt(draw(st.floats(1e-3, 50.0)), draw(st.floats(-20.0, 20.0)))
    corners = st.lists(probabilities, min_size=1, max_size=8, unique=True)
    scores = tuple(sorted(draw(corners)))
    size = len(scores)
    values = draw(st.lists(probabilities, min_size=size, max_size=size))
    return Isotonic(scores, tuple(sorted(values)))


@given(curves(), st.lists(probabilities, min_size=2, max_size=40), st.floats(0.01, 1.0))
def test_maps_increase_and_stay_probabilities(curve, p, kept):
    ascending = np.sort(np.array(p, dtype=np.float64))
    mapped = ColumnCalibration(curve, kept_negatives=kept)(ascending, None).astype(np.float32)
    assert (np.diff(mapped) >= 0).all()
    assert (mapped >= 0).all() and (mapped <= 1).all()


def test_staircases_increase_to_the_last_bit() -> None:
    """Also just below a corner, where rounding alone might lift a line above it."""
    random = np.random.default_rng(0)
    for _ in range(200):
        scores, values = np.sort(random.random((2, 20)))
        below = np.nextafter(scores, 0.0)
        asked = np.sort(np.concatenate([scores, below, random.random(50)]))
        mapped = Isotonic(tuple(scores), tuple(values))(asked)
        assert (np.diff(mapped) >= 0).all()


@given(curves(), st.lists(probabilities, min_size=1, max_size=40))
def test_a_row_is_mapped_as_if_it_were_alone(curve, p):
    column = np.array(p, dtype=np.float64)
    alone = np.array([curve(column[i : i + 1])[0] for i in range(len(column))])
    np.testing.assert_array_equal(curve(column), alone)


@given(st.floats(1e-4, 1 - 1e-4), st.floats(0.01, 1.0))
def test_correction_undoes_negative_sampling(q, kept):
    """Of 1 - q negatives the share w is kept: the log shows q / (q + (1 - q) w)."""
    shown = q / (q + (1 - q) * kept)
    corrected = ColumnCalibration(kept_negatives=kept)(np.array([shown]), None)
    assert corrected[0] == pytest.approx(q, rel=1e-9)


def test_every_column_is_better_on_rows_never_fitted_to(
    calibrators: Calibrators, model: TabularModel, encoder: RowEncoder, fresh_rows: LogSplit
) -> None:
    gain = calibration_gain(model, encoder, calibrators=calibrators, rows=fresh_rows)
    assert set(gain) == set(model.columns) - {"value_watch"}
    for column in ("p_click", "p_buy_given_click", "p_click_and_buy", "p_rating_1", "p_rating_3"):
        before, after = gain[column]["before"], gain[column]["after"]
        assert after["log_loss"] < before["log_loss"], column
        assert after["brier"] < before["brier"], column
        assert after["ece"] < 0.6 * before["ece"], column


def test_joint_columns_are_products_and_never_exceed_their_parent(
    calibrators: Calibrators, model: TabularModel, fresh_rows: LogSplit
) -> None:
    raw = raw_scores(model, fresh_rows)
    found = dict(zip(model.columns, calibrators.apply(raw, fresh_rows.ids).T, strict=True))
    product = found["p_click"].astype(np.float64) * found["p_buy_given_click"]
    np.testing.assert_array_equal(found["p_click_and_buy"], product.astype(np.float32))
    assert (found["p_click_and_buy"] <= found["p_click"]).all()
    classes = np.stack([found[f"p_rating_{k}"] for k in (1, 2, 3)], 1)
    np.testing.assert_allclose(classes.sum(1), 1.0, rtol=1e-6)
    np.testing.assert_array_equal(found["value_watch"], raw[:, model.columns.index("value_watch")])


def test_a_map_of_the_child_alone_leaves_the_parent_bit_for_bit(
    model: TabularModel, encoder: RowEncoder, fresh_rows: LogSplit
) -> None:
    maps = {"p_buy_given_click": ColumnCalibration(Platt(1.5, -0.5))}
    one = Calibrators(maps, heads=HEADS, encoding=encoder.encoding)
    raw = raw_scores(model, fresh_rows)
    found = one.apply(raw, fresh_rows.ids)
    changed = [n for i, n in enumerate(model.columns) if (found[:, i] != raw[:, i]).any()]
    assert changed == ["p_buy_given_click", "p_click_and_buy"]
    assert (found[:, 2] <= found[:, 0]).all()


def test_grandchildren_follow_a_map_of_the_root(model: TabularModel, encoder: RowEncoder) -> None:
    refund = replace(HEADS[1], name="refund", parent="buy")
    heads = (refund, HEADS[1], HEADS[0])  # children before their parents
    columns = [name for head in heads for name in head.columns]
    maps = {"p_click": ColumnCalibration(Platt(0.7, -2.0))}
    chain = Calibrators(maps, heads=heads, encoding=encoder.encoding)
    p = np.random.default_rng(0).random((100, len(columns))).astype(np.float32)
    found = dict(zip(columns, chain.apply(p, np.zeros((100, 9), np.int32)).T, strict=True))
    assert (found["p_buy_and_refund"] <= found["p_click_and_buy"]).all()
    assert (found["p_click_and_buy"] <= found["p_click"]).all()
    product = found["p_click"].astype(np.float64) * p[:, columns.index("p_buy_given_click")]
    np.testing.assert_array_equal(found["p_click_and_buy"], product.astype(np.float32))


def test_segments_have_maps_of_their_own_and_others_share_one(
    model: TabularModel, encoder: RowEncoder, validation: LogSplit, fresh_rows: LogSplit
) -> None:
    settings = Calibration(method="platt", segment="user_id", min_rows=500)
    by_user = fit_calibrators(model, encoder, rows=validation, settings=settings)
    everyone = fit_calibrators(
        model, encoder, rows=validation, settings=replace(settings, segment="")
    )
    seven = make_log(2).set_column(1, "user_id", pa.array([2**40 + 7] * 2))
    own_row = encoder.encode(seven).ids[0, 0]
    click = by_user.columns["p_click"]
    assert list(click.segments) == [own_row], "only one user has 500 rows"
    assert click.segments[own_row].intercept == pytest.approx(2.0, abs=0.3)
    raw, label = raw_scores(model, fresh_rows), fresh_rows.labels[:, 0]
    mine = fresh_rows.ids[:, 0] == own_row
    p = by_user.apply(raw, fresh_rows.ids)[:, 0]
    pooled = everyone.apply(raw, fresh_rows.ids)[:, 0]
    assert abs(p[mine].mean() - label[mine].mean()) < 0.03
    assert abs(pooled[mine].mean() - label[mine].mean()) > 0.1
    np.testing.assert_array_equal(p[~mine], pooled[~mine])


def test_segments_are_columns_of_the_encoder_where_the_model_reads_others(
    model: TabularModel, encoder: RowEncoder, validation: LogSplit
) -> None:
    settings = Calibration(method="platt", segment="user_id", min_rows=500)
    plain = fit_calibrators(model, encoder, rows=validation, settings=settings)
    elsewhere = validation.ids.copy()
    elsewhere[:, 0] = 7  # all rows are of one user, as the encoder sees them
    there = fit_calibrators(model, encoder, rows=validation, settings=settings, ids=elsewhere)
    assert list(there.columns["p_click"].segments) == [7]
    assert there.columns["p_click"].curve == plain.columns["p_click"].curve
    gains = [
        calibration_gain(model, encoder, calibrators=plain, rows=validation, ids=ids)
        for ids in (None, elsewhere)
    ]
    assert gains[0] != gains[1]


def test_unknown_values_never_get_a_map_of_their_own(
    model: TabularModel, encoder: RowEncoder, validation: LogSplit
) -> None:
    unknown = encoder.vocabularies["user_id"].first
    ids = validation.ids.copy()
    ids[: ROWS // 2, 0] = unknown
    settings = Calibration(method="platt", segment="user_id", min_rows=500)
    rows = replace(validation, ids=ids)
    found = fit_calibrators(model, encoder, rows=rows, settings=settings)
    assert unknown not in found.columns["p_click"].segments


def test_few_rows_or_one_class_leave_a_column_alone(
    model: TabularModel, encoder: RowEncoder, validation: LogSplit
) -> None:
    labels = validation.labels.copy()
    labels[9:, 1] = 0.0
    rows = replace(validation, labels=labels)
    found = fit_calibrators(model, encoder, rows=rows, settings=Calibration(method="isotonic"))
    assert "p_click" in found.columns
    assert "p_buy_given_click" not in found.columns
    none = fit_calibrators(model, encoder, rows=rows, settings=Calibration())
    assert none.columns == {}
    few = Calibration(method="platt", min_rows=ROWS + 1)
    assert fit_calibrators(model, encoder, rows=rows, settings=few).columns == {}


def test_kept_negatives_are_corrected_after_the_map(
    model: TabularModel, encoder: RowEncoder, validation: LogSplit
) -> None:
    settings = Calibration(method="platt", kept_negatives={"click": 0.1})
    plain = fit_calibrators(
        model, encoder, rows=validation, settings=replace(settings, kept_negatives={})
    )
    corrected = fit_calibrators(model, encoder, rows=validation, settings=settings)
    raw = raw_scores(model, validation)
    p = plain.apply(raw, validation.ids)[:, 0].astype(np.float64)
    q = corrected.apply(raw, validation.ids)[:, 0]
    np.testing.assert_allclose(q, p / (p + (1 - p) / 0.1), rtol=1e-5)
    gain = calibration_gain(model, encoder, calibrators=corrected, rows=validation)
    assert gain == calibration_gain(model, encoder, calibrators=plain, rows=validation)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Calibration(segment="usr"), "'usr', which is no categorical feature; there are user_id"),
        (Calibration(segment="price"), "'price', which is no categorical feature"),
        (Calibration(kept_negatives={"watch": 0.5}), "'watch', which is no binary task"),
    ],
)
def test_settings_that_name_nothing_are_refused(model, encoder, validation, settings, message):
    with pytest.raises(ConfigError, match=message):
        fit_calibrators(model, encoder, rows=validation, settings=settings)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="min_rows: must be at least 1"):
        Calibration(min_rows=0)
    with pytest.raises(ValueError, match=r"kept_negatives\.click: must be above 0"):
        Calibration(kept_negatives={"click": 0.0})


@pytest.fixture(scope="module")
def calibrated(
    tmp_path_factory: pytest.TempPathFactory,
    calibrators: Calibrators,
    model: TabularModel,
    encoder: RowEncoder,
) -> Path:
    folder = tmp_path_factory.mktemp("calibrated") / "bundle"
    return save_bundle(
        folder,
        model=model,
        encoder=encoder,
        rows=make_log(200),
        metrics={},
        calibrators=calibrators,
    )


def test_a_bundle_carries_its_maps_to_the_last_bit(
    calibrated: Path, bundle: Path, calibrators: Calibrators, log: pa.Table
) -> None:
    scorer, plain = Scorer.load(calibrated), Scorer.load(bundle)
    ids = scorer.bundle.encoder.encode(log).ids
    scores = scorer.scores(log)
    np.testing.assert_array_equal(scores, calibrators.apply(plain.scores(log), ids))
    assert (scores != plain.scores(log)).any()
    ranked = Ranker(scorer).rank(log, by="p_click", k=5)
    assert ranked["p_click"].to_numpy()[0] == scores[:, 0].max()
    one = np.concatenate([scorer.scores(log.slice(row, 1)) for row in range(0, 700, 50)])
    np.testing.assert_array_equal(one, scores[::50])


def test_without_maps_no_file_is_written_and_scores_are_the_networks(bundle: Path) -> None:
    assert not (bundle / "calibrators.json").exists()
    loaded = load_bundle(bundle)
    scores = np.random.default_rng(0).random((5, 7), dtype=np.float32)
    assert loaded.calibrators is None
    assert loaded.calibrated(scores, np.zeros((5, 6), np.int32)) is scores


def resealed(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    write_manifest(folder, {key: manifest[key] for key in ("recmtl", "columns", "input_columns")})


def test_golden_rows_catch_altered_maps(calibrated: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(calibrated, tmp_path / "copy"))
    document = json.loads((copy / "calibrators.json").read_text())
    del document["columns"]["p_click"]
    (copy / "calibrators.json").write_text(json.dumps(document))
    resealed(copy)
    with pytest.raises(BundleError, match="'p_click' of the golden rows differs"):
        load_bundle(copy)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(format=2),
        lambda d: d.update(segment="price"),
        lambda d: d["columns"].update(p_other=d["columns"]["p_click"]),
        lambda d: d["columns"].update(value_watch=d["columns"]["p_click"]),
        lambda d: d["columns"]["p_click"].update(kept_negatives=0),
        lambda d: d["columns"]["p_click"].update(curve={"kind": "pickle"}),
        lambda d: d["columns"]["p_click"].update(
            curve={"kind": "platt", "slope": -1.0, "intercept": 0.0}
        ),
        lambda d: d["columns"]["p_click"].update(
            curve={"kind": "isotonic", "scores": [0.1, 0.5], "values": [0.5, 0.2]}
        ),
        lambda d: d["columns"]["p_click"].update(
            curve={"kind": "isotonic", "scores": [0.5, 0.1], "values": [0.2, 0.5]}
        ),
        lambda d: d["columns"]["p_click"].update(
            curve={"kind": "isotonic", "scores": [0.1, 0.5], "values": [0.2, float("nan")]}
        ),
        lambda d: d.pop("columns"),
    ],
)
def test_rubbish_in_place_of_maps_is_refused(calibrated: Path, tmp_path: Path, change) -> None:
    copy = Path(shutil.copytree(calibrated, tmp_path / "copy"))
    document = json.loads((copy / "calibrators.json").read_text())
    change(document)
    (copy / "calibrators.json").write_text(json.dumps(document))
    resealed(copy)
    with pytest.raises(BundleError) as raised:
        load_bundle(copy)
    assert "\n" not in str(raised.value)


def test_the_card_tells_what_calibration_changed(model, encoder, calibrators, fresh_rows) -> None:
    gain = calibration_gain(model, encoder, calibrators=calibrators, rows=fresh_rows)
    facts = {"method": "platt", "segment": "user_id", "kept_negatives": {"click": 0.1}}
    metrics = {"calibration": {**facts, "columns": gain}}
    card = model_card(encoder.schema, [], model.columns, metrics)
    assert "platt, fitted on validation rows, by `user_id`; test rows before -> after:" in card
    told = gain["p_click"]
    before, after = told["before"]["log_loss"], told["after"]["log_loss"]
    assert f"| `p_click` | {before:.5f} -> {after:.5f} |" in card
    assert "share of negative rows that the log has kept: click 0.1." in card
    assert "Calibration" not in model_card(encoder.schema, [], model.columns, {})

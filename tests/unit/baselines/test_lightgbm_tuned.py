"""LightGBM as a practitioner builds it: settings chosen on validation rows, forests in a bag."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.special import expit, logit

from recmtl.baselines import lightgbm
from recmtl.forest.settings import ForestSettings
from recmtl.forest.task_rows import TaskRows
from recmtl.forest.tuned import CANDIDATES, tuned
from recmtl.train.evidence import Evidence, LightGBM

QUICK = ForestSettings(rounds=30, patience=5, smallest_leaf=20, tune=False)


def fit(small, *, test=None, settings=QUICK, tasks=None, tune=False, **more):
    settings = dataclasses.replace(settings, tune=tune)
    return lightgbm.fit_predict(
        small.train, small.validation, test or small.test, tasks or small.tasks[:1],
        small.encoding, classes=small.classes, threads=1, settings=settings, **more,
    )  # fmt: skip


def test_a_bag_is_the_mean_of_the_logits_of_forests_that_differ(small, monkeypatch):
    forests = []
    grow = lightgbm.grow

    def kept(*rows, **settings):
        forests.append(grow(*rows, **settings))
        return forests[-1]

    monkeypatch.setattr(lightgbm, "grow", kept)
    bagged = fit(small, bag=3).predictions["p_click"]
    columns = lightgbm.ForestColumns.fit(small.train.ids, small.encoding, largest_category=1000)
    x = columns.matrix(small.test.ids, small.test.numeric)
    alone = [forest.predict(x) for forest in forests]
    assert len(alone) == 3 and not np.array_equal(alone[0], alone[1])
    np.testing.assert_allclose(bagged, expit(np.mean(logit(alone), axis=0)), rtol=1e-5)
    assert all(f.params["bagging_fraction"] == 0.8 for f in forests)


def test_every_kind_of_task_is_tuned_and_bagged(small):
    scores = fit(small, tasks=small.tasks, tune=True, bag=2).predictions
    shares = [scores[f"p_rating_{name}"] for name in small.classes["rating"]]
    np.testing.assert_allclose(np.sum(shares, axis=0), 1, rtol=1e-5)
    assert np.all(scores["value_watch"] >= 0)
    joint = scores["p_click"] * scores["p_buy_given_click"]
    np.testing.assert_allclose(scores["p_click_and_buy"], joint, rtol=1e-5)


@pytest.mark.parametrize("best", range(len(CANDIDATES)))
def test_the_candidate_of_the_lowest_validation_loss_goes_on_and_is_chosen(best):
    start = dataclasses.replace(QUICK, tune=True)
    wanted, tried = dataclasses.replace(start, **CANDIDATES[best]), []

    def grow(candidate):
        tried.append((candidate.rounds, candidate.learning_rate))
        kept = {"rounds": QUICK.rounds, "learning_rate": QUICK.learning_rate}
        loss = float(dataclasses.replace(candidate, **kept) != wanted)
        return SimpleNamespace(best_score={"valid_0": {"binary_logloss": loss}})

    rows = TaskRows(np.zeros((1, 1)), np.zeros(1), np.ones(1))
    assert tuned(start, grow, rows) == wanted, "with the rounds and the rate of the settings"
    assert tried == [(15, 0.1)] * len(CANDIDATES) + [(50, 0.1)] * 2


def test_tuning_finds_what_large_leaves_hide(small):
    """Leaves of 2,000 of 3,000 rows split nothing; candidates with smaller ones do."""
    coarse = dataclasses.replace(QUICK, smallest_leaf=2000)
    assert np.ptp(fit(small, settings=coarse).predictions["p_click"]) == 0
    assert np.ptp(fit(small, settings=coarse, tune=True).predictions["p_click"]) > 0.2


def test_equal_seeds_give_equal_scores_and_others_differ(small):
    first, same, other = (
        fit(small, tune=True, bag=2, seed=seed).predictions["p_click"] for seed in (5, 5, 6)
    )
    assert np.array_equal(first, same) and not np.array_equal(first, other)


def test_permuted_test_rows_change_no_choice(small):
    order = np.random.default_rng(0).permutation(len(small.test.labels))
    permuted = small.test.take(order)
    plain, turned = (fit(small, test=test, tune=True, bag=2) for test in (small.test, permuted))
    assert np.array_equal(plain.predictions["p_click"][order], turned.predictions["p_click"])
    assert plain.cost["parameters"] == turned.cost["parameters"]


def test_without_validation_rows_the_settings_are_as_they_are(small):
    empty = small.validation.take(np.arange(0))
    tuned, plain = (
        lightgbm.fit_predict(
            small.train, empty, small.test, small.tasks[:1], small.encoding,
            threads=1, settings=dataclasses.replace(QUICK, tune=tune),
        ).predictions["p_click"]
        for tune in (True, False)
    )  # fmt: skip
    assert np.array_equal(tuned, plain)


def test_processor_time_stands_beside_the_score(small):
    result = fit(small, tune=True)
    assert 0 < result.cost["cpu_s"] < 60


def test_the_configuration_says_how_it_is_tuned_and_bagged():
    assert LightGBM().tune and LightGBM().bag == 3 and LightGBM().learning_rate == 0.03
    with pytest.raises(ValueError, match="bag: must be at least 1"):
        LightGBM(bag=0)
    assert Evidence(seeds=5).seeds_of_controls == 5
    assert Evidence(seeds=5, control_seeds=1).seeds_of_controls == 1

"""Ids as trees see them, and early stopping on validation rows."""

import dataclasses

import numpy as np

from recmtl.baselines import lightgbm
from recmtl.forest.settings import ForestSettings


def fit(small, **settings):
    return lightgbm.fit_predict(
        small.train, small.validation, small.test, small.tasks[:1], small.encoding,
        threads=1, settings=ForestSettings(**settings, tune=False),
    )  # fmt: skip


def test_same_seed_same_scores_and_another_seed_others(small):
    def scores(seed):
        return lightgbm.fit_predict(
            small.train, small.validation, small.test, small.tasks[:1], small.encoding,
            threads=1, seed=seed, settings=ForestSettings(rounds=20, feature_share=0.6, tune=False),
        ).predictions["p_click"]  # fmt: skip

    assert np.array_equal(scores(1), scores(1))
    assert not np.array_equal(scores(1), scores(2))


def test_validation_rows_stop_the_growth(small):
    """Validation labels turned round make the first tree one too many."""
    against = dataclasses.replace(small.validation, labels=1 - small.validation.labels)
    grown = fit(small, rounds=60).cost["parameters"]
    stopped = lightgbm.fit_predict(
        small.train, against, small.test, small.tasks[:1], small.encoding,
        threads=1, settings=ForestSettings(rounds=60, patience=5, tune=False),
    ).cost["parameters"]  # fmt: skip
    assert stopped <= 31 < grown


def test_large_vocabularies_are_ordered_numbers_small_ones_categories(small):
    as_category = fit(small, rounds=20).predictions["p_click"]
    as_number = fit(small, rounds=20, largest_category=5).predictions["p_click"]
    assert not np.array_equal(as_category, as_number)

"""The linear models are scikit-learn's, on the columns that one would write by hand."""

import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from recmtl.baselines import logistic
from recmtl.evaluate.label_space import defined_rows


def by_hand(split, train):
    """Dense columns: one-hot item, mean-pooled bag of the list, numerics, missing indicators."""
    items = np.eye(31)
    history = split.ids[:, 1:]
    bag = items[history] * (history != 0)[:, :, None]
    bag = bag.sum(1) / np.maximum((history != 0).sum(1), 1)[:, None]
    missing = np.isnan(split.numeric)
    mean, std = np.nanmean(train.numeric, axis=0), np.nanstd(train.numeric, axis=0)
    numeric = np.where(missing, 0, (split.numeric - mean) / std)
    return np.concatenate([items[split.ids[:, 0]], bag, numeric, missing], axis=1)


@pytest.fixture(scope="module")
def converged(small):
    fields = [f.name for f in dataclasses.fields(small.train)]
    nothing = dataclasses.replace(small.train, **{f: getattr(small.train, f)[:0] for f in fields})
    settings = logistic.LogisticSettings(steps=500)
    return logistic.fit_predict(
        small.train, nothing, small.test, small.tasks, small.encoding,
        classes=small.classes, settings=settings,
    ).predictions  # fmt: skip


@pytest.mark.parametrize(("task", "column"), [(0, "p_click"), (1, "p_buy_given_click")])
def test_binary_equals_scikit_learn(small, converged, task, column):
    rows = defined_rows(small.train.labels, small.tasks, small.tasks[task])
    x = by_hand(small.train, small.train)
    model = LogisticRegression(C=1.0, tol=1e-8, max_iter=5000)
    model.fit(x[rows], small.train.labels[rows, task])
    expected = model.predict_proba(by_hand(small.test, small.train))[:, 1]
    np.testing.assert_allclose(converged[column], expected, atol=2e-3)


def test_multiclass_equals_scikit_learn(small, converged):
    model = LogisticRegression(C=1.0, tol=1e-8, max_iter=5000)
    model.fit(by_hand(small.train, small.train), small.train.labels[:, 3])
    expected = model.predict_proba(by_hand(small.test, small.train))
    found = np.stack([converged[f"p_rating_{c}"] for c in (1, 2, 5)], axis=1)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_regression_is_ridge_on_the_transformed_label(small, converged):
    rows = defined_rows(small.train.labels, small.tasks, small.tasks[2])
    label = np.log1p(small.train.labels[rows, 2])
    model = Ridge(alpha=1.0).fit(by_hand(small.train, small.train)[rows], label)
    expected = model.predict(by_hand(small.test, small.train))
    np.testing.assert_allclose(np.log1p(converged["value_watch"]), expected, atol=2e-3)


def test_the_best_step_on_validation_rows_is_kept(small):
    """Validation labels turned round make every step worse than the start."""

    def fit(validation):
        return logistic.fit_predict(
            small.train, validation, small.test, small.tasks[:1], small.encoding
        ).predictions["p_click"]

    against = dataclasses.replace(small.validation, labels=1 - small.validation.labels)
    np.testing.assert_allclose(fit(against), small.train.labels[:, 0].mean(), rtol=1e-5)
    assert fit(small.validation).std() > 0.1

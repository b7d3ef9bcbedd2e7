"""The linear models are scikit-learn's, on the columns that one would write by hand."""

import dataclasses

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from recmtl.baselines import logistic, per_task
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
    settings = logistic.LogisticSettings(path=(1.0,), steps=500, tolerance=1e-9)
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


def predicted(small, **settings):
    return logistic.fit_predict(
        small.train, small.validation, small.test, small.tasks, small.encoding,
        classes=small.classes, settings=logistic.LogisticSettings(**settings),
    ).predictions  # fmt: skip


@pytest.fixture(scope="module")
def along(small):
    """Scores after the whole path, and after each penalty alone."""
    path = (1e-6, 0.03, 1.0)
    return predicted(small, path=path), [predicted(small, path=(c,)) for c in path]


@pytest.mark.parametrize("column", ["p_click", "p_buy_given_click", "value_watch", "p_rating_2"])
def test_validation_rows_choose_the_penalty(along, column):
    """Each task has the penalty of the lowest loss, as if it alone had been tried."""
    chosen, alone = along
    distances = [np.abs(chosen[column] - scores[column]).max() for scores in alone]
    assert min(distances) < 5e-3
    assert distances[0] > 0.05, "a penalty that leaves nothing but the base rate is not chosen"


def test_validation_labels_turned_round_keep_the_strongest_penalty(small):
    against = dataclasses.replace(small.validation, labels=1 - small.validation.labels)
    p = logistic.fit_predict(
        small.train, against, small.test, small.tasks[:1], small.encoding,
        settings=logistic.LogisticSettings(path=(1e-7, 1.0)),
    ).predictions["p_click"]  # fmt: skip
    np.testing.assert_allclose(p, small.train.labels[:, 0].mean(), rtol=1e-2)


def test_the_path_ends_where_the_loss_rises(small, monkeypatch):
    tried = []

    class Counted(LogisticRegression):
        def fit(self, x, y, sample_weight=None):
            tried.append(self.C)
            return super().fit(x, y, sample_weight)

    monkeypatch.setattr(logistic, "LogisticRegression", Counted)
    logistic.fit_predict(
        small.train, small.validation, small.test, small.tasks[:1], small.encoding,
        settings=logistic.LogisticSettings(path=(0.1, 1e-7, 1.0, 10.0)),
    )  # fmt: skip
    assert tried == [0.1, 1e-7]


def test_a_log_of_more_entries_is_fitted_on_evenly_spaced_rows(small):
    """4 columns of ids and 2 of numbers: 1,500 rows have at most 9,000 entries."""
    bound = logistic.LogisticSettings(entries=9_000)
    arguments = (small.validation, small.test, small.tasks, small.encoding)
    result = logistic.fit_predict(small.train, *arguments, classes=small.classes, settings=bound)
    assert result.cost["rows_left_out"] == 1500
    half = small.train.take(np.linspace(0, 2999, 1500).astype(np.int64))
    by_hand = logistic.fit_predict(half, *arguments, classes=small.classes)
    assert "rows_left_out" not in by_hand.cost
    for column, scores in by_hand.predictions.items():
        np.testing.assert_array_equal(result.predictions[column], scores)


def test_of_more_columns_those_of_the_most_rows_are_kept(small):
    """Three classes share 60 weights: 20 columns are left of all."""
    settings = logistic.LogisticSettings(weights=60)
    result = logistic.fit_predict(
        small.train, small.validation, small.test, small.tasks, small.encoding,
        classes=small.classes, settings=settings,
    )  # fmt: skip
    whole = logistic.fit_predict(
        small.train, small.validation, small.test, small.tasks, small.encoding,
        classes=small.classes,
    )  # fmt: skip
    columns = whole.cost["parameters"] // 6 - 1
    assert result.cost["columns_left_out"] == columns - 20
    assert result.cost["parameters"] == 6 * 21
    rare = np.bincount(small.train.ids[:, 0], minlength=31).argsort()[1:6]
    p = result.predictions["p_click"][np.isin(small.test.ids[:, 0], rare)]
    common = result.predictions["p_click"]
    assert p.std() < common.std(), "rare items have no weight of their own"


def test_scores_do_not_depend_on_the_block(small, monkeypatch):
    whole = predicted(small)
    for module in (logistic, per_task):
        monkeypatch.setattr(module, "BLOCK", 137)
    for column, scores in predicted(small).items():
        np.testing.assert_array_equal(scores, whole[column])

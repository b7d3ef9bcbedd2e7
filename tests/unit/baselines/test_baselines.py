"""What every baseline promises: the right rows, the right columns, nothing from the test labels."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from recmtl.baselines import constant, lightgbm, logistic
from recmtl.evaluate import evaluate
from recmtl.forest.settings import ForestSettings
from recmtl.model.heads import HeadSpec, output_columns

ALL = {
    "constant": constant.fit_predict,
    "logistic": logistic.fit_predict,
    "lightgbm": lambda *a, **k: lightgbm.fit_predict(
        *a, threads=1, settings=ForestSettings(rounds=30, tune=False), **k
    ),
}


def run(name, small, **changed):
    used = {part: getattr(small, part) for part in ("train", "validation", "test")} | changed
    return ALL[name](
        used["train"], used["validation"], used["test"], small.tasks, small.encoding,
        classes=small.classes,
    )  # fmt: skip


@pytest.fixture(scope="module")
def results(small):
    return {name: run(name, small) for name in ALL}


def same(one, other):
    return all(np.array_equal(one.predictions[c], other.predictions[c]) for c in one.predictions)


@pytest.mark.parametrize("name", ALL)
def test_columns_are_those_of_a_model(name, small, results):
    names = {task: tuple(map(str, values)) for task, values in small.classes.items()}
    heads = [
        HeadSpec(task.name, task.kind, parent=task.parent, classes=names.get(task.name, ()))
        for task in small.tasks
    ]
    expected = output_columns(heads)
    assert tuple(results[name].predictions) == expected
    for values in results[name].predictions.values():
        assert values.shape == (1000,)
        assert values.dtype == np.float32


@pytest.mark.parametrize("name", ["logistic", "lightgbm"])
def test_every_task_beats_the_constant(name, small, results):
    def judge(which):
        return evaluate(results[which].predictions, small.test.labels, small.tasks)

    found, floor = judge(name), judge("constant")
    assert found["click"]["auc"] > 0.7
    assert found["buy"]["auc"] > 0.6
    assert found["watch"]["rmse"] < 0.8 * floor["watch"]["rmse"]
    assert found["rating"]["log_loss"] < 0.9 * floor["rating"]["log_loss"]
    assert floor["click"]["auc"] == 0.5
    assert floor["click"]["calibration_ratio"] == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("name", ALL)
def test_joint_probability_is_the_product_down_the_funnel(name, results):
    p = results[name].predictions
    product = p["p_click"] * p["p_buy_given_click"]
    np.testing.assert_allclose(p["p_click_and_buy"], product, rtol=1e-6)
    total = p["p_rating_1"] + p["p_rating_2"] + p["p_rating_5"]
    np.testing.assert_allclose(total, 1, rtol=1e-5)


@pytest.mark.parametrize("name", ALL)
def test_test_labels_change_nothing(name, small, results):
    mixed = np.random.default_rng(0).permutation(small.test.labels)
    other = run(name, small, test=dataclasses.replace(small.test, labels=mixed))
    assert same(results[name], other)


@pytest.mark.parametrize("name", ALL)
def test_child_is_fitted_where_its_parent_happened(name, small, results):
    """The child's label on rows without a click does not reach its model."""

    def spoil(split):
        labels = np.array(split.labels)
        labels[labels[:, 0] == 0, 1] = 1
        return dataclasses.replace(split, labels=labels)

    other = run(name, small, train=spoil(small.train), validation=spoil(small.validation))
    assert same(results[name], other)


@pytest.mark.parametrize("name", ALL)
def test_rows_of_weight_zero_are_as_if_absent(name, small):
    kept = np.arange(len(small.train)) % 2 == 0
    light = dataclasses.replace(small.train, weight=kept.astype(np.float32))
    flipped = np.array(small.train.labels)
    flipped[~kept, 0] = 1 - flipped[~kept, 0]
    other = dataclasses.replace(light, labels=flipped)
    one, two = run(name, small, train=light), run(name, small, train=other)
    np.testing.assert_allclose(one.predictions["p_click"], two.predictions["p_click"], atol=1e-6)


@pytest.mark.parametrize("name", ALL)
def test_ids_never_seen_and_empty_lists_are_scored(name, small):
    ids = np.array(small.test.ids)
    unseen = dataclasses.replace(small.encoding, table_rows=10_000)
    ids[:10, 0] = 9_999
    ids[:10, 1:] = 0
    test = dataclasses.replace(small.test, ids=ids)
    result = ALL[name](
        small.train, small.validation, test, small.tasks, unseen, classes=small.classes
    )
    for values in result.predictions.values():
        assert np.isfinite(values).all()


@pytest.mark.parametrize("name", ALL)
def test_a_label_with_one_value_and_no_validation_rows_do_not_stop_the_others(name, small):
    labels = np.array(small.train.labels)
    labels[:, 1] = labels[:, 0]  # everyone who clicks buys
    labels[:, 2] = np.nan
    train = dataclasses.replace(small.train, labels=labels)
    fields = [f.name for f in dataclasses.fields(small.train)]
    empty = dataclasses.replace(
        small.validation, **{f: getattr(small.validation, f)[:0] for f in fields}
    )
    p = run(name, small, train=train, validation=empty).predictions
    assert np.all(p["p_buy_given_click"] == 1)
    assert np.all(np.isfinite(p["p_click"]))
    np.testing.assert_array_equal(p["p_click_and_buy"], p["p_click"])


@pytest.mark.parametrize("name", ALL)
def test_cost_is_known(name, results):
    cost = results[name].cost
    assert set(cost) == {"parameters", "multiply_adds", "train_s", "cpu_s", "score_rows_per_s"}
    assert cost["parameters"] > 0
    assert cost["score_rows_per_s"] > 0
    assert (cost["multiply_adds"] is None) == (name == "lightgbm")


def test_the_package_loads_lightgbm_only_when_asked():
    code = (
        "import sys, recmtl.baselines, recmtl.baselines.logistic; print('lightgbm' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

"""The verdict: right when the truth is known, and honest when it is not."""

import json

import numpy as np
import pytest
from scipy.special import expit as sigmoid
from scipy.stats import ttest_ind

from recmtl.errors import DataError
from recmtl.evaluate import assemble, evaluate, metrics
from recmtl.evaluate.gain import gain_of
from recmtl.evaluate.measured import FEWEST_OF_A_CLASS, paired_bootstrap, primary_measure
from recmtl.evaluate.pairwise_order import PairwiseOrder
from recmtl.evaluate.results import strongest_opponent
from recmtl.evaluate.transfer_test import judge_transfer
from recmtl.schema import Condition, TaskSpec

BINARY = (TaskSpec("click", "binary", Condition("click")),)
VALUE = (TaskSpec("watch", "regression", Condition("watch")),)


def log(rows=2000, seed=0):
    random = np.random.default_rng(seed)
    signal = random.normal(size=rows)
    return signal, (random.random(rows) < sigmoid(signal)).astype(np.float32)[:, None], random


def model(signal, noise, random, seeds=1):
    return {
        s: {"p_click": sigmoid(signal + noise * random.normal(size=len(signal)))}
        for s in range(seeds)
    }


def judge_as_they_are(predictions, labels, tasks, **settings):
    """The verdict on the first task, of networks without the luck of a training seed."""
    judged = judge_transfer(predictions, labels, tasks, fixed=tuple(predictions), **settings)
    return judged.tasks[tasks[0].name]


@pytest.mark.parametrize("ties", [1, 8])
def test_auc_under_weights_is_the_auc_of_the_repeated_rows(ties):
    signal, labels, random = log(300)
    scores, label = signal.round(ties), labels[:, 0]
    order = PairwiseOrder(label, scores)
    for _ in range(5):
        times = np.bincount(random.integers(0, 300, 300), minlength=300)
        drawn = np.repeat(np.arange(300), times)
        assert order.auc(times) == pytest.approx(metrics.auc(label[drawn], scores[drawn]))


def test_several_weightings_at_once_are_those_weightings_one_by_one():
    signal, labels, random = log(200)
    weights = random.integers(0, 3, (200, 5)) * 0.7
    weights[:, 3] = 0.0  # no row drawn: not defined
    for scores in (signal, signal.round(0)):
        order = PairwiseOrder(labels[:, 0], scores)
        alone = [order.auc(column) for column in weights.T]
        np.testing.assert_allclose(order.aucs(weights), alone, rtol=1e-12)
        assert np.isnan(alone).tolist() == [False, False, False, True, False]


def test_bootstrap_spread_is_the_spread_over_fresh_test_sets():
    """The standard error that one test set gives equals the spread over many drawn anew."""
    fresh = []
    for seed in range(300):
        signal, labels, random = log(800, seed)
        noisy = signal + random.normal(size=800)
        fresh.append(metrics.auc(labels[:, 0], signal) - metrics.auc(labels[:, 0], noisy))
    signal, labels, random = log(800, 1000)
    measures = [
        primary_measure("binary", labels[:, 0], scores)
        for scores in (signal, signal + random.normal(size=800))
    ]
    drawn = paired_bootstrap(
        measures, np.arange(800), np.ones(800), rows=np.ones(800, bool), resamples=300, seed=0
    )
    assert np.std(drawn[:, 0] - drawn[:, 1]) == pytest.approx(np.std(fresh), rel=0.25)


def test_verdicts_where_the_truth_is_known():
    signal, labels, random = log()
    good, bad = model(signal, 0.0, random), model(signal, 2.0, random)
    better = judge_as_they_are({"searched": good, "single_task": bad}, labels, BINARY)
    worse = judge_as_they_are({"searched": bad, "single_task": good}, labels, BINARY)
    assert (better["verdict"], worse["verdict"]) == ("helped", "hurt")
    assert better["single_task"]["gain"] == pytest.approx(-worse["single_task"]["gain"])
    assert better["single_task"]["low"] == pytest.approx(-worse["single_task"]["high"])
    same = judge_as_they_are({"searched": good, "single_task": good}, labels, BINARY)
    assert same["verdict"] == "not proven"
    assert same["single_task"]["gain"] == same["single_task"]["high"] == 0


def test_gain_is_the_difference_of_the_evaluated_means():
    signal, labels, random = log()
    weight = random.random(len(labels))
    predictions = {
        "searched": model(signal, 1, random, 3),
        "single_task": model(signal, 1, random, 2),
    }
    verdict = judge_transfer(predictions, labels, BINARY, weight=weight).tasks["click"]
    means = {
        name: np.mean(
            [evaluate(p, labels, BINARY, weight=weight)["click"]["auc"] for p in seeds.values()]
        )
        for name, seeds in predictions.items()
    }
    expected = means["searched"] - means["single_task"]
    assert verdict["single_task"]["gain"] == pytest.approx(expected)
    assert verdict["single_task"]["seeds"] == (3, 2)


def test_lower_error_is_a_positive_gain():
    random = np.random.default_rng(0)
    y = random.normal(size=(1000, 1))
    close, far = ({0: {"value_watch": y[:, 0] + s * random.normal(size=1000)}} for s in (0.5, 1.0))
    verdict = judge_as_they_are({"searched": close, "single_task": far}, y, VALUE)
    assert verdict["verdict"] == "helped"
    assert verdict["single_task"]["gain"] == pytest.approx(0.5, abs=0.1)
    assert verdict["higher_is_better"] is False


def test_false_verdicts_are_as_rare_as_promised():
    """Two equally good models: the 95 % interval misses zero in about one set of twenty."""
    wrong = 0
    for seed in range(200):
        signal, labels, random = log(400, seed)
        pair = {name: model(signal, 1.0, random) for name in ("searched", "single_task")}
        verdict = judge_as_they_are(pair, labels, BINARY, resamples=60)["verdict"]
        wrong += verdict != "not proven"
    assert 1 <= wrong <= 22  # binomial(200, .05) lies in 3..18 with 99 %; 60 draws blur it a little


def test_rows_of_one_group_count_as_one_piece_of_evidence():
    signal, labels, random = log(500)
    copies = 8
    signal, labels = np.repeat(signal, copies), np.repeat(labels, copies, axis=0)
    group = np.repeat(np.arange(500), copies)
    noise = np.repeat(random.normal(size=500), copies)
    predictions = {
        "searched": {0: {"p_click": sigmoid(signal)}},
        "single_task": {0: {"p_click": sigmoid(signal + noise)}},
    }
    by_row = judge_transfer(predictions, labels, BINARY).tasks["click"]["single_task"]["error_rows"]
    grouped = judge_transfer(predictions, labels, BINARY, group=group).tasks["click"]
    assert grouped["single_task"]["error_rows"] == pytest.approx(by_row * copies**0.5, rel=0.2)
    assert (grouped["unit"], grouped["rows"]) == ("group", 4000)


def test_seeds_widen_the_interval_by_welchs_rule():
    draws = np.zeros((100, 1))
    ours, theirs = np.array([0.70, 0.71, 0.72]), np.array([0.70, 0.705, 0.71])
    gain = gain_of(ours + draws, theirs + draws, confidence=0.95)
    expected = ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    assert (gain.low, gain.high) == pytest.approx((expected.low, expected.high))
    assert gain.error_rows == pytest.approx(0, abs=1e-12)


def test_one_seed_each_proves_nothing_unless_seeds_do_not_matter():
    random = np.random.default_rng(0)
    ours, theirs = 0.7 + 0.01 * random.normal(size=(201, 1)), np.full((201, 1), 0.6)
    gain = gain_of(ours, theirs, confidence=0.95)
    assert (gain.error_seeds, gain.verdict) == (0, "not proven") and gain.low > 0
    assert gain.high - gain.gain == pytest.approx(1.959964 * gain.error_rows)
    assert gain_of(ours, theirs, confidence=0.95, fixed=(True, False)).verdict == "not proven"
    assert gain_of(ours, theirs, confidence=0.95, fixed=(True, True)).verdict == "helped"


def test_one_seed_is_taken_to_scatter_as_the_others_do():
    """The t test of two samples with a common variance, one of them a single value."""
    ours, theirs = np.array([[0.70, 0.71, 0.75]]), np.array([[0.69]])
    gain = gain_of(np.repeat(ours, 9, 0), np.repeat(theirs, 9, 0), confidence=0.95)
    expected = ttest_ind(ours[0], theirs[0], equal_var=True).confidence_interval(0.95)
    assert (gain.low, gain.high) == pytest.approx((expected.low, expected.high))
    fixed = gain_of(
        np.repeat(ours, 9, 0), np.repeat(theirs, 9, 0), confidence=0.95, fixed=(False, True)
    )
    assert fixed.error_seeds == pytest.approx(np.std(ours, ddof=1) / 3**0.5)


def test_few_groups_widen_the_interval_as_a_t_test_over_groups_does():
    """Eight groups of equal size: the drawn mean error has the t interval of the eight means."""
    random = np.random.default_rng(0)
    group, labels = np.repeat(np.arange(8), 5), np.zeros((40, 1))
    squares = 1.0 + np.repeat(random.random(8), 5)
    pair = {n: {0: {"value_watch": f * squares**0.5}} for n, f in (("searched", 1), ("x", 0))}
    gain = judge_as_they_are(pair, labels, VALUE, group=group, resamples=4000)["x"]
    values = squares[::5]
    error = values.std(ddof=1) / 8**0.5 / (2 * values.mean() ** 0.5)  # of a root, by its slope
    assert gain["error_rows"] == pytest.approx(error, rel=0.05)
    assert gain["high"] - gain["gain"] == pytest.approx(2.364624 * gain["error_rows"], rel=1e-4)


def test_too_few_positives_prove_nothing():
    random = np.random.default_rng(0)
    for count, verdict in ((FEWEST_OF_A_CLASS - 1, "not proven"), (40, "helped")):
        labels = (np.arange(1000) < count).astype(np.float32)[:, None]
        pair = {
            "searched": {0: {"p_click": 0.1 + 0.8 * labels[:, 0]}},
            "single_task": {0: {"p_click": random.random(1000)}},
        }
        assert judge_as_they_are(pair, labels, BINARY)["verdict"] == verdict


def test_a_task_without_positives_is_not_proven_and_is_valid_json():
    signal, labels, random = log(100)
    labels[:] = 0
    pair = {name: model(signal, 1.0, random) for name in ("searched", "single_task")}
    verdicts = judge_transfer(pair, labels, BINARY).tasks
    assert verdicts["click"]["verdict"] == "not proven"
    scored = {n: {0: evaluate(p[0], labels, BINARY)} for n, p in pair.items()}
    results = assemble(scored, verdicts=verdicts, cost={}, fingerprint="f")
    text = json.dumps(results, allow_nan=False)
    assert json.loads(text)["tasks"]["click"]["searched"]["auc"]["mean"] is None


def test_without_the_single_task_model_nothing_is_proven_but_lightgbm_is_reported():
    signal, labels, random = log()
    pair = {"searched": model(signal, 0, random), "lightgbm": model(signal, 2, random)}
    verdict = judge_as_they_are(pair, labels, BINARY)
    assert verdict["verdict"] == "not proven"
    assert verdict["lightgbm"]["verdict"] == "helped"
    assert "single_task" not in verdict
    with pytest.raises(DataError, match="no predictions of 'searched'"):
        judge_transfer({"lightgbm": pair["lightgbm"]}, labels, BINARY)


def test_the_same_seed_gives_the_same_interval():
    signal, labels, random = log(300)
    pair = {name: model(signal, 1.0, random) for name in ("searched", "single_task")}
    assert judge_transfer(pair, labels, BINARY, seed=3) == judge_transfer(
        pair, labels, BINARY, seed=3
    )
    assert judge_transfer(pair, labels, BINARY, seed=3) != judge_transfer(
        pair, labels, BINARY, seed=4
    )


TWO = (*BINARY, TaskSpec("watch", "regression", Condition("watch")))


def two_tasks(rows=1500):
    """Labels of a binary and a regression task, and a model's columns of a given noise."""
    signal, click, random = log(rows)
    watch = 10.0 * signal + random.normal(size=rows)
    labels = np.column_stack([click, watch]).astype(np.float32)

    def columns(noise, seeds=2):
        return {
            s: {
                "p_click": sigmoid(signal + noise * random.normal(size=rows)),
                "value_watch": 10.0 * (signal + noise * random.normal(size=rows)),
            }
            for s in range(seeds)
        }

    return labels, columns


def test_every_other_model_is_an_opponent_and_one_of_them_decides():
    labels, columns = two_tasks()
    found = judge_transfer(
        {"mmoe": columns(2.0), "searched": columns(0.1), "ple": columns(0.1)}, labels, TWO
    )
    for entry in (*found.tasks.values(), found.mean):
        assert entry["verdict"] == "not proven", "no single task model"
        assert (entry["mmoe"]["verdict"], entry["ple"]["verdict"]) == ("helped", "not proven")
        assert "searched" not in entry
    decided = judge_transfer(
        {"searched": columns(0.1), "ple": columns(2.0)}, labels, TWO, decisive="ple"
    )
    assert [entry["verdict"] for entry in decided.tasks.values()] == ["helped", "helped"]


def test_the_mean_is_over_the_auc_and_the_share_of_variance_explained():
    labels, columns = two_tasks()
    models = {"searched": columns(0.2), "mmoe": columns(1.0)}
    found = judge_transfer(models, labels, TWO)

    def score(seed):
        measured = evaluate(seed, labels, TWO)
        return (measured["click"]["auc"] + measured["watch"]["r2"]) / 2

    ours, theirs = (np.mean([score(seed) for seed in m.values()]) for m in models.values())
    assert found.mean["tasks"] == ["click", "watch"]
    assert found.mean["mmoe"]["gain"] == pytest.approx(ours - theirs, abs=1e-9)


def test_tasks_are_drawn_together_for_the_mean():
    """Two tasks that are one and the same are no two pieces of evidence."""
    signal, labels, random = log()
    pair = {"searched": model(signal, 0.5, random), "mmoe": model(signal, 0.6, random)}
    twice = {
        name: {s: {**c, "p_again": c["p_click"]} for s, c in seeds.items()}
        for name, seeds in pair.items()
    }
    tasks = (*BINARY, TaskSpec("again", "binary", Condition("again")))
    found = judge_transfer(twice, np.repeat(labels, 2, axis=1), tasks)
    assert found.mean["mmoe"] == found.tasks["click"]["mmoe"]


def test_a_rare_task_is_left_out_of_the_mean():
    labels, columns = two_tasks()
    labels[:, 0] = np.arange(len(labels)) < FEWEST_OF_A_CLASS - 1
    found = judge_transfer({"searched": columns(0.2), "mmoe": columns(1.0)}, labels, TWO)
    assert found.mean["tasks"] == ["watch"]
    json.dumps(assemble({}, verdicts=found.tasks, cost={}, fingerprint="f", more={"m": found.mean}))


def test_the_strongest_opponent_is_the_one_against_which_least_is_gained():
    labels, columns = two_tasks()
    models = {name: columns(n) for name, n in (("searched", 0.2), ("mmoe", 1.0), ("ple", 0.5))}
    entry = judge_transfer({**models, "lightgbm": columns(0.0)}, labels, TWO).tasks["click"]
    strongest = strongest_opponent(entry, {"mmoe", "ple", "omoe"})
    assert strongest == {"model": "ple", **entry["ple"]}
    assert strongest_opponent(entry, {"omoe"}) == {}

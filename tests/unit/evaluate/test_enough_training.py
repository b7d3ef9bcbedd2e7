"""A network that learned too little is said: behind a linear model, or rising to the end."""

import math

from recmtl.evaluate.enough_training import enough_training, still_improves
from recmtl.schema import Condition, TaskSpec

TASKS = [TaskSpec("click", "binary", Condition("click"))]


def checks(*scores: float) -> list[dict[str, float]]:
    return [{"epoch": float(i), "score": score} for i, score in enumerate(scores)]


def metrics(*aucs: float) -> list[dict[str, dict[str, float]]]:
    return [{"click": {"auc": auc}} for auc in aucs]


def test_a_network_behind_logistic_regression_on_the_mean_of_its_seeds_is_said() -> None:
    curves = {name: {name: [checks(0.6, 0.6)]} for name in ("searched", "ple")}
    validation = {
        "searched": metrics(0.70, 0.74),
        "ple": metrics(0.70, 0.78),
        "logistic": metrics(0.73),
        "constant": metrics(0.5),
    }
    facts = enough_training(curves, validation, TASKS)
    assert facts["behind_logistic"] == ["searched"]
    assert facts["validation"].keys() == {"searched", "ple", "logistic"}
    (warning,) = facts["warnings"]
    assert "logistic regression (0.7300) is ahead of searched 0.7200" in warning


def test_without_a_linear_model_no_network_is_behind() -> None:
    facts = enough_training({"ple": {"ple": []}}, {"ple": metrics(0.1)}, TASKS)
    assert facts["behind_logistic"] == facts["warnings"] == []


def test_an_undefined_score_is_not_behind() -> None:
    validation = {"ple": metrics(math.nan), "logistic": metrics(0.7)}
    assert not enough_training({"ple": {"ple": []}}, validation, TASKS)["behind_logistic"]


def test_networks_that_rise_to_the_end_with_most_seeds_are_named() -> None:
    rising, falling = checks(0.6, 0.7, 0.8), checks(0.6, 0.8, 0.7)
    curves = {
        "searched": {"searched": [rising, rising, falling]},
        "single_task": {"single_task-click": [falling], "single_task-buy": [rising]},
        "ple": {"ple": [rising, falling]},
    }
    facts = enough_training(curves, {}, TASKS)
    assert facts["improving"] == ["searched", "single_task-buy"]
    assert facts["warnings"] == [
        "still improving at the last check: searched, single_task-buy; raise training.epochs"
    ]


def test_a_training_of_one_check_or_of_a_small_rise_is_not_called_improving() -> None:
    assert not still_improves(checks(0.9))
    assert not still_improves(checks(0.9, 0.9009))
    assert not still_improves(checks(0.9, 0.95, 0.94))
    assert still_improves(checks(0.9, 0.95))
    assert not still_improves([])

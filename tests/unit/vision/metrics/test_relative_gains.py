"""The relative gains that published tables print come out of our code, from the published rows."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.errors import ConfigError
from recmtl.vision.data.examples import ImageTask
from recmtl.vision.metrics import (
    AUTO_LAMBDA,
    SURVEY,
    delta_by_task,
    delta_flat,
    higher_is_better,
    relative_gains,
    select_metrics,
)

Rows = dict[str, dict[str, float]]

NYU = (
    ("segmentation", "miou"),
    ("segmentation", "pixel_accuracy"),
    ("depth", "abs"),
    ("depth", "rel"),
    ("normals", "mean"),
    ("normals", "median"),
    ("normals", "within_11.25"),
    ("normals", "within_22.5"),
    ("normals", "within_30"),
)
CITYSCAPES = NYU[:4]


def row(columns: tuple[tuple[str, str], ...], text: str) -> Rows:
    """A printed row as results."""
    found: Rows = {}
    for (task, metric), value in zip(columns, text.split(), strict=True):
        found.setdefault(task, {})[metric] = float(value)
    return found


# NYUv2, MTAN-SegNet (FAMO table 1, NTKMTL table 1).
NYU_SINGLE = row(NYU, "38.30 63.76 .6754 .2780 25.01 19.21 30.14 57.20 69.15")
NYU_ROWS = {
    "LS": "39.29 65.33 .5493 .2263 28.15 23.96 22.09 47.50 61.08",
    "CAGrad": "39.79 65.49 .5486 .2250 26.31 21.58 25.61 52.36 65.58",
    "Nash-MTL": "40.13 65.93 .5261 .2171 25.26 20.08 28.40 55.47 68.15",
    "FairGrad": "39.74 66.01 .5377 .2236 24.84 19.60 29.26 56.58 69.16",
    "DB-MTL": "41.42 66.45 .5251 .2160 25.03 19.50 28.72 56.17 68.73",
    "NTKMTL": "39.68 65.43 .5296 .2168 24.24 18.63 30.74 58.72 70.78",
}
# Printed for Nash-MTL are -4.04 and -4.05: the rows themselves are rounded.
NYU_FLAT = {
    "LS": 5.59,
    "CAGrad": 0.20,
    "Nash-MTL": -4.05,
    "FairGrad": -4.66,
    "DB-MTL": -5.36,
    "NTKMTL": -6.99,
}
NYU_BY_TASK = {"LS": 0.88, "Nash-MTL": 7.65, "DB-MTL": 8.91, "NTKMTL": 9.18}


@pytest.mark.parametrize("method", NYU_FLAT)
def test_nyu_flat(method: str) -> None:
    assert delta_flat(row(NYU, NYU_ROWS[method]), NYU_SINGLE) == pytest.approx(
        NYU_FLAT[method], abs=0.01
    )


@pytest.mark.parametrize("method", NYU_BY_TASK)
def test_nyu_by_task(method: str) -> None:
    found = delta_by_task(row(NYU, NYU_ROWS[method]), NYU_SINGLE)
    assert found == pytest.approx(NYU_BY_TASK[method], abs=0.005)


@pytest.mark.parametrize(
    ("method", "by_task"), [("NTKMTL", (3.1, 21.8, 2.6)), ("Nash-MTL", (4.1, 22.0, -3.2))]
)
def test_depth_dominates_by_task(method: str, by_task: tuple[float, ...]) -> None:
    found = relative_gains(row(NYU, NYU_ROWS[method]), NYU_SINGLE)
    means = [sum(task.values()) / len(task) for task in found.values()]
    assert means == pytest.approx(by_task, abs=0.05)


# Cityscapes, MTAN-SegNet, 7 classes (Nash-MTL; NTKMTL table 7); rows are printed with few digits.
CITY_SINGLE = row(CITYSCAPES, "74.01 93.16 .0125 27.77")
CITY_ROWS = {
    "LS": ("75.18 93.49 .0155 46.77", 22.60),
    "UW": ("72.02 92.85 .0140 30.13", 5.89),
    "Nash-MTL": ("75.41 93.66 .0129 35.02", 6.82),
    "Aligned-MTL": ("75.77 93.69 .0133 32.66", 5.27),
    "FairGrad": ("75.72 93.68 .0134 32.25", 5.18),
    "NTKMTL": ("73.71 92.71 .0136 27.21", 1.92),
}


@pytest.mark.parametrize("method", CITY_ROWS)
def test_cityscapes_flat(method: str) -> None:
    text, printed = CITY_ROWS[method]
    # Half a unit in the last digit of the absolute errors moves the mean by 0.1.
    assert delta_flat(row(CITYSCAPES, text), CITY_SINGLE) == pytest.approx(printed, abs=0.11)


# auto-lambda, NYUv2, ResNet-50: one metric a task, absolute error for depth.
TASKS = (
    ImageTask("segmentation", "segmentation", 13),
    ImageTask("depth", "depth"),
    ImageTask("normals", "normals", 3),
)
AUTO = (("segmentation", "miou"), ("depth", "abs"), ("normals", "mean"))
AUTO_ROWS = {
    "Equal": ("44.64 43.32 24.48", 3.57),
    "Uncert": ("45.98 41.26 24.09", 6.50),
    "CAGrad": ("46.14 41.91 23.52", 7.05),
    "Auto-L": ("47.17 40.97 23.68", 8.21),
    "Auto-L + CAGrad": ("48.26 39.82 22.81", 11.07),
}


@pytest.mark.parametrize("method", AUTO_ROWS)
def test_auto_lambda(method: str) -> None:
    text, printed = AUTO_ROWS[method]
    found = delta_by_task(row(AUTO, text), row(AUTO, "43.37 52.24 22.40"))
    assert found == pytest.approx(printed, abs=0.005)


@pytest.mark.parametrize(
    ("text", "printed"), [("44.4 .587", 0.41), ("44.2 .570", 1.61)], ids=["MTL", "Cross-stitch"]
)
def test_survey(text: str, printed: float) -> None:
    columns = (("segmentation", "miou"), ("depth", "rmse"))
    found = delta_by_task(row(columns, text), row(columns, "43.9 .585"))
    assert found == pytest.approx(printed, abs=0.02)


# F1 of the 40 attributes of CelebA: single-task models (authors of FAMO, Cranial-XIX/FAMO issue 2)
# and FairGrad (its authors, OptMN-Lab/FairGrad issue 1).
CELEBA_SINGLE = """
    0.6736886 0.68121034 0.81524944 0.5760289 0.7205613 0.8555076 0.38203922 0.58225113 0.787647
    0.8321292 0.5029583 0.68694085 0.6781237 0.5240381 0.5161666 0.95694304 0.6968786 0.67976356
    0.8808315 0.8582131 0.97034 0.93267566 0.5057539 0.40307626 0.9703734 0.48644206 0.60786104
    0.5261031 0.56907415 0.59815097 0.6858371 0.924108 0.5424991 0.7406311 0.71019936 0.87365365
    0.9305602 0.33704284 0.7647628 0.91907
"""
CELEBA_FAIRGRAD = """
    0.673481 0.6715126 0.80895394 0.59129095 0.716146 0.84868795 0.5293899 0.6024346 0.79252076
    0.8232979 0.49155608 0.68601424 0.6678187 0.50076723 0.5353463 0.9543982 0.6991702 0.6246493
    0.87510586 0.85260683 0.9679586 0.91303086 0.53938675 0.44097534 0.9698319 0.30875763 0.5560105
    0.5475425 0.5299987 0.6050991 0.72113657 0.9100189 0.48792267 0.6447788 0.7013081 0.8596742
    0.92936283 0.40353844 0.7261722 0.9126637
"""


def test_celeba() -> None:
    columns = tuple((str(number), "f1") for number in range(40))
    fairgrad, single = row(columns, CELEBA_FAIRGRAD), row(columns, CELEBA_SINGLE)
    means = [sum(task["f1"] for task in rows.values()) / 40 for rows in (single, fairgrad)]
    assert means == pytest.approx([0.6971, 0.6905], abs=5e-5)
    assert delta_flat(fairgrad, single) == pytest.approx(0.370, abs=5e-4)
    # One metric a task: the two conventions are one, but for the sign.
    assert delta_by_task(fairgrad, single) == pytest.approx(-delta_flat(fairgrad, single))


def test_a_row_against_itself_gains_nothing() -> None:
    assert delta_flat(NYU_SINGLE, NYU_SINGLE) == 0
    assert delta_by_task(NYU_SINGLE, NYU_SINGLE) == 0


def test_directions() -> None:
    single = {"a": {"miou": 0.5, "abs": 2.0}}
    assert relative_gains({"a": {"miou": 0.55, "abs": 1.8}}, single)["a"] == pytest.approx(
        {"miou": 10, "abs": 10}
    )
    nothing = delta_flat({"a": {"f1": 0.1}}, {"a": {"f1": 0.0}})
    assert nothing != nothing


def test_only_takes_the_metrics_of_a_convention() -> None:
    found = {
        "segmentation": {"miou": 1.0, "cross_entropy": 2.0},
        "depth": {"abs": 3.0, "rmse": 4.0},
        "normals": {"mean": 5.0, "median": 6.0},
    }
    assert select_metrics(found, TASKS, AUTO_LAMBDA) == {
        "segmentation": {"miou": 1.0},
        "depth": {"abs": 3.0},
        "normals": {"mean": 5.0},
    }
    assert select_metrics(found, TASKS, SURVEY)["depth"] == {"rmse": 4.0}


@pytest.mark.parametrize(
    "other", [{"b": {"miou": 1.0}}, {"a": {"abs": 1.0}}, {"a": {"miou": 1.0}, "b": {"abs": 1.0}}]
)
def test_different_metrics_are_not_compared(other: Rows) -> None:
    with pytest.raises(ConfigError, match="do not both have"):
        delta_flat({"a": {"miou": 1.0}}, other)


def test_the_two_conventions_by_hand() -> None:
    single = {"a": {"miou": 0.5, "pixel_accuracy": 0.8}, "b": {"abs": 2.0}}
    method = {"a": {"miou": 0.6, "pixel_accuracy": 0.8}, "b": {"abs": 3.0}}
    # Gains: 20, 0 and -50 percent. The mean over three metrics is -10, over two tasks -20.
    assert relative_gains(method, single) == {
        "a": pytest.approx({"miou": 20.0, "pixel_accuracy": 0.0}),
        "b": pytest.approx({"abs": -50.0}),
    }
    assert delta_flat(method, single) == pytest.approx(10.0)
    assert delta_by_task(method, single) == pytest.approx(-20.0)


POSITIVE = st.floats(0.01, 100.0)


@given(st.lists(st.tuples(POSITIVE, POSITIVE), min_size=1, max_size=5), POSITIVE)
def test_gains_do_not_depend_on_the_unit_of_a_metric(
    pairs: list[tuple[float, float]], unit: float
) -> None:
    def results(column: int, scale: float) -> Rows:
        return {f"task {n}": {"abs": scale * pair[column]} for n, pair in enumerate(pairs)}

    for delta in (delta_flat, delta_by_task):
        plain = delta(results(0, 1.0), results(1, 1.0))
        assert delta(results(0, unit), results(1, unit)) == pytest.approx(plain, rel=1e-6, abs=1e-6)


@given(POSITIVE, POSITIVE, st.integers(1, 6))
def test_more_metrics_of_one_task_move_the_flat_mean_alone(
    value: float, base: float, copies: int
) -> None:
    other = {"b": {"miou": 1.0}}
    names = ["abs", "rel", "rmse", "sq_rel", "mean", "median"][:copies]
    method = {"a": dict.fromkeys(names, value)} | other
    single = {"a": dict.fromkeys(names, base)} | other
    gain = 100 * (base - value) / base
    assert delta_by_task(method, single) == pytest.approx(gain / 2, abs=1e-6)
    assert delta_flat(method, single) == pytest.approx(-gain * copies / (copies + 1), abs=1e-6)


def test_a_gain_grows_as_an_error_falls_and_a_share_rises() -> None:
    single = {"a": {"abs": 1.0, "delta1": 0.5}}
    values = [0.2, 0.5, 0.8]
    methods = [{"a": {"abs": value, "delta1": value}} for value in values]
    errors, shares = (
        [relative_gains(method, single)["a"][metric] for method in methods]
        for metric in ("abs", "delta1")
    )
    assert errors == sorted(errors, reverse=True) and shares == sorted(shares)


@pytest.mark.parametrize(
    ("metric", "is_higher_better"),
    [
        ("legacy_survey_miou", True),
        ("legacy_libmtl_rel", False),
        ("legacy_adashare_within_30", True),
        ("legacy_mtan_median", False),
        ("legacy_astmt_rmse", False),
    ],
)
def test_a_legacy_metric_has_the_direction_of_the_true_one(
    metric: str, is_higher_better: bool
) -> None:
    assert higher_is_better(metric) == is_higher_better

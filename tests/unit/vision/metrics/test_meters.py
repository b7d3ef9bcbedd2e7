"""What every meter promises: the set counts and not its batches, and unknown targets count nowhere.

The formulas themselves are written a second time in `tests/parity/test_image_metrics.py`.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recmtl.vision.data.examples import ImageTask
from recmtl.vision.metrics import higher_is_better, make_meter, primary_metric
from recmtl.vision.metrics.classes import MultilabelMeter, SegmentationMeter

IMAGES, H, W = 7, 4, 3
TASKS = (
    ImageTask("kind", "classification", 4),
    ImageTask("signs", "multilabel", 3),
    ImageTask("parts", "segmentation", 4, (1.0, 2.0, 0.5, 1.5)),
    ImageTask("far", "depth", 1),
    ImageTask("normals", "normals", 3),
    ImageTask("edges", "regression_map", 2),
)
by_name = pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
Result = dict[str, float]


def images_of(task: ImageTask, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Predictions and targets of a small set in float64, with some targets unknown."""
    random = torch.Generator().manual_seed(seed)
    area = (H, W) if task.kind not in ("classification", "multilabel") else ()
    prediction = torch.randn(IMAGES, task.classes, *area, generator=random).double()
    is_known = torch.rand(IMAGES, *area, generator=random) < 0.7
    if task.kind in ("classification", "segmentation"):
        target = torch.randint(task.classes, (IMAGES, *area), generator=random)
        return prediction, torch.where(is_known, target, -1)
    target = torch.rand(IMAGES, task.classes, *area, generator=random).double() + 0.5
    if task.kind == "multilabel":
        target = (target > 1.0).double()
    if task.kind == "normals":
        target = torch.nn.functional.normalize(target - 1.0, dim=1)
    return prediction, torch.where(is_known.unsqueeze(1), target, math.nan)


def metered(task: ImageTask, batches: Sequence[tuple[Tensor, Tensor]]) -> Result:
    meter = make_meter(task)
    for prediction, target in batches:
        meter.update(prediction, target)
    return meter.result()


def true_metrics(result: Result) -> Result:
    return {name: value for name, value in result.items() if not name.startswith("legacy_")}


@by_name
@settings(max_examples=15, deadline=None)
@given(cuts=st.sets(st.integers(1, IMAGES - 1)), order=st.permutations(range(IMAGES)))
def test_true_metrics_see_neither_the_batches_nor_the_order_of_the_images(
    task: ImageTask, cuts: set[int], order: list[int]
) -> None:
    prediction, target = images_of(task)
    edges = [0, *sorted(cuts), IMAGES]
    parts = [order[a:b] for a, b in pairwise(edges)]
    shuffled = metered(task, [(prediction[part], target[part]) for part in parts])
    whole = metered(task, [(prediction, target)])
    assert true_metrics(shuffled) == pytest.approx(true_metrics(whole), rel=1e-9, abs=1e-12)


@by_name
def test_predictions_at_unknown_targets_change_no_metric_by_a_bit(task: ImageTask) -> None:
    prediction, target = images_of(task)
    unknown = target < 0 if target.dtype == torch.int64 else target.isnan()
    if target.dtype == torch.int64:
        unknown = unknown.unsqueeze(1)
    other = torch.where(unknown, torch.full_like(prediction, 1e6), prediction)
    assert unknown.any() and not torch.equal(other, prediction)
    assert metered(task, [(other, target)]) == metered(task, [(prediction, target)])


@by_name
def test_an_image_without_a_known_target_changes_no_true_metric(task: ImageTask) -> None:
    prediction, target = images_of(task)
    nothing = torch.full_like(target[:2], -1 if target.dtype == torch.int64 else math.nan)
    longer = [(prediction, target), (torch.randn_like(prediction[:2]), nothing)]
    before = true_metrics(metered(task, [(prediction, target)]))
    assert true_metrics(metered(task, longer)) == before


@by_name
def test_two_copies_of_a_set_have_the_metrics_of_one(task: ImageTask) -> None:
    batch = images_of(task)
    assert metered(task, [batch, batch]) == pytest.approx(metered(task, [batch]), rel=1e-9)


@by_name
def test_a_perfect_prediction_has_the_best_value_of_every_metric(task: ImageTask) -> None:
    _, target = images_of(task)
    if target.dtype == torch.int64:
        hot = torch.nn.functional.one_hot(target.clamp_min(0), task.classes)
        prediction = 60.0 * hot.movedim(-1, 1).double()
    elif task.kind == "multilabel":
        prediction = 60.0 * (target.nan_to_num(0.0) - 0.5)
    else:
        prediction = target.nan_to_num(3.0)
    result = metered(task, [(prediction, target)])
    best = {name: 1.0 if higher_is_better(name) else 0.0 for name in result}
    # acos is steep at 1: rounding of a cosine shows as some 1e-6 degrees.
    assert result == pytest.approx(best, abs=2e-4 if task.kind == "normals" else 1e-9)
    assert primary_metric(task)[0] in result


@by_name
def test_a_meter_reads_single_precision_as_the_same_numbers(task: ImageTask) -> None:
    prediction, target = images_of(task)
    single = target if target.dtype == torch.int64 else target.float()
    exact = single if target.dtype == torch.int64 else single.double()
    narrow = metered(task, [(prediction.float(), single)])
    wide = metered(task, [(prediction.float().double(), exact)])
    assert narrow == pytest.approx(wide, rel=1e-5, abs=1e-6)


def test_a_segmentation_by_hand() -> None:
    meter = SegmentationMeter(3)
    truth = torch.tensor([[[0, 0, 1, -1]]])
    claim = torch.tensor([[[0, 1, 1, 2]]])
    meter.update(torch.nn.functional.one_hot(claim, 3).movedim(-1, 1).double(), truth)
    result = meter.result()
    # Class 0: 1 hit of 2 pixels; class 1: 1 hit of 2; class 2 is predicted at an unknown pixel.
    assert result["miou"] == pytest.approx(0.5)
    assert result["legacy_survey_miou"] == pytest.approx(1 / 3)
    assert result["pixel_accuracy"] == pytest.approx(2 / 3)
    right, wrong = math.log(1 + 2 / math.e), math.log(math.e + 2)
    assert result["cross_entropy"] == pytest.approx((2 * right + wrong) / 3)


@given(st.permutations(range(4)))
@settings(max_examples=12, deadline=None)
def test_the_names_of_the_classes_do_not_matter(order: list[int]) -> None:
    task = ImageTask("parts", "segmentation", 4)
    prediction, target = images_of(task)
    new_number = torch.tensor(order)
    renamed = torch.where(target < 0, target, new_number[target.clamp_min(0)])
    moved = torch.empty_like(prediction)
    moved[:, new_number] = prediction
    assert metered(task, [(moved, renamed)]) == pytest.approx(metered(task, [(prediction, target)]))


@given(st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_the_three_pooled_ious_are_ordered(seed: int) -> None:
    result = metered(TASKS[2], [images_of(TASKS[2], seed)])
    assert result["legacy_survey_miou"] <= result["miou"] + 1e-12
    assert result["miou"] <= result["legacy_adashare_miou"] + 1e-12


def test_labels_by_hand() -> None:
    meter = MultilabelMeter(3)
    logits = torch.tensor([[2.0, -1.0, -1.0], [1.0, 3.0, -2.0], [-1.0, 1.0, -1.0]])
    labels = torch.tensor([[1.0, 0.0, 0.0], [0.0, math.nan, 0.0], [1.0, 1.0, 0.0]])
    meter.update(logits[:2], labels[:2])
    meter.update(logits[2:], labels[2:])
    # Label 0: one hit, one false alarm, one miss. Label 1: one hit. Label 2 never occurs.
    assert meter.of_labels()["f1"] == pytest.approx([0.5, 1.0, 0.0])
    assert meter.of_labels()["accuracy"] == pytest.approx([1 / 3, 1.0, 1.0])
    assert meter.result()["f1"] == pytest.approx(0.5)


def test_a_label_that_is_never_known_leaves_the_means() -> None:
    meter = MultilabelMeter(2)
    meter.update(torch.tensor([[2.0, 2.0]]), torch.tensor([[1.0, math.nan]]))
    assert meter.result() == pytest.approx({"f1": 1.0, "accuracy": 1.0, "error": 0.0})


def test_depth_by_hand() -> None:
    truth = torch.tensor([[[[1.0, 2.0, 4.0, math.nan, 0.0]]]])
    guess = torch.tensor([[[[1.2, 3.0, -4.0, 9.0, 1.0]]]])
    result = metered(TASKS[3], [(guess, truth)])
    assert result["abs"] == pytest.approx((0.2 + 1 + 8 + 1) / 4)
    assert result["rmse"] == pytest.approx(math.sqrt((0.04 + 1 + 64 + 1) / 4))
    # The pixel with depth 0 has no relative error.
    assert result["rel"] == pytest.approx((0.2 + 0.5 + 2) / 3, rel=1e-6)
    assert result["sq_rel"] == pytest.approx((0.04 + 0.5 + 16) / 3, rel=1e-6)
    assert result["delta1"] == pytest.approx(1 / 3)
    assert result["delta2"] == result["delta3"] == pytest.approx(2 / 3)  # 3 / 2 < 1.25^2


@given(st.floats(0.1, 10.0))
@settings(deadline=None)
def test_the_unit_of_depth_scales_errors_and_leaves_ratios(unit: float) -> None:
    prediction, target = images_of(TASKS[3])
    metres, others = (
        metered(TASKS[3], [(scale * prediction, scale * target)]) for scale in (1.0, unit)
    )
    for name in ("abs", "rmse", "sq_rel"):
        assert others[name] == pytest.approx(unit * metres[name])
    for name in ("rel", "delta1", "delta2", "delta3"):
        assert others[name] == pytest.approx(metres[name])


def test_angles_by_hand() -> None:
    truth = torch.tensor([[0.0, 0.0, 1.0]] * 4).T.reshape(1, 3, 1, 4).double()
    half = math.sqrt(0.5)
    guesses = [[0, 0, 5.0], [0, half, half], [1.0, 0, 0], [0, 0, -2.0]]
    prediction = torch.tensor(guesses).T.reshape(1, 3, 1, 4).double()
    result = metered(TASKS[4], [(prediction, truth)])
    assert result["mean"] == pytest.approx((0 + 45 + 90 + 180) / 4, abs=1e-4)
    assert result["median"] == pytest.approx(67.5, abs=2e-4)
    assert result["rmse"] == pytest.approx(math.sqrt((45**2 + 90**2 + 180**2) / 4), abs=1e-3)
    assert (result["within_11.25"], result["within_30"]) == (0.25, 0.25)


@given(st.floats(-math.pi, math.pi))
@settings(max_examples=20, deadline=None)
def test_turning_the_whole_scene_changes_no_true_angle(angle: float) -> None:
    prediction, target = images_of(TASKS[4])
    cos, sin = math.cos(angle), math.sin(angle)
    turn = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    turned = [torch.einsum("ij,bjhw->bihw", turn, vectors) for vectors in (prediction, target)]
    before, after = (
        true_metrics(metered(TASKS[4], [(p, t)])) for p, t in ((prediction, target), turned)
    )
    assert {n: after[n] for n in ("mean", "median", "rmse")} == pytest.approx(
        {n: before[n] for n in ("mean", "median", "rmse")}, abs=4e-4
    )


def test_shares_of_angles_grow_with_the_limit() -> None:
    result = metered(TASKS[4], [images_of(TASKS[4], 3)])
    shares = [result[f"within_{limit}"] for limit in ("11.25", "22.5", "30", "45")]
    assert shares == sorted(shares)

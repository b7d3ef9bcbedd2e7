"""Losses of image heads: masked, weighted, resized, and equal to a plain second formula."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from recmtl.vision.data.examples import ImageTask
from recmtl.vision.heads import (
    AsppHead,
    HeadStyle,
    ImageHeads,
    ImageHeadSpec,
    LinearHead,
    constant_loss,
    image_loss,
)
from tests.image_problems import SIZE, TASKS, make_images

NAN = math.nan


def batch_of(task: ImageTask, rows: int = 12) -> tuple[Tensor, Tensor]:
    """Random outputs and the stacked targets of one task."""
    torch.manual_seed(0)
    examples = [make_images((task,)).train.example(n, None) for n in range(rows)]
    target = torch.from_numpy(np.stack([example.targets[0] for example in examples]))
    maps = target.dim() > 2
    return torch.randn(rows, task.classes, *(SIZE if maps else ()), dtype=torch.float64), target


def plain(task: ImageTask, output: Tensor, target: Tensor) -> float:
    """The loss pixel by pixel, in loops."""
    total, weight = 0.0, 0.0
    pixels = output.movedim(1, -1).reshape(-1, task.classes)
    truths = (
        target.reshape(-1)
        if target.dtype == torch.int64
        else (target.movedim(1, -1).reshape(-1, task.classes))
    )
    for out, truth in zip(pixels, truths, strict=True):
        if task.kind in ("classification", "segmentation"):
            if int(truth) >= 0:
                share = task.class_weights[int(truth)] if task.class_weights else 1.0
                total += share * float(-out.log_softmax(0)[int(truth)])
                weight += share
        elif task.kind == "normals":
            if not truth.isnan().any():
                total += 1.0 - float((out / out.norm()) @ truth.double())
                weight += 1.0
        else:
            for o, t in zip(out, truth.double(), strict=True):
                if not t.isnan():
                    p = torch.sigmoid(o)
                    entropy = -(t * p.log() + (1 - t) * (1 - p).log())
                    total += float(entropy if task.kind == "multilabel" else (o - t).abs())
                    weight += 1.0
    return total / weight


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_losses_are_means_over_what_is_known(task: ImageTask) -> None:
    output, target = batch_of(task)
    assert float(image_loss(task, output, target)) == pytest.approx(
        plain(task, output, target), rel=1e-6
    )


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_what_is_not_known_has_no_gradient_and_nothing_known_is_no_loss(task: ImageTask) -> None:
    output, target = batch_of(task)
    unknown = target < 0 if target.dtype == torch.int64 else target.isnan()
    assert unknown.any()
    output.requires_grad_()
    image_loss(task, output, target).backward()
    spread = unknown.unsqueeze(1) if target.dtype == torch.int64 else unknown
    assert output.grad is not None and output.grad.isfinite().all()
    assert (output.grad[spread.expand_as(output)] == 0).all()
    nothing = torch.full_like(target, -1 if target.dtype == torch.int64 else NAN)
    assert float(image_loss(task, output.detach(), nothing)) == 0.0


def test_normals_do_not_notice_the_length_of_the_output() -> None:
    task = TASKS[4]
    output, target = batch_of(task)
    torch.testing.assert_close(
        image_loss(task, output, target), image_loss(task, output * 7, target)
    )
    known = target.nan_to_num(0.6).double()
    assert float(image_loss(task, known, target)) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("resize", ["nearest", "bilinear"])
@pytest.mark.parametrize("maps", ["small", "aspp"])
def test_maps_meet_targets_of_another_size(maps: str, resize: str) -> None:
    style = HeadStyle(maps=maps, hidden=4, resize=resize)
    heads = ImageHeads([ImageHeadSpec(t) for t in TASKS], width=5, pixels=(4, 3), style=style)
    outputs = heads(torch.randn(4, len(TASKS), 5, 4, 3))
    targets = [batch_of(task, rows=4)[1] for task in TASKS]
    found = heads.predictions(outputs, targets)
    assert all(loss.isfinite() for loss in heads.losses(outputs, targets, torch.ones(4)))
    for task, prediction, target in zip(TASKS, found, targets, strict=True):
        size = SIZE if target.dim() > 2 else ()
        assert prediction.shape == (4, task.classes, *size)


def test_nearest_brings_the_targets_to_the_map_as_adashare_does() -> None:
    task = ImageTask("parts", "segmentation", 3)
    style = HeadStyle(resize="nearest", hidden=4)
    heads = ImageHeads([ImageHeadSpec(task)], width=5, pixels=(4, 3), style=style)
    output, (_, target) = torch.randn(12, 3, 4, 3), batch_of(task)
    small = functional.interpolate(target.unsqueeze(1).float(), (4, 3), mode="nearest")
    expected = functional.cross_entropy(output, small[:, 0].long(), ignore_index=-1)
    torch.testing.assert_close(heads.losses([output], [target], torch.ones(12))[0], expected)


@pytest.mark.parametrize("reads", ["mean", "all"])
@pytest.mark.parametrize("maps", ["small", "aspp"])
def test_cost_is_that_of_the_parts(maps: str, reads: str) -> None:
    style = HeadStyle(maps=maps, hidden=4, reads=reads)
    heads = ImageHeads([ImageHeadSpec(t) for t in TASKS], width=5, pixels=(4, 3), style=style)
    assert heads.cost().parameters == sum(p.numel() for p in heads.parameters())
    counted = []
    for part in heads.modules():
        if isinstance(part, torch.nn.Conv2d | torch.nn.Linear):
            part.register_forward_hook(
                lambda m, _, out: counted.append(out[0, 0].numel() * m.weight.numel())
            )
    heads(torch.randn(1, len(TASKS), 5, 4, 3))
    assert heads.cost().multiply_adds == sum(counted)


@pytest.mark.parametrize("reads", ["mean", "all"])
def test_a_head_that_reads_all_pixels_knows_where_something_is(reads: str) -> None:
    style = HeadStyle(hidden=4, reads=reads)
    task = ImageTask("kind", "classification", 3)
    heads = ImageHeads([ImageHeadSpec(task)], width=5, pixels=(4, 3), style=style)
    lanes = torch.randn(6, 1, 5, 4, 3)
    (before,), (after,) = heads(lanes), heads(lanes.flip(-1))
    assert torch.allclose(before, after, atol=1e-5) == (reads == "mean")


def test_aspp_is_a_sum_of_four_dilated_branches() -> None:
    torch.manual_seed(0)
    head, lane = AsppHead(3, 2, hidden=4, dropout=0.5).eval(), torch.randn(2, 3, 30, 28)
    parts = []
    for branch, dilation in zip(head.branches, (6, 12, 18, 24), strict=True):
        first, second, third = (part for part in branch if isinstance(part, torch.nn.Conv2d))
        hidden = functional.conv2d(
            lane, first.weight, first.bias, padding=dilation, dilation=dilation
        )
        hidden = functional.conv2d(hidden.relu(), second.weight, second.bias).relu()
        parts.append(functional.conv2d(hidden, third.weight, third.bias))
    torch.testing.assert_close(head(lane), sum(parts))
    assert head.train()(lane).shape == (2, 2, 30, 28)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_constant_loss_is_that_of_the_best_constant(task: ImageTask) -> None:
    """Found again by descent on the loss itself; class weights are left out."""
    task = replace(task, class_weights=())
    _, target = batch_of(task, rows=12)
    constant = torch.full((task.classes,), 0.3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([constant], lr=0.05)
    shape = (len(target), task.classes, *target.shape[-2:]) if target.dim() > 2 else (12, -1)
    for _ in range(400):
        optimizer.zero_grad()
        spread = constant.view(-1, *(1,) * (len(shape) - 2)).expand(shape)
        loss = image_loss(task, spread, target)
        loss.backward()
        optimizer.step()
    found = constant_loss(task, list(target.numpy()))
    assert found == pytest.approx(float(loss.detach()), rel=0.02, abs=2e-3)


def test_a_linear_head_reads_the_mean_of_the_pixels_or_each_pixel() -> None:
    torch.manual_seed(0)
    lane = torch.randn(3, 5, 4, 2)
    mean = LinearHead(5, 2, hidden=0, dropout=0.0)
    expected = lane.mean((2, 3)) @ mean.last.weight.T + mean.last.bias
    torch.testing.assert_close(mean(lane), expected)
    every = LinearHead(5, 2, hidden=3, dropout=0.0, area=8)
    assert every.hidden is not None and every.hidden.weight.shape == (3, 40)
    inside = torch.relu(lane.flatten(1) @ every.hidden.weight.T + every.hidden.bias)
    torch.testing.assert_close(every(lane), inside @ every.last.weight.T + every.last.bias)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("pixels", [(1, 1), (4, 3), (9, 2)])
def test_the_multiply_adds_of_a_head_are_those_of_its_layers(
    task: ImageTask, pixels: tuple[int, int]
) -> None:
    for style in (HeadStyle(hidden=4), HeadStyle(hidden=3, maps="aspp", reads="all")):
        heads = ImageHeads([ImageHeadSpec(task)], width=5, pixels=pixels, style=style)
        counted: list[int] = []

        def count(part: torch.nn.Linear, _: object, output: Tensor, into=counted) -> None:
            into.append(part.weight.numel() * math.prod(output.shape[2:]))

        for part in heads.modules():
            if isinstance(part, torch.nn.Conv2d | torch.nn.Linear):
                part.register_forward_hook(count)
        heads(torch.randn(1, 1, 5, *pixels))
        assert heads.cost().multiply_adds == sum(counted)


@pytest.mark.parametrize("maps", ["small", "aspp"])
def test_dropout_acts_in_training_alone(maps: str) -> None:
    style = HeadStyle(maps=maps, hidden=16, dropout=0.5)
    heads = ImageHeads([ImageHeadSpec(t) for t in TASKS], width=5, pixels=(4, 3), style=style)
    lanes = torch.randn(2, len(TASKS), 5, 4, 3)
    first, second = heads.train()(lanes), heads(lanes)
    assert not any(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    first, second = heads.eval()(lanes), heads(lanes)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_the_scale_of_a_loss_is_its_weight_over_a_power_of_its_constant_loss() -> None:
    specs = [ImageHeadSpec(TASKS[0], 3.0, 4.0), ImageHeadSpec(TASKS[3], 0.5, 0.25)]
    heads = ImageHeads(specs, width=5, pixels=(4, 3), style=HeadStyle(hidden=2))
    for balance in (0.0, 0.5, 1.0):
        expected = torch.tensor([3.0 / 4.0**balance, 0.5 / 0.25**balance])
        torch.testing.assert_close(heads.loss_scale(balance), expected)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_outputs_at_unknown_targets_change_no_loss_by_a_bit(task: ImageTask) -> None:
    output, target = batch_of(task)
    unknown = target < 0 if target.dtype == torch.int64 else target.isnan()
    spread = unknown.unsqueeze(1) if target.dtype == torch.int64 else unknown
    other = torch.where(spread.expand_as(output), output * 3 + 5, output)
    assert not torch.equal(other, output)
    assert image_loss(task, other, target) == image_loss(task, output, target)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_the_order_of_the_images_and_a_second_copy_change_no_loss(task: ImageTask) -> None:
    output, target = batch_of(task)
    loss = image_loss(task, output, target)
    order = torch.randperm(len(output))
    torch.testing.assert_close(image_loss(task, output[order], target[order]), loss)
    twice = torch.cat([output, output]), torch.cat([target, target])
    torch.testing.assert_close(image_loss(task, *twice), loss)


def test_equal_class_weights_are_none() -> None:
    task = ImageTask("parts", "segmentation", 3)
    output, target = batch_of(task)
    equal = replace(task, class_weights=(2.5, 2.5, 2.5))
    torch.testing.assert_close(image_loss(equal, output, target), image_loss(task, output, target))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_a_task_without_known_targets_has_the_constant_loss_one(task: ImageTask) -> None:
    _, target = batch_of(task, rows=2)
    nothing = torch.full_like(target, -1 if target.dtype == torch.int64 else NAN)
    assert constant_loss(task, list(nothing.numpy())) == 1.0


def test_constant_losses_by_hand() -> None:
    labels = [np.array([1.0, 0.0], np.float32), np.array([1.0, 1.0], np.float32)]
    half = constant_loss(ImageTask("signs", "multilabel", 2), labels)
    assert half == pytest.approx(math.log(2) / 2, abs=1e-4)
    depth = [np.array([[[1.0, 2.0, NAN, 9.0]]], np.float32)]
    assert constant_loss(ImageTask("far", "depth"), depth) == pytest.approx((1 + 0 + 7) / 3)
    opposite = np.array([[[0.0, 0.0]], [[0.0, 0.0]], [[1.0, -1.0]]], np.float32)
    assert constant_loss(ImageTask("normals", "normals", 3), [opposite]) == pytest.approx(1.0)
    same = [np.zeros((2, 2), np.int64)]
    assert constant_loss(ImageTask("parts", "segmentation", 4), same) == 1e-3

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

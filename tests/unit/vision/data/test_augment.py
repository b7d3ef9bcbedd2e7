"""Augmentation moves image and targets together, and says "not known" where pixels come in."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from recmtl.vision.data.augment import Augment, Crop, Flip, Scale, Zoom, nearest, resized
from recmtl.vision.data.examples import Example, ImageTask

TASKS = (
    ImageTask("segmentation", "segmentation", 13),
    ImageTask("depth", "depth", 1),
    ImageTask("normals", "normals", 3),
    ImageTask("edges", "regression_map", 2),
    ImageTask("scene", "classification", 5),
    ImageTask("signs", "multilabel", 3),
)
H, W = 12, 20


def an_example(seed: int = 0) -> Example:
    random = np.random.default_rng(seed)
    normals = random.normal(size=(3, H, W))
    normals /= np.sqrt((normals**2).sum(0))
    targets = (
        random.integers(-1, 13, (H, W)),
        random.uniform(0.5, 5, (1, H, W)).astype(np.float32),
        normals.astype(np.float32),
        random.normal(size=(2, H, W)).astype(np.float32),
        np.array(3, np.int64),
        np.array([0, 1, np.nan], np.float32),
    )
    return Example(random.random((3, H, W)).astype(np.float32), targets)


def same(a: Example, b: Example) -> bool:
    pairs = zip((a.image, *a.targets), (b.image, *b.targets), strict=True)
    return all(np.array_equal(x, y, equal_nan=x.dtype != np.int64) for x, y in pairs)


STEPS: list[Augment] = [Flip(1.0), Scale(), Crop(9, 14), Crop(16, 30), Zoom()]


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_steps_keep_kinds_and_leave_labels_of_the_image_alone(step: Augment) -> None:
    before = an_example()
    after = step(before, TASKS, np.random.default_rng(1))
    for old, new in zip(
        (before.image, *before.targets), (after.image, *after.targets), strict=True
    ):
        assert new.dtype == old.dtype
        assert (
            new.shape[:-2] == old.shape[:-2]
            if old.ndim > 1
            else np.array_equal(new, old, equal_nan=old.ndim > 0)
        )
    assert {t.shape[-2:] for t in after.targets[:4]} == {after.image.shape[1:]}
    assert same(step(an_example(), TASKS, np.random.default_rng(1)), after)
    length = np.sqrt((after.targets[2] ** 2).sum(0))
    assert np.allclose(length[~np.isnan(length)], 1, atol=1e-6)


def test_two_flips_are_none_and_one_negates_x_of_the_normals() -> None:
    example, random = an_example(), np.random.default_rng(0)
    once = Flip(1.0)(example, TASKS, random)
    assert np.array_equal(once.targets[2][0], -example.targets[2][0][:, ::-1])
    assert np.array_equal(once.targets[2][1:], example.targets[2][1:, :, ::-1])
    assert np.array_equal(once.targets[0], example.targets[0][:, ::-1])
    assert np.array_equal(once.image, example.image[:, :, ::-1])
    assert same(Flip(1.0)(once, TASKS, random), example)
    assert same(Flip(0.0)(example, TASKS, random), example)


def test_the_normals_of_a_mirrored_scene_are_those_of_its_mirrored_depth() -> None:
    # A plane z = a x + b y has the normal (a, b, -1) up to its length; mirrored, a changes sign.
    y, x = np.mgrid[:H, :W]

    def plane(slope: float) -> Example:
        depth = (50 + slope * (x - (W - 1) / 2) + 0.3 * y).astype(np.float32)
        normal = np.array([slope, 0.3, -1], np.float32).reshape(3, 1, 1) * np.ones((1, H, W))
        normal /= np.sqrt((normal**2).sum(0))
        return Example(depth[None] / 100, (depth[None], normal.astype(np.float32)))

    mirrored = Flip(1.0)(plane(0.7), TASKS[1:3], np.random.default_rng(0))
    other = plane(-0.7)
    for found, expected in zip(mirrored.targets, other.targets, strict=True):
        assert np.allclose(found, expected, atol=1e-6)


def test_flips_and_scales_come_as_often_as_said() -> None:
    random, example = np.random.default_rng(0), an_example()
    flips = [not same(Flip()(example, TASKS, random), example) for _ in range(400)]
    assert 0.4 < np.mean(flips) < 0.6
    heights = [Scale()(example, TASKS, random).image.shape[1] for _ in range(400)]
    assert min(heights) == 6 and max(heights) == 17 and 10.5 < np.mean(heights) < 12.5


def test_crop_pads_in_the_middle_with_black_and_unknown() -> None:
    example = an_example()
    padded = Crop(H + 5, W + 2)(example, TASKS, np.random.default_rng(0))
    inside = (slice(2, 2 + H), slice(1, 1 + W))
    assert np.array_equal(padded.image[:, *inside], example.image)
    for old, new in zip(example.targets[:4], padded.targets[:4], strict=True):
        assert np.array_equal(new[..., *inside], old)
    border = np.ones((H + 5, W + 2), bool)
    border[inside] = False
    assert (padded.image[:, border] == 0).all() and (padded.targets[0][border] == -1).all()
    assert all(np.isnan(t[:, border]).all() for t in padded.targets[1:4])


def test_crop_reaches_every_place() -> None:
    rows = np.broadcast_to(np.arange(H)[:, None], (H, W)).astype(np.float32)[None]
    example, random = Example(rows, (rows,)), np.random.default_rng(0)
    tops = {int(Crop(H - 3, W)(example, TASKS[1:2], random).image[0, 0, 0]) for _ in range(200)}
    assert tops == {0, 1, 2, 3}


def test_zoom_is_the_published_formula() -> None:
    example = an_example()
    image, targets = example.image, example.targets
    again = np.random.default_rng(7)
    scale = (1.0, 1.2, 1.5)[int(again.integers(3))]
    h, w = int(H / scale), int(W / scale)
    i, j = again.integers(0, H - h, endpoint=True), again.integers(0, W - w, endpoint=True)
    assert scale != 1

    def window(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array[..., i : i + h, j : j + w].astype(np.float32))[None]

    def linear(array: np.ndarray) -> np.ndarray:
        size = {"size": (H, W), "mode": "bilinear", "align_corners": True}
        return np.asarray(torch.nn.functional.interpolate(window(array), **size)[0])

    def near(array: np.ndarray) -> np.ndarray:
        return np.asarray(torch.nn.functional.interpolate(window(array), size=(H, W))[0])

    found = Zoom()(example, TASKS, np.random.default_rng(7))
    assert np.allclose(found.image, linear(image), atol=1e-6)
    assert np.array_equal(found.targets[0], near(targets[0][None])[0])
    assert np.allclose(found.targets[1], near(targets[1]) / scale, rtol=1e-6)
    normals = linear(targets[2])
    assert np.allclose(found.targets[2], normals / np.sqrt((normals**2).sum(0)), atol=1e-5)
    inverse = Zoom(depth_power=1)(example, TASKS, np.random.default_rng(7))
    assert np.allclose(inverse.targets[1], near(targets[1]) * scale, rtol=1e-6)


def test_scaling_by_one_changes_nothing() -> None:
    example = an_example()
    assert same(Scale(1, 1)(example, TASKS, np.random.default_rng(0)), example)
    whole = Zoom((1.0,))(example, TASKS, np.random.default_rng(0))
    assert np.allclose(whole.targets[2], example.targets[2], atol=1e-6)  # made unit once more
    assert same(replace(whole, targets=example.targets), example)
    assert same(
        replace(whole, image=example.image, targets=(*whole.targets[:2], *example.targets[2:])),
        example,
    )


@pytest.mark.parametrize("size", [(6, 10), (18, 31), (12, 20)])
def test_nearest_and_linear_are_those_of_torch(size: tuple[int, int]) -> None:
    image = an_example().image
    tensor = torch.from_numpy(image)[None]
    expected = torch.nn.functional.interpolate(tensor, size=size)[0]
    assert np.array_equal(nearest(image, size), expected)
    linear = torch.nn.functional.interpolate(tensor, size=size, mode="bilinear")[0]
    assert np.allclose(resized(image, size), linear)

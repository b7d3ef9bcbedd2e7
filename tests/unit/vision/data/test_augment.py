"""Augmentation moves image and targets together, and says "not known" where pixels come in."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

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


SIDES = st.integers(3, 24)
PLACES = (
    ImageTask("number", "segmentation", 24 * 24),
    ImageTask("place", "regression_map", 2),
    ImageTask("far", "depth"),
)


def a_grid(height: int, width: int) -> Example:
    """An image and maps that hold the place of every pixel, counted from 1."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32) + 1
    place = np.stack([rows, columns])
    number = ((rows - 1) * width + columns - 1).astype(np.int64)
    return Example(np.stack([rows, columns, columns]), (number, place, np.ones_like(rows[None])))


def places(example: Example, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the pixels come from: whether from inside, and the row and column from 1."""
    number = example.targets[0]
    return number >= 0, number // width + 1, number % width + 1


@given(SIDES, SIDES, SIDES, SIDES, st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_a_crop_moves_every_pixel_of_image_and_maps_alike(
    height: int, width: int, to_height: int, to_width: int, seed: int
) -> None:
    cropped = Crop(to_height, to_width)(a_grid(height, width), PLACES, np.random.default_rng(seed))
    inside, rows, columns = places(cropped, width)
    assert inside.sum() == min(height, to_height) * min(width, to_width)
    place = cropped.targets[1]
    assert np.array_equal(place[0][inside], rows[inside])
    assert np.array_equal(place[1][inside], columns[inside])
    assert np.array_equal(cropped.image[0][inside], rows[inside])
    assert np.array_equal(cropped.image[1][inside], columns[inside])
    assert (cropped.image[:, ~inside] == 0).all() and np.isnan(place[:, ~inside]).all()
    assert np.isnan(cropped.targets[2][0][~inside]).all()
    # What is inside is one rectangle of neighbouring pixels.
    height_inside, width_inside = np.ptp(rows[inside]) + 1, np.ptp(columns[inside]) + 1
    assert height_inside * width_inside == inside.sum()


@given(SIDES, SIDES, st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_a_flip_and_a_crop_keep_image_and_maps_together(height: int, width: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    moved = Flip()(a_grid(height, width), PLACES, random)
    moved = Crop(height + 1, max(width - 2, 1))(moved, PLACES, random)
    inside, rows, columns = places(moved, width)
    assert np.array_equal(moved.image[0][inside], rows[inside])
    assert np.array_equal(moved.image[1][inside], columns[inside])
    assert np.array_equal(moved.targets[1][:, inside], moved.image[:2][:, inside])


@given(SIDES, SIDES, st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_a_scaled_image_stays_with_its_scaled_maps(height: int, width: int, seed: int) -> None:
    scaled = Scale()(a_grid(height, width), PLACES, np.random.default_rng(seed))
    place = scaled.targets[1]
    assert place.shape[1:] == scaled.image.shape[1:]
    # The nearest pixel is the first of an area, the interpolated one its centre: half of it apart.
    for axis, old in enumerate((height, width)):
        distance = np.abs(scaled.image[axis] - place[axis]).max()
        assert distance <= (old / place.shape[1 + axis] + 1) / 2 + 1e-4
    assert 0.5 * height - 1 < place.shape[1] <= 1.5 * height
    # Along both axes the places rise, as they did before.
    assert (np.diff(place[0], axis=0) >= 0).all() and (np.diff(place[1], axis=1) >= 0).all()


@given(st.integers(6, 24), st.integers(6, 24), st.integers(0, 99), st.sampled_from([-1, 1]))
@settings(max_examples=40, deadline=None)
def test_a_zoomed_image_is_within_a_pixel_of_its_zoomed_maps(
    height: int, width: int, seed: int, power: int
) -> None:
    zoomed = Zoom(depth_power=power)(a_grid(height, width), PLACES, np.random.default_rng(seed))
    _, rows, columns = places(zoomed, width)
    assert zoomed.image.shape == (3, height, width)
    assert np.array_equal(zoomed.targets[1], np.stack([rows, columns]))
    assert np.abs(zoomed.image[:2] - zoomed.targets[1]).max() <= 1.0
    scale = round(float(zoomed.targets[2].max()) ** power, 3)
    shown = np.ptp(rows) + 1
    assert int(height / scale) == shown, "depth changes by the factor of the window"


def test_normals_next_to_unknown_ones_are_unknown_after_a_zoom() -> None:
    example = an_example()
    normals = example.targets[2].copy()
    normals[:, 5, 7] = np.nan
    tasks = (TASKS[2],)
    zoomed = Zoom((1.5,))(
        Example(example.image, (normals,)), tasks, np.random.default_rng(1)
    ).targets[0]
    unknown = np.isnan(zoomed)
    assert unknown.any() and np.array_equal(unknown.all(0), unknown.any(0))
    assert np.allclose(np.sqrt((zoomed[:, ~unknown[0]] ** 2).sum(0)), 1.0, atol=1e-6)


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_steps_go_to_workers_and_do_there_what_they_do_here(step: Augment) -> None:
    copy = pickle.loads(pickle.dumps(step))
    outcomes = [s(an_example(), TASKS, np.random.default_rng(3)) for s in (step, copy)]
    assert same(*outcomes)


@pytest.mark.parametrize("step", STEPS, ids=str)
def test_a_step_leaves_the_stored_example_as_it_was(step: Augment) -> None:
    example, before = an_example(), an_example()
    step(example, TASKS, np.random.default_rng(3))
    assert same(example, before)

"""Files become arrays of examples exactly, or one line that names the file and the remedy."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from recmtl.errors import DataError
from recmtl.vision.data.decode import (
    array_depth,
    array_image,
    array_normals,
    array_segmentation,
    decode_depth,
    decode_image,
    decode_map,
    decode_normal_codes,
    decode_normals,
    decode_segmentation,
    open_picture,
    picture_image,
    picture_normals,
    picture_segmentation,
    read_array,
    read_json,
    read_lines,
    read_picture,
    unit_vectors,
    with_checked_maps,
    with_checked_size,
)
from recmtl.vision.data.examples import Example, ImageTask

HERE = Path("shop/map.npy")
READERS: dict[str, Callable[[Path], Any]] = {
    "array.npy": read_array,
    "picture.png": open_picture,
    "photo.jpg": read_picture,
    "list.json": read_json,
}


def write(path: Path) -> None:
    """A file that its reader accepts."""
    if path.suffix == ".npy":
        np.save(path, np.arange(600.0))
    elif path.suffix == ".json":
        path.write_text(json.dumps({"train": list(range(200))}))
    else:
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)).save(path)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "noise", "folder"])
def test_every_damage_is_one_line_with_file_and_remedy(
    name: str, damage: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    write(path)
    READERS[name](path)
    content = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        halves = {"empty": b"", "cut": content[: len(content) // 2], "noise": b"\xff\x93" * 50}
        path.write_bytes(halves[damage])
    with pytest.raises(DataError) as caught:
        READERS[name](path)
    message = str(caught.value)
    remedy = "check the folder" if damage == "missing" else "copy or unpack it again"
    assert message.startswith(f"{path}: ") and remedy in message and "\n" not in message


def test_an_array_of_objects_is_never_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "objects.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"objects\.npy: is damaged or no \.npy array"):
        read_array(path)


def test_blank_lines_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("one\n\n  \ntwo\n")
    assert read_lines(path) == ["one", "two"]


@given(st.integers(0, 255), st.integers(0, 255), st.integers(0, 255))
def test_bytes_and_floats_are_the_same_image(red: int, green: int, blue: int) -> None:
    stored = np.full((2, 3, 3), (red, green, blue), np.uint8)
    image = decode_image(stored, HERE)
    assert image.shape == (3, 2, 3) and image.dtype == np.float32
    np.testing.assert_allclose(image[:, 0, 0] * 255, (red, green, blue), atol=1e-4)
    np.testing.assert_allclose(decode_image(stored / 255, HERE), image, atol=1e-6)


def test_rounding_beyond_the_range_is_cut_off() -> None:
    image = decode_image(np.full((1, 1, 3), 1.0005), HERE)
    assert image.max() == 1.0
    assert decode_image(np.full((1, 1, 3), -0.0005), HERE).min() == 0.0


@given(st.integers(0, 10**6))
def test_codes_of_normals_decode_to_the_normals(seed: int) -> None:
    random = np.random.default_rng(seed)
    normals = random.normal(size=(4, 5, 3))
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    codes = np.round((normals + 1) * 127.5).astype(np.uint8)
    decoded = decode_normal_codes(codes, HERE)
    cosine = (decoded.transpose(1, 2, 0) * normals).sum(2).clip(-1, 1)
    assert np.degrees(np.arccos(cosine)).max() < 0.7, "8 bits resolve less than a degree"
    np.testing.assert_allclose((decoded.astype(float) ** 2).sum(0), 1.0, atol=1e-5)


def test_a_code_without_direction_is_unknown_like_255() -> None:
    codes = np.array([[[255, 255, 255], [127, 128, 127], [255, 127, 127]]], np.uint8)
    decoded = decode_normal_codes(codes, HERE)
    assert np.isnan(decoded[:, 0, :2]).all()
    np.testing.assert_allclose(decoded[:, 0, 2], (1, 0, 0), atol=0.01)


def test_stored_vectors_become_unit_and_zero_becomes_unknown() -> None:
    stored = np.array([[[0.0, 0.0, 0.0], [0.0, 0.6, 0.0], [0.3, 0.0, 0.4]]])
    decoded = decode_normals(stored, HERE)
    assert np.isnan(decoded[:, 0, 0]).all()
    np.testing.assert_allclose(decoded[:, 0, 1:].T, [(0, 1, 0), (0.6, 0, 0.8)], atol=1e-6)


@given(st.floats(0.01, 1e6))
def test_unit_vectors_do_not_depend_on_length(length: float) -> None:
    vector = np.array([1.0, -2.0, 2.0], np.float32).reshape(3, 1, 1)
    np.testing.assert_allclose(
        unit_vectors(np.float32(length) * vector).ravel(), (1 / 3, -2 / 3, 2 / 3), rtol=1e-5
    )


def test_depth_is_known_above_a_limit() -> None:
    stored = np.array([[0.0, 2e-5, 4e-5, np.nan, 7.0]])
    assert np.isnan(decode_depth(stored, HERE)[0, 0]).tolist() == [1, 0, 0, 1, 0]
    limited = decode_depth(stored, HERE, unknown_up_to=3e-5)
    assert np.isnan(limited[0, 0]).tolist() == [1, 1, 0, 1, 0]
    assert limited.shape == (1, 1, 5) and limited.dtype == np.float32
    assert np.array_equal(decode_depth(stored[..., None], HERE), decode_depth(stored, HERE), True)


def test_maps_keep_values_channels_and_unknown_pixels() -> None:
    stored = np.arange(12.0).reshape(2, 3, 2)
    stored[0, 0] = math.nan
    decoded = decode_map(stored, HERE, channels=2)
    assert decoded.shape == (2, 2, 3) and np.isnan(decoded[:, 0, 0]).all()
    assert decoded[1, 1, 2] == 11.0
    assert decode_map(stored[..., 0], HERE).shape == (1, 2, 3)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int64, np.float32])
def test_class_numbers_may_have_any_type(kind: type) -> None:
    stored = np.array([[0, 2, 9], [1, 9, 2]]).astype(kind)
    classes = decode_segmentation(stored, HERE, classes=3, ignored=9)
    assert classes.dtype == np.int64 and classes.tolist() == [[0, 2, -1], [1, -1, 2]]


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "grey image": (lambda: decode_image(np.zeros((4, 4)), HERE), "store a colour image"),
    "image in 0..255": (lambda: decode_image(np.full((1, 1, 3), 2.0), HERE), "store floats in"),
    "negative image": (lambda: decode_image(np.full((1, 1, 3), -1.0), HERE), "from -1 to 0"),
    "two planes": (lambda: decode_depth(np.ones((2, 2, 2)), HERE), "store one channel"),
    "negative depth": (lambda: decode_depth(-np.ones((2, 2)), HERE), "0 where unknown"),
    "infinite depth": (lambda: decode_depth(np.full((1, 1), np.inf), HERE), "depth is finite"),
    "half classes": (
        lambda: decode_segmentation(np.full((1, 1), 0.5), HERE, classes=2),
        "store class numbers",
    ),
    "class too high": (
        lambda: decode_segmentation(np.full((1, 1), 5), HERE, classes=5),
        "the classes are 0 to 4, -1 is ignored: check the option",
    ),
    "long normals": (lambda: decode_normals(np.full((1, 1, 3), 9.0), HERE), "store unit vectors"),
    "flat normals": (lambda: decode_normals(np.ones((2, 2)), HERE), "store x, y and z"),
    "float codes": (lambda: decode_normal_codes(np.ones((1, 1, 3)), HERE), "store an 8-bit PNG"),
    "flat codes": (lambda: decode_normal_codes(np.ones((2, 2), np.uint8), HERE), "x, y and z"),
    "infinite map": (lambda: decode_map(np.full((1, 1), np.inf), HERE), "NaN where the value is"),
    "channels": (lambda: decode_map(np.ones((2, 2, 3)), HERE, channels=2), r"store [H, W, 2]"),
    "size": (lambda: with_checked_size(np.ones((1, 2, 3)), (3, 2), HERE), "store both in one size"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_layout_forbids_is_refused_with_file_and_remedy(name: str) -> None:
    decode, remedy = REFUSED[name]
    with pytest.raises(DataError, match=re.escape(remedy)) as caught:
        decode()
    assert str(caught.value).startswith(f"{HERE}: ")


def test_the_first_map_of_another_size_is_named() -> None:
    tasks = (ImageTask("kind", "classification", 2), ImageTask("far", "depth"))
    label, image = np.array(1), np.zeros((3, 4, 5), np.float32)
    whole = Example(image, (label, np.zeros((1, 4, 5), np.float32)))
    assert with_checked_maps(whole, tasks, HERE) is whole
    with pytest.raises(DataError, match="the map of far is 5 x 4, the image 4 x 5"):
        with_checked_maps(Example(image, (label, np.zeros((1, 5, 4)))), tasks, HERE)


def test_decoders_of_files_are_decoders_of_their_arrays(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (4, 5, 3), np.uint8)
    labels = random.integers(0, 3, (4, 5)).astype(np.uint8)
    np.save(tmp_path / "a.npy", pixels / 255)
    np.save(tmp_path / "l.npy", labels)
    np.save(tmp_path / "v.npy", np.full((4, 5, 3), 0.5))
    Image.fromarray(pixels).save(tmp_path / "p.png")
    Image.fromarray(labels).save(tmp_path / "l.png")
    image, picture = array_image(tmp_path / "a.npy"), picture_image(tmp_path / "p.png")
    np.testing.assert_allclose(image, picture, atol=1e-6)
    array, coded = array_segmentation(3)(tmp_path / "l.npy"), picture_segmentation(3)
    assert np.array_equal(array, coded(tmp_path / "l.png"))
    assert np.array_equal(array_depth(tmp_path / "l.npy")[0] > 0, labels > 0)
    np.testing.assert_allclose(array_normals(tmp_path / "v.npy"), math.sqrt(1 / 3), atol=1e-6)
    assert picture_normals(tmp_path / "p.png").shape == (3, 4, 5)

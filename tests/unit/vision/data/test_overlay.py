"""MultiMNIST and its kin are what the protocol says, and no glyph is in two splits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recmtl.errors import DataError
from recmtl.vision.data import ImageSet, open_images
from tests.unit.vision.data.archives import glyphs, write_idx, write_mnist

READERS = ("multi_mnist", "multi_fashion", "multi_fashion_mnist")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_mnist(tmp_path / "mnist")
    write_mnist(tmp_path / "fashion_mnist" / "raw", packed=False, train=60, test=15, seed=2)
    return tmp_path


def splits(images: ImageSet) -> list[Any]:
    return [images.train, images.validation, images.test]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("protocol", ["sener", "pareto"])
def test_no_glyph_is_in_two_splits(reader: str, protocol: str, folder: Path) -> None:
    images = open_images(reader, folder, {"protocol": protocol})
    for side in (("first",), ("second",), ("first", "second")):
        used = []
        for split in splits(images):
            sources = {part: getattr(split, part).images for part in side}
            rows = {"first": split.pairs[:, 0], "second": split.pairs[:, 1]}
            used.append({s[i].tobytes() for part, s in sources.items() for i in rows[part]})
        assert not used[0] & used[1] and not used[0] & used[2] and not used[1] & used[2]


@pytest.mark.parametrize(("protocol", "times", "side"), [("sener", 1, 28), ("pareto", 2, 36)])
def test_sizes(protocol: str, times: int, side: int, folder: Path) -> None:
    images = open_images("multi_mnist", folder, {"protocol": protocol})
    assert [len(split) for split in splits(images)] == [36 * times, 4 * times, 10 * times]
    assert images.size == (side, side)
    assert images.train.example(0, None).image.shape == (1, side, side)
    shown = np.stack([images.train.example(i, None).image for i in range(len(images.train))])
    assert (images.mean[0], images.std[0]) == pytest.approx((shown.mean(), shown.std()), rel=1e-5)
    larger = open_images("multi_fashion_mnist", folder, {"protocol": protocol})
    assert [len(split) for split in splits(larger)] == [54 * times, 6 * times, 15 * times]


def test_sener_is_the_published_formula(folder: Path) -> None:
    digits, classes = glyphs(10, 1)
    test: Any = open_images("multi_mnist", folder).test
    for index, (left, right) in enumerate(test.pairs):
        canvas = np.zeros((36, 36))
        canvas[0:28, 0:28] = digits[left]
        canvas[6:34, 6:34] = digits[right]
        canvas[6:28, 6:28] = np.maximum(digits[left][6:28, 6:28], digits[right][0:22, 0:22])
        centres = ((np.arange(28) + 0.5) * 36 / 28).astype(int)
        example = test.example(index, None)
        assert np.allclose(example.image[0] * 255, canvas[np.ix_(centres, centres)])
        assert [int(t) for t in example.targets] == [classes[left], classes[right]]


def test_pareto_moves_each_glyph_from_its_corner(folder: Path) -> None:
    train: Any = open_images("multi_mnist", folder, {"protocol": "pareto"}).train
    corners = []
    for index in range(len(train)):
        canvas = np.zeros((36, 36), np.uint8)
        (a, b), moves = train.pairs[index], train.moves[index]
        top, bottom = moves[0], 8 - moves[1]
        for glyph, (row, column) in ((a, top), (b, bottom)):
            window = canvas[row : row + 28, column : column + 28]
            np.maximum(window, train.first.images[glyph], out=window)
        assert np.array_equal(train.example(index, None).image[0] * 255, canvas)
        corners.append((*top, *bottom))
    assert np.min(corners, 0).tolist() == [0, 0, 4, 4]
    assert np.max(corners, 0).tolist() == [4, 4, 8, 8]


def test_every_glyph_stands_equally_often_at_the_top_left(folder: Path) -> None:
    train: Any = open_images("multi_mnist", folder, {"protocol": "pareto"}).train
    assert np.bincount(train.pairs[:, 0]).tolist() == [2] * 36
    mixed: Any = open_images("multi_fashion_mnist", folder).train
    several = np.bincount(mixed.pairs[:, 1], minlength=36)
    assert set(several) == {1, 2} and len(mixed.first) == 54 and len(mixed.second) == 36


def test_a_test_file_alone_is_divided_in_three(tmp_path: Path) -> None:
    images, classes = glyphs(100, 3)
    (tmp_path / "mnist").mkdir()
    np.savez(tmp_path / "mnist" / "mnist_t10k.npz", x=images, y=classes)
    found = open_images("multi_mnist", tmp_path)
    assert [len(split) for split in splits(found)] == [80, 10, 10]
    used = [{g.tobytes() for g in s.first.images} for s in splits(found)]
    assert not used[0] & used[1] and not used[0] & used[2] and not used[1] & used[2]


def test_an_archive_is_as_good_as_idx_files(folder: Path, tmp_path: Path) -> None:
    (train, train_classes), (test, test_classes) = glyphs(40, 0), glyphs(10, 1)
    arrays = {"x_train": train, "y_train": train_classes, "x_test": test, "y_test": test_classes}
    (tmp_path / "other").mkdir()
    np.savez_compressed(tmp_path / "other" / "mnist.npz", **arrays)
    from_idx = open_images("multi_mnist", folder)
    from_archive = open_images("multi_mnist", tmp_path, {"digits": "other"})
    assert from_idx.fingerprint == from_archive.fingerprint


@pytest.mark.parametrize("seed", [1, 2])
def test_another_seed_makes_other_pictures(seed: int, folder: Path) -> None:
    one, other = (open_images("multi_fashion", folder, {"seed": s}) for s in (0, seed))
    assert one.fingerprint != other.fingerprint
    pairs = [split.pairs.tolist() for split in (one.train, other.train)]  # type: ignore[attr-defined]
    assert pairs[0] != pairs[1]


@pytest.mark.parametrize(
    ("images", "classes", "message"),
    [
        (np.zeros((10, 27, 28)), np.zeros(10), r"8-bit \(10, 28, 28\) are due"),
        (np.zeros((9, 28, 28)), np.zeros(10), "for 10 classes"),
        (np.zeros((10, 28, 28)), np.full(10, 12), "other than 0 to 9"),
    ],
)
def test_wrong_files_are_named(
    images: np.ndarray, classes: np.ndarray, message: str, folder: Path
) -> None:
    write_idx(folder / "mnist" / "t10k-images-idx3-ubyte.gz", images)
    write_idx(folder / "mnist" / "t10k-labels-idx1-ubyte.gz", classes)
    with pytest.raises(DataError, match=message):
        open_images("multi_mnist", folder)


def test_a_folder_without_glyphs_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="mnist: holds no glyphs; it must hold idx files"):
        open_images("multi_mnist", tmp_path)


def test_the_real_glyphs(real_data: Path) -> None:
    images = open_images("multi_fashion_mnist", real_data, {"digits": "mnist_t10k"})
    assert [len(split) for split in splits(images)] == [54000, 6000, 10000]
    digits = [len(split.second) for split in splits(images)]
    assert digits == [8000, 1000, 1000]
    used = [{g.tobytes() for g in s.second.images} for s in splits(images)]
    assert not used[0] & used[1] and not used[0] & used[2] and not used[1] & used[2]


@pytest.mark.parametrize("reader", READERS)
def test_a_picture_depends_on_its_index_alone(reader: str, folder: Path) -> None:
    images, again = (open_images(reader, folder, {"protocol": "pareto"}) for _ in range(2))
    for split, other in zip(splits(images), splits(again), strict=True):
        forward = [split.example(i, None) for i in range(len(split))]
        random = np.random.default_rng(3)
        for index in random.permutation(len(split)):
            example = other.example(int(index), random)
            assert np.array_equal(example.image, forward[index].image)
            assert example.targets == forward[index].targets


def test_the_brighter_pixel_wins_and_every_pixel_is_of_a_glyph(folder: Path) -> None:
    train: Any = open_images("multi_fashion_mnist", folder, {"protocol": "pareto"}).train
    for index in range(20):
        shown = np.round(train.example(index, None).image[0] * 255).astype(int)
        (a, b), (down, up) = train.pairs[index], train.moves[index]
        layers = np.zeros((2, 36, 36), int)
        corners = (tuple(down), tuple(8 - up))
        for layer, glyph, (row, column) in zip(
            layers, (train.first.images[a], train.second.images[b]), corners, strict=True
        ):
            layer[row : row + 28, column : column + 28] = glyph
        assert np.array_equal(shown, layers.max(0))


def test_pictures_of_both_sources_have_their_own_classes(folder: Path) -> None:
    train: Any = open_images("multi_fashion_mnist", folder).train
    for index in range(len(train)):
        classes = [int(target) for target in train.example(index, None).targets]
        a, b = train.pairs[index]
        assert classes == [train.first.classes[a], train.second.classes[b]]


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("t10k-images-idx3-ubyte.gz", "t10k-images-idx3-ubyte: is missing; copy or unpack"),
        ("t10k-labels-idx1-ubyte.gz", "t10k-labels-idx1-ubyte: is missing; copy or unpack"),
    ],
)
def test_half_a_pair_of_idx_files_is_named(file: str, message: str, folder: Path) -> None:
    (folder / "mnist" / file).unlink()
    with pytest.raises(DataError, match=message):
        open_images("multi_mnist", folder)


@pytest.mark.parametrize("place", [4, 40, -12, -2])
def test_a_damaged_byte_in_a_packed_file_is_one_line(place: int, folder: Path) -> None:
    path = folder / "mnist" / "train-images-idx3-ubyte.gz"
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(bytes(content))
    try:
        open_images("multi_mnist", folder)
    except DataError as error:
        assert str(error).startswith(f"{path}: ") and "copy or unpack it again" in str(error)
    else:
        assert place == 4, "the time stamp of the packing is not read"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\0\0\x08\x01\0\0\0\x05abc", "does not hold the .5,. bytes that it promises"),
        (b"\0\0\x0d\x01\0\0\0\x01abcd", "is no idx file of bytes"),
        (b"\0\0\x08\x03\0\0\0\x01", "is no idx file of bytes"),
        (b"", "is no idx file of bytes"),
    ],
    ids=["short", "floats", "header", "empty"],
)
def test_what_is_no_idx_file_of_bytes_is_refused(
    content: bytes, message: str, folder: Path
) -> None:
    path = folder / "fashion_mnist" / "raw" / "train-labels-idx1-ubyte"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_images("multi_fashion", folder)


def test_a_wrong_archive_says_what_is_due(tmp_path: Path) -> None:
    (tmp_path / "mnist").mkdir()
    path = tmp_path / "mnist" / "mnist.npz"
    np.savez(path, x=np.zeros((5, 28, 28)), y=np.zeros(5, np.uint8))
    with pytest.raises(DataError, match=r"npz: holds float64 images .* 8-bit .* are due"):
        open_images("multi_mnist", tmp_path)
    np.savez_compressed(path, x=glyphs(50, 0)[0], y=glyphs(50, 0)[1])
    content = bytearray(path.read_bytes())
    content[400:420] = b"\xff" * 20
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match="npz: is damaged"):
        open_images("multi_mnist", tmp_path)

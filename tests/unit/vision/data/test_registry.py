"""What every reader promises, on a small set in its published layout."""

import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recmtl.errors import ConfigError, DataError
from recmtl.vision.data import READERS, ImageSet, ImageTask, open_images
from recmtl.vision.data.examples import MAPS, Example
from tests.unit.vision.data.archives import (
    write_adashare_cityscapes,
    write_adashare_nyu,
    write_celeba,
    write_mnist,
    write_mtan_cityscapes,
    write_mtan_nyu,
    write_table,
    write_taskonomy,
)


def write_overlaid(folder: Path) -> None:
    write_mnist(folder / "mnist")
    write_mnist(folder / "fashion_mnist", packed=False, train=60, seed=2)


WRITERS: dict[str, Callable[[Path], Any]] = {
    "celeba": write_celeba,
    "cityscapes_adashare": write_adashare_cityscapes,
    "cityscapes_mtan": write_mtan_cityscapes,
    "image_table": write_table,
    "multi_fashion": write_overlaid,
    "multi_fashion_mnist": write_overlaid,
    "multi_mnist": write_overlaid,
    "nyuv2_adashare": write_adashare_nyu,
    "nyuv2_mtan": write_mtan_nyu,
    "taskonomy_adashare": write_taskonomy,
}
TABLE = {
    "size": [16, 20],
    "augment": "scale_flip_crop",
    "tasks": [
        {"name": "scene", "kind": "classification", "columns": ["scene"], "classes": 3},
        {"name": "signs", "kind": "multilabel", "columns": ["indoor", "night"]},
        {"name": "ground", "kind": "segmentation", "columns": ["ground"], "classes": 4},
        {"name": "far", "kind": "depth", "columns": ["far"], "scale": 0.001},
        {"name": "normals", "kind": "normals", "columns": ["normals"]},
    ],
}
OPTIONS: dict[str, dict[str, Any]] = {
    "cityscapes_adashare": {"crop": [12, 14]},
    "cityscapes_mtan": {"augment": True},
    "image_table": TABLE,
    "nyuv2_adashare": {"crop": [21, 21]},
}
HELD_OUT = sorted(set(WRITERS) - {"celeba"})  # CelebA publishes its own validation split


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for name, write in WRITERS.items():
        found[name] = tmp_path_factory.mktemp(name)
        write(found[name])
    return found


def opened(name: str, folder: Path, **options: Any) -> ImageSet:
    return open_images(name, folder, OPTIONS.get(name, {}) | options)


def check_target(task: ImageTask, target: np.ndarray, size: tuple[int, ...]) -> None:
    """The promise of `ImageTask`."""
    shapes = {
        "classification": (),
        "multilabel": (task.classes,),
        "segmentation": size,
        "depth": (1, *size),
        "normals": (3, *size),
        "regression_map": (task.classes, *size),
    }
    whole = task.kind in ("classification", "segmentation")
    assert target.shape == shapes[task.kind]
    assert target.dtype == (np.int64 if whole else np.float32)
    if whole:
        assert target.min() >= -1 and target.max() < task.classes
    elif task.kind == "multilabel":
        assert set(target[~np.isnan(target)]) <= {0.0, 1.0}
    elif task.kind == "depth":
        assert not (target < 0).any()
    elif task.kind == "normals":
        length = np.sqrt((target.astype(float) ** 2).sum(0))
        assert np.allclose(length[~np.isnan(length)], 1, atol=1e-5)
        assert np.array_equal(np.isnan(target).all(0), np.isnan(target).any(0))


def test_every_reader_is_tested() -> None:
    assert set(WRITERS) == set(READERS)


@pytest.mark.parametrize("name", WRITERS)
def test_examples_are_as_promised(name: str, folders: dict[str, Path]) -> None:
    images = opened(name, folders[name])
    assert len(images.mean) == len(images.std) and images.fingerprint
    for split in (images.train, images.validation, images.test):
        assert len(split) > 0
        for index in range(len(split)):
            for random in (None, np.random.default_rng(index)):
                example = split.example(index, random)
                image = example.image
                assert image.dtype == np.float32 and len(image) == len(images.mean)
                assert image.flags.c_contiguous and 0 <= image.min() <= image.max() <= 1
                if random is not None and split is images.train:
                    assert image.shape[1:] == images.size
                for task, target in zip(images.tasks, example.targets, strict=True):
                    check_target(task, target, image.shape[1:])


def fixed(example: Example) -> list[bytes]:
    return [array.tobytes() for array in (example.image, *example.targets)]


def numbers(split: Any) -> set[bytes]:
    """The images of a split, as they are stored."""
    return {split.example(i, None).image.tobytes() for i in range(len(split))}


@pytest.mark.parametrize("name", WRITERS)
def test_no_image_is_in_two_splits_and_none_is_lost(name: str, folders: dict[str, Path]) -> None:
    images = opened(name, folders[name])
    parts = [numbers(split) for split in (images.train, images.validation, images.test)]
    assert sum(map(len, parts)) == len(set.union(*parts))
    assert [len(p) for p in parts] == [
        len(split) for split in (images.train, images.validation, images.test)
    ]


@pytest.mark.parametrize("name", WRITERS)
def test_the_same_bits_every_time_and_other_bits_for_another_draw(
    name: str, folders: dict[str, Path]
) -> None:
    images, again = (opened(name, folders[name]) for _ in range(2))
    assert images.fingerprint == again.fingerprint
    for random in (None, 5):
        first, second = (
            s.train.example(1, None if random is None else np.random.default_rng(random))
            for s in (images, again)
        )
        assert fixed(first) == fixed(second)


@pytest.mark.parametrize("name", HELD_OUT)
def test_another_seed_holds_out_others(name: str, folders: dict[str, Path]) -> None:
    sets = [opened(name, folders[name], seed=seed) for seed in range(5)]
    assert len({s.fingerprint for s in sets}) > 1
    assert len({frozenset(numbers(s.validation)) for s in sets}) > 1
    if name != "image_table" and not name.startswith("multi"):
        assert len({frozenset(numbers(s.test)) for s in sets}) == 1


@pytest.mark.parametrize("name", HELD_OUT)
def test_a_larger_share_holds_out_more(name: str, folders: dict[str, Path]) -> None:
    small, large = (opened(name, folders[name], validation=share) for share in (0.1, 0.5))
    assert len(large.validation) > len(small.validation)
    with pytest.raises(ConfigError, match="cannot be held out"):
        opened(name, folders[name], validation=0.0)


@pytest.mark.parametrize("name", WRITERS)
def test_splits_go_to_workers(name: str, folders: dict[str, Path]) -> None:
    split = opened(name, folders[name]).train
    copy = pickle.loads(pickle.dumps(split))
    for random in (None, 3):
        first, second = (
            s.example(0, None if random is None else np.random.default_rng(random))
            for s in (copy, split)
        )
        assert fixed(first) == fixed(second)


IN_MEMORY = ("multi_fashion", "multi_fashion_mnist", "multi_mnist")


@pytest.mark.parametrize("name", sorted(set(WRITERS) - set(IN_MEMORY)))
def test_only_the_list_is_in_memory(name: str, folders: dict[str, Path]) -> None:
    images = opened(name, folders[name])
    bytes_of_an_image = images.train.example(0, None).image.nbytes
    assert len(pickle.dumps(images.train)) < 3000 + 400 * len(images.train) < 30 * bytes_of_an_image


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def read_all(images: ImageSet) -> None:
    for split in (images.train, images.validation, images.test):
        for index in range(len(split)):
            split.example(index, None)


def one_of_each_kind(folder: Path) -> list[Path]:
    """Of the files of a set, one of every kind of folder and of every ending."""
    kind = {
        (re.sub(r"\d", "", str(p.parent)), p.suffix, "image" in p.name): p for p in files_of(folder)
    }
    return list(kind.values())


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("damage", ["missing", "cut", "empty", "noise"])
def test_a_missing_or_damaged_file_is_named(name: str, damage: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path)
    for path in one_of_each_kind(tmp_path):
        content = path.read_bytes()
        if damage == "missing":
            path.unlink()
        else:
            half = content[: len(content) // 2]
            path.write_bytes({"cut": half, "empty": b"", "noise": b"\x93\xff" * 40}[damage])
        unused = name == "multi_mnist" and "fashion" in str(path)
        unused |= name == "multi_fashion" and "fashion" not in str(path)
        unused |= name == "cityscapes_adashare" and path.parent.name in ("l2", "l7")
        unused |= name == "taskonomy_adashare" and path.parent.name.startswith("test_small")
        if not unused:
            with pytest.raises(DataError) as caught:
                read_all(opened(name, tmp_path))
            lines = str(caught.value).splitlines()
            assert len(lines) == 1 and re.search(r"; \w", lines[0])
            shared = path.name if not name.startswith("multi") else path.parent.name
            assert shared in lines[0]
        path.write_bytes(content)


def test_a_missing_file_is_found_before_training(tmp_path: Path) -> None:
    write_mtan_nyu(tmp_path)
    (tmp_path / "train" / "normal" / "7.npy").unlink()
    with pytest.raises(DataError, match=r"7\.npy: is missing; check the folder"):
        opened("nyuv2_mtan", tmp_path)


def test_changed_files_change_the_fingerprint(tmp_path: Path) -> None:
    write_mtan_nyu(tmp_path)
    before = opened("nyuv2_mtan", tmp_path).fingerprint
    path = tmp_path / "train" / "image" / "3.npy"
    np.save(path, np.load(path).astype(np.float32))
    assert opened("nyuv2_mtan", tmp_path).fingerprint != before
    assert opened("nyuv2_mtan", tmp_path, augment=False).fingerprint != before


def test_changed_labels_of_faces_change_the_fingerprint(tmp_path: Path) -> None:
    write_celeba(tmp_path)
    before = opened("celeba", tmp_path).fingerprint
    path = tmp_path / "Anno" / "list_attr_celeba.txt"
    text = path.read_text()
    path.write_text(text[:-3].rstrip("-") + ("1\n" if text.endswith("-1\n") else "  -1\n"))
    assert opened("celeba", tmp_path).fingerprint != before


@pytest.mark.parametrize(
    ("reader", "options", "message"),
    [
        ("nyu", {}, "there is no 'nyu'"),
        (
            "nyuv2_mtan",
            {"agument": True},
            "unknown key 'agument'; did you mean 'augment",
        ),
        ("nyuv2_mtan", {"augment": "yes"}, "augment: must be true or false"),
        ("nyuv2_mtan", {"tasks": ["depth", "sn"]}, "tasks"),
        ("nyuv2_mtan", {"tasks": "depth"}, "tasks: must be a list"),
        ("cityscapes_mtan", {"classes": 9}, "classes: must be one of 2, 7, 19"),
        ("nyuv2_mtan", {"validation": 1.5}, "cannot be held out"),
        ("celeba", {"attributes": ["Balt"]}, "there is no 'Balt'; did you mean 'Bald'"),
        ("image_table", {}, "missing key 'tasks'"),
        (
            "image_table",
            TABLE | {"tasks": [{"name": "a", "kind": "depth", "columns": ["x", "y"]}]},
            "takes one column",
        ),
        ("image_table", TABLE | {"tasks": [TABLE["tasks"][0]] * 2}, "each name once"),
        ("image_table", TABLE | {"size": [8]}, "size takes H and W"),
    ],
)
def test_wrong_options_are_named(
    reader: str, options: dict[str, Any], message: str, folders: dict[str, Path]
) -> None:
    with pytest.raises(ConfigError, match=message):
        open_images(reader, folders.get(reader, Path()), options)


def test_maps_of_another_size_are_an_error(tmp_path: Path) -> None:
    write_mtan_nyu(tmp_path)
    np.save(tmp_path / "val" / "depth" / "1.npy", np.ones((12, 15, 1)))
    images = opened("nyuv2_mtan", tmp_path)
    with pytest.raises(DataError, match="the map of depth is 12 x 15, the image 12 x 16"):
        images.test.example(1, None)
    assert {task.kind for task in images.tasks} <= MAPS

"""Every published layout decoded exactly: values, units, what is unknown, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from recmtl.errors import DataError
from recmtl.vision.data import open_images
from tests.unit.vision.data.archives import (
    ATTRIBUTES,
    save_array,
    write_adashare_cityscapes,
    write_adashare_nyu,
    write_celeba,
    write_mtan_cityscapes,
    write_mtan_nyu,
    write_taskonomy,
)


def stored(path: Path) -> np.ndarray:
    return np.load(path) if path.suffix == ".npy" else np.asarray(Image.open(path))


def test_mtan_nyu_is_as_stored(tmp_path: Path) -> None:
    write_mtan_nyu(tmp_path)
    images = open_images("nyuv2_mtan", tmp_path)
    assert (len(images.train), len(images.validation), len(images.test)) == (9, 1, 3)
    assert images.size == (12, 16) and (images.mean, images.std) == ((0, 0, 0), (1, 1, 1))
    part = tmp_path / "val"
    image, label, depth, normal = (
        stored(part / kind / "2.npy") for kind in ("image", "label", "depth", "normal")
    )
    example = images.test.example(2, None)
    assert np.array_equal(example.image, image.transpose(2, 0, 1).astype(np.float32))
    assert np.array_equal(example.targets[0], label)
    known = depth[..., 0] > 0
    assert not known[:3].any() and known[3:].all()
    assert np.array_equal(np.isnan(example.targets[1][0]), ~known)
    assert np.array_equal(example.targets[1][0][known], depth[known, 0].astype(np.float32))
    assert np.isnan(example.targets[2][:, :2]).all()
    assert np.allclose(example.targets[2][:, 2:], normal.transpose(2, 0, 1)[:, 2:], atol=1e-6)


def test_numbers_need_not_be_sorted_as_text(tmp_path: Path) -> None:
    write_mtan_nyu(tmp_path, val=12)
    test = open_images("nyuv2_mtan", tmp_path).test
    first = [test.example(i, None).image[0, 0, 0] for i in range(12)]
    paths = [tmp_path / "val" / "image" / f"{i}.npy" for i in range(12)]
    assert first == [np.float32(stored(path)[0, 0, 0]) for path in paths]


@pytest.mark.parametrize(
    ("kind", "array", "message"),
    [
        ("image", np.ones((12, 16)), r"has shape \(12, 16\), not \[H, W, 3\]"),
        ("image", np.full((12, 16, 3), 200.0), "holds values from 0 to 200, not 0 to 1"),
        ("image", np.full((12, 16, 3), np.nan), "holds values from .*nan"),
        ("label", np.full((12, 16), 13), "holds class 13; the classes are 0 to 12"),
        ("label", np.full((12, 16), -2), "holds class -2"),
        ("label", np.full((12, 16), 0.5), "not whole"),
        ("label", np.ones((12, 16, 2)), "has shape"),
        ("depth", np.full((12, 16, 1), -1.0), "holds the depth -1; depth is finite"),
        ("depth", np.full((12, 16, 1), np.inf), "holds the depth inf"),
        ("normal", np.full((12, 16, 3), 180.0), "a normal of length 311.*8-bit codes"),
        ("normal", np.ones((12, 16, 1)), "has shape"),
        ("label", np.array([{}]), "no .npy array"),
    ],
    ids=range(12),
)
def test_what_the_layout_does_not_allow_is_named(
    kind: str, array: np.ndarray, message: str, tmp_path: Path
) -> None:
    write_mtan_nyu(tmp_path)
    np.save(tmp_path / "val" / kind / "1.npy", array, allow_pickle=True)
    test = open_images("nyuv2_mtan", tmp_path).test
    test.example(0, None)
    with pytest.raises(DataError, match=rf"val/{kind}/1\.npy: .*{message}"):
        test.example(1, None)


@pytest.mark.parametrize(("labels", "classes"), [("label_7", 7), ("label", 7), ("label_19", 19)])
def test_mtan_cityscapes(labels: str, classes: int, tmp_path: Path) -> None:
    write_mtan_cityscapes(tmp_path, labels=labels, classes=classes)
    images = open_images("cityscapes_mtan", tmp_path, {"classes": classes})
    assert [(t.kind, t.classes) for t in images.tasks] == [("segmentation", classes), ("depth", 1)]
    example = images.test.example(1, None)
    assert np.array_equal(example.targets[0], stored(tmp_path / "val" / labels / "1.npy"))
    depth = stored(tmp_path / "val" / "depth" / "1.npy")[..., 0]
    assert np.array_equal(example.targets[1][0], np.where(depth > 0, depth, np.nan), equal_nan=True)


def test_zoomed_inverse_depth_grows_unless_as_published(tmp_path: Path) -> None:
    write_mtan_cityscapes(tmp_path)
    for path in tmp_path.rglob("depth/*.npy"):
        save_array(path, np.full((8, 16, 1), 0.1, np.float32))
    found = {}
    for zoomed in ("true", "published"):
        options = {"augment": True, "zoomed_depth": zoomed}
        train = open_images("cityscapes_mtan", tmp_path, options).train
        examples = [train.example(0, np.random.default_rng(seed)) for seed in range(30)]
        found[zoomed] = {round(float(e.targets[1].mean()), 4) for e in examples}
    assert found == {"true": {0.1, 0.12, 0.15}, "published": {0.1, 0.0833, 0.0667}}


def test_adashare_nyu_decodes_normals_and_depth(tmp_path: Path) -> None:
    truth = write_adashare_nyu(tmp_path)
    images = open_images("nyuv2_adashare", tmp_path)
    assert images.size == (321, 321)
    assert [task.name for task in images.tasks] == ["segmentation", "normals", "depth"]
    for index in range(3):
        example, normals = images.test.example(index, None), truth[f"test{index:04d}"]
        known = ~np.isnan(normals).any(2)
        assert np.array_equal(~np.isnan(example.targets[1]).any(0), known)
        cosine = (example.targets[1].transpose(1, 2, 0) * normals).sum(2)[known]
        assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < 0.7  # rounding to 8 bits
        assert (example.targets[0][-1] == -1).all() and (example.targets[0][:-1] >= 0).all()
        assert np.isnan(example.targets[2][0, :2]).all()
        assert not np.isnan(example.targets[2][0, 2:]).any()


def test_adashare_input_is_0_to_255_less_the_mean(tmp_path: Path) -> None:
    write_adashare_nyu(tmp_path)
    images = open_images("nyuv2_adashare", tmp_path)
    mean, std = (np.array(v).reshape(3, 1, 1) for v in (images.mean, images.std))
    fed = (images.test.example(0, None).image - mean) / std
    pixels = stored(tmp_path / "img" / "test0000.png").astype(float)
    bgr_mean = np.array([104.00698793, 116.66876762, 122.67891434])
    assert np.allclose(fed.transpose(1, 2, 0)[..., ::-1], pixels[..., ::-1] - bgr_mean, atol=1e-3)


def test_adashare_two_tasks_need_no_depth(tmp_path: Path) -> None:
    write_adashare_nyu(tmp_path)
    for path in (tmp_path / "depth").iterdir():
        path.unlink()
    images = open_images("nyuv2_adashare", tmp_path, {"tasks": ["segmentation", "normals"]})
    assert len(images.train.example(0, np.random.default_rng(0)).targets) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test": None}, "has no list 'test'"),
        ({"test": []}, "has no list 'test'"),
        ({"train": [["img/a.png"]] * 3}, "4 file names are due"),
        ({"train": [[1, 2, 3, 4]] * 3}, "4 file names are due"),
    ],
)
def test_a_wrong_listing_is_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_adashare_nyu(tmp_path)
    path = tmp_path / "nyu_v2_3task.json"
    listing = json.loads(path.read_text()) | change
    path.write_text(json.dumps({k: v for k, v in listing.items() if v is not None}))
    with pytest.raises(DataError, match=message):
        open_images("nyuv2_adashare", tmp_path)


@pytest.mark.parametrize(("classes", "column"), [(2, 2), (7, 3), (19, 4)])
def test_adashare_cityscapes(classes: int, column: int, tmp_path: Path) -> None:
    write_adashare_cityscapes(tmp_path)
    images = open_images("cityscapes_adashare", tmp_path, {"classes": classes})
    names = json.loads((tmp_path / "cityscape.json").read_text())["test"][1]
    image, depth, labels = (stored(tmp_path / names[k]) for k in (0, 1, column))
    example = images.test.example(1, None)
    assert np.array_equal(example.image, image.transpose(2, 0, 1).astype(np.float32))
    assert np.array_equal(example.targets[0], labels)
    known = depth[..., 0] > 3e-5
    assert np.allclose(example.targets[1][0][known], depth[known, 0])
    assert np.isnan(example.targets[1][0][~known]).all()


def test_taskonomy_is_the_published_formula(tmp_path: Path) -> None:
    write_taskonomy(tmp_path, side=512)
    images = open_images("taskonomy_adashare", tmp_path)
    names = json.loads((tmp_path / "taskonomy.json").read_text())["test"][0]
    # OpenCV's nearest pixel of 512 -> 256 is every second one.
    rgb, seg, normal, depth, keypoint, edge = (
        stored(tmp_path / name)[::2, ::2].astype(float) for name in names
    )
    found = images.test.example(0, None)
    assert np.allclose(found.image, rgb.transpose(2, 0, 1) / 255)
    assert np.array_equal(found.targets[0], seg - 1)  # 0, no object, becomes -1
    known = depth < 64500
    assert np.array_equal(~np.isnan(found.targets[2][0]), known) and not known[:2].any()
    expected = np.log(1 + depth) / np.log(2.0**16)
    assert np.allclose(found.targets[2][0][known], expected[known])
    direction = normal / 255 * 2 - 1
    direction /= np.linalg.norm(direction, axis=2, keepdims=True)
    assert np.allclose(found.targets[1].transpose(1, 2, 0)[known], direction[known], atol=1e-5)
    assert np.isnan(found.targets[1][:, ~known]).all()
    for target, plane, top in zip(found.targets[3:], (keypoint, edge), (0.005, 0.08), strict=True):
        assert np.allclose(target[0], np.clip(plane / 2**16, 0, top) / top * 2 - 1, atol=1e-6)
        assert target.max() == 1
    weights = np.load(tmp_path / "semseg_prior_factor.npy")
    assert images.tasks[0].class_weights == pytest.approx(tuple(weights[:17]))


def test_taskonomy_holds_out_whole_buildings(tmp_path: Path) -> None:
    write_taskonomy(tmp_path, views=3)
    for seed in range(4):
        images = open_images("taskonomy_adashare", tmp_path, {"validation": 0.4, "seed": seed})
        train, held = (
            {Path(entry[0]).parent for entry in split.entries}  # type: ignore[attr-defined]
            for split in (images.train, images.validation)
        )
        assert train and held and not train & held


def test_taskonomy_small_test_and_fewer_tasks(tmp_path: Path) -> None:
    write_taskonomy(tmp_path)
    (tmp_path / "semseg_prior_factor.npy").unlink()
    options = {"test": "test_small", "tasks": ["edges", "normals"]}
    images = open_images("taskonomy_adashare", tmp_path, options)
    assert [task.name for task in images.tasks] == ["edges", "normals"]
    assert len(images.test) == 1 and len(images.test.example(0, None).targets) == 2


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("preparation", ["famo", "branched"])
def test_celeba(nested: bool, preparation: str, tmp_path: Path) -> None:
    values = write_celeba(tmp_path, nested=nested)
    images = open_images("celeba", tmp_path, {"preparation": preparation})
    assert (len(images.train), len(images.validation), len(images.test)) == (5, 2, 2)
    assert [task.name for task in images.tasks] == list(ATTRIBUTES)
    side = {"famo": 64, "branched": 224}[preparation]
    assert images.size == (side, side)
    assert images.mean[0] == {"famo": 0.0, "branched": 0.5061}[preparation]
    example = images.test.example(1, None)
    assert [float(t[0]) for t in example.targets] == [float(v == 1) for v in values[8]]
    folder = tmp_path / "Img" if nested else tmp_path
    face = Image.open(folder / "img_align_celeba" / "000009.jpg").resize((side, side), 2)
    assert np.array_equal(example.image, np.asarray(face, np.float32).transpose(2, 0, 1) / 255)


def test_celeba_attributes_by_choice_and_together(tmp_path: Path) -> None:
    values = write_celeba(tmp_path)
    options = {"attributes": ["Young", "Bald"], "together": True}
    images = open_images("celeba", tmp_path, options)
    assert [(task.kind, task.classes) for task in images.tasks] == [("multilabel", 2)]
    found = images.train.example(4, None).targets[0]
    assert np.array_equal(found, (values[4][[3, 1]] == 1).astype(np.float32))


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("Anno/list_attr_celeba.txt", "9\n", "10\n", "promises 10 images and lists 9"),
        ("Anno/list_attr_celeba.txt", "9\n", "", "does not begin with the number"),
        ("Anno/list_attr_celeba.txt", "000003.jpg  ", "000003.jpg  0  ", "no 4 values 1 or -1"),
        ("Eval/list_eval_partition.txt", "000004.jpg 0", "", "gives 000004.jpg no part"),
        ("Eval/list_eval_partition.txt", "000004.jpg 0", "000004.jpg 5", "no part 0, 1 or 2"),
        ("Eval/list_eval_partition.txt", " 1", " 2", "gives no image the part 1"),
    ],
)
def test_celeba_lists_that_do_not_fit(
    file: str, old: str, new: str, message: str, tmp_path: Path
) -> None:
    write_celeba(tmp_path)
    path = tmp_path / file
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DataError, match=message):
        open_images("celeba", tmp_path)


def test_taskonomy_in_one_folder_holds_out_images(tmp_path: Path) -> None:
    write_taskonomy(tmp_path)
    path = tmp_path / "taskonomy.json"
    listing = json.loads(path.read_text())
    for k, row in enumerate(listing["train"]):
        (tmp_path / row[0]).rename(tmp_path / f"{k}.png")
        row[0] = f"{k}.png"
    path.write_text(json.dumps(listing))
    images = open_images("taskonomy_adashare", tmp_path, {"validation": 0.25})
    assert (len(images.train), len(images.validation)) == (3, 1)

"""A folder of images with a table of labels: every kind of column, and what it may not hold."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from PIL import Image

from recmtl.errors import ConfigError, DataError
from recmtl.vision.data import ImageSet, open_images
from tests.unit.vision.data.archives import write_table

SCENE = {"name": "scene", "kind": "classification", "columns": ["scene"], "classes": 3}
SIGNS = {"name": "signs", "kind": "multilabel", "columns": ["indoor", "night"]}
GROUND = {"name": "ground", "kind": "segmentation", "columns": ["ground"], "classes": 4}
FAR = {"name": "far", "kind": "depth", "columns": ["far"], "scale": 0.001}
NORMALS = {"name": "normals", "kind": "normals", "columns": ["normals"]}
PLANE = {"name": "plane", "kind": "regression_map", "columns": ["far"], "scale": 0.5}
ALL = [SCENE, SIGNS, GROUND, FAR, NORMALS, PLANE]


def opened(folder: Path, *tasks: dict[str, Any], **options: Any) -> ImageSet:
    given = {"tasks": list(tasks or ALL), "size": [16, 20], "split": "part"} | options
    return open_images("image_table", folder, given)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_table(tmp_path)
    return tmp_path


def test_targets_come_from_their_columns(folder: Path) -> None:
    images = opened(folder)
    assert [(t.kind, t.classes) for t in images.tasks] == [
        ("classification", 3),
        ("multilabel", 2),
        ("segmentation", 4),
        ("depth", 1),
        ("normals", 3),
        ("regression_map", 1),
    ]
    assert [len(s) for s in (images.train, images.validation, images.test)] == [7, 7, 6]
    example = images.train.example(0, None)  # row 0 is 16 x 20 already
    scene, signs, ground, far, normals, plane = example.targets
    assert scene == 0 and signs.tolist() == [0, 1]
    picture = np.asarray(Image.open(folder / "img" / "0.png"), np.float32)
    assert np.array_equal(example.image, picture.transpose(2, 0, 1) / 255)
    stored = np.asarray(Image.open(folder / "ground" / "0.png")).astype(int)
    assert np.array_equal(ground, np.where(stored == 255, -1, stored))
    millimetres = np.asarray(Image.open(folder / "far" / "0.png"))
    known = millimetres > 0
    assert np.allclose(far[0][known], millimetres[known] / 1000)
    assert np.isnan(far[0][~known]).all() and np.allclose(plane[0], millimetres / 2)
    assert np.allclose(normals, np.load(folder / "normals" / "0.npy").transpose(2, 0, 1), atol=1e-6)


def test_empty_cells_are_unknown(folder: Path) -> None:
    images = opened(folder)
    assert images.test.example(0, None).targets[0] == -1  # row 2
    assert np.array_equal(
        images.train.example(1, None).targets[1], np.array([np.nan, 0]), equal_nan=True
    )  # row 3
    assert (images.validation.example(1, None).targets[2] == -1).all()  # row 4
    assert np.isnan(images.test.example(1, None).targets[3]).all()  # row 5


def test_csv_and_words_are_as_good(folder: Path) -> None:
    table = pq.read_table(folder / "labels.parquet")
    words = ["hall" if v == 0 else "yard" if v == 1 else None for v in table["scene"].to_pylist()]
    table = table.set_column(table.column_names.index("scene"), "scene", [words])
    pa_csv.write_csv(table, folder / "labels.csv")
    named = SCENE | {"words": ["yard", "hall"]}
    images = opened(folder, named, SIGNS, table="labels.csv")
    plain = opened(folder, SCENE, SIGNS)
    for split, other in ((images.train, plain.train), (images.test, plain.test)):
        for index in range(len(split)):
            (scene, signs), (old, same) = (s.example(index, None).targets for s in (split, other))
            assert int(scene) == {0: 1, 1: 0}.get(int(old), -1)
            assert np.array_equal(signs, same, equal_nan=True)
    assert images.tasks[0].classes == 2


def test_groups_stay_together(folder: Path) -> None:
    rows = pq.read_table(folder / "labels.parquet")
    houses = dict(zip(rows["file"].to_pylist(), rows["house"].to_pylist(), strict=True))
    for seed in range(4):
        images = opened(
            folder, SCENE, split=None, group="house", test=0.3, validation=0.3, seed=seed
        )
        parts: list[Any] = [images.train, images.validation, images.test]
        found = [{houses[entry[0]] for entry in split.entries} for split in parts]
        assert all(found) and sum(map(len, found)) == len(set.union(*found)) == 7
        assert sum(map(len, parts)) == 20


@pytest.mark.parametrize(
    ("column", "row", "value", "message"),
    [
        ("scene", 4, 3, "column 'scene': holds 3 in row 4; allowed are 0 to 2"),
        ("indoor", 4, 2, "column 'indoor': holds 2 in row 4; write 0, 1 or nothing"),
        ("file", 4, "img/3.png", "no file name, or one twice, in row 4"),
        ("file", 4, None, "no file name, or one twice, in row 4"),
        ("file", 4, "img/99.png", "img/99.png: is missing"),
        ("part", 4, "dev", "allowed are train, validation, test"),
        ("ground", 4, "ground/99.png", "ground/99.png: is missing"),
    ],
)
def test_wrong_cells_are_named(
    column: str, row: int, value: Any, message: str, folder: Path
) -> None:
    table = pq.read_table(folder / "labels.parquet")
    values = table[column].to_pylist()
    values[row] = value
    table = table.set_column(table.column_names.index(column), column, [values])
    pq.write_table(table, folder / "labels.parquet")
    with pytest.raises(DataError, match=message):
        opened(folder)


@pytest.mark.parametrize(
    ("tasks", "options", "message"),
    [
        ([SCENE | {"columns": ["scenes"]}], {}, "column 'scenes': is missing.*mean 'scene'"),
        ([GROUND | {"columns": ["scene"]}], {}, "holds 0; name the maps' files"),
        ([SCENE], {"table": "other.csv"}, "other.csv: is missing"),
        ([SCENE], {"split": "house"}, "holds 'house 0' in row 0"),
    ],
)
def test_wrong_columns_are_named(
    tasks: list[dict[str, Any]], options: dict[str, Any], message: str, folder: Path
) -> None:
    with pytest.raises(DataError, match=message):
        opened(folder, *tasks, **options)


def test_a_map_of_another_size_than_its_image_is_named(folder: Path) -> None:
    np.save(folder / "normals" / "0.npy", np.zeros((16, 19, 3)))
    with pytest.raises(DataError, match=r"normals/0\.npy: the map is 16 x 19, the image 16 x 20"):
        opened(folder)


def test_words_are_for_classification() -> None:
    with pytest.raises(ConfigError, match="words are for classification"):
        opened(Path(), SIGNS | {"words": ["a"]})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PAR1 and no more", r"labels\.parquet: is damaged or no table .*write it again"),
        (None, r"labels\.parquet: is missing; name the table with `table`"),
    ],
)
def test_a_table_that_cannot_be_read_is_named(
    content: bytes | None, message: str, folder: Path
) -> None:
    path = folder / "labels.parquet"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        opened(folder)


def test_a_table_without_rows_and_a_split_without_images_are_refused(folder: Path) -> None:
    path = folder / "labels.parquet"
    table = pq.read_table(path)
    pq.write_table(table.slice(0, 0), path)
    with pytest.raises(DataError, match="holds no rows; write one row per image"):
        opened(folder)
    pq.write_table(table.slice(0, 2), path)
    with pytest.raises(DataError, match="gives no image to test; each split needs some"):
        opened(folder)


@pytest.mark.parametrize(
    "options",
    [
        {"size": [16, 0]},
        {"size": [16, 20, 3]},
        {"std": [1.0, 1.0, 0.0]},
        {"mean": [0.5]},
    ],
)
def test_sizes_and_channels_out_of_range_are_refused(options: dict[str, Any], folder: Path) -> None:
    with pytest.raises(ConfigError, match="size takes H and W, mean and std three numbers each"):
        opened(folder, **options)


@pytest.mark.parametrize("seed", [0, 5])
def test_drawn_splits_depend_on_the_seed_alone(seed: int, folder: Path) -> None:
    def parts(seed: int) -> list[set[str]]:
        images: Any = opened(folder, SCENE, split=None, validation=0.2, test=0.3, seed=seed)
        return [{e[0] for e in s.entries} for s in (images.train, images.validation, images.test)]

    first, again, other = parts(seed), parts(seed), parts(seed + 1)
    assert first == again and first != other
    assert [len(part) for part in first] == [10, 4, 6]
    assert len(set.union(*first)) == 20


def test_tasks_are_read_independently_of_one_another(folder: Path) -> None:
    together = opened(folder)
    for place, task in enumerate(ALL):
        alone = opened(folder, task)
        for index in range(len(together.train)):
            pair = [
                together.train.example(index, None).targets[place],
                alone.train.example(index, None).targets[0],
            ]
            assert np.array_equal(*pair, equal_nan=pair[0].dtype != np.int64)


@pytest.mark.parametrize("augment", ["none", "flip", "scale_flip_crop"])
def test_only_the_augmentation_that_was_chosen_is_applied(augment: str, folder: Path) -> None:
    images = opened(folder, FAR, augment=augment)
    stored = images.train.example(0, None).image
    shown = [images.train.example(0, np.random.default_rng(s)).image for s in range(12)]
    plain = [np.array_equal(image, stored) for image in shown]
    mirrored = [np.array_equal(image, stored[..., ::-1]) for image in shown]
    is_plain_or_mirrored = all(p or m for p, m in zip(plain, mirrored, strict=True))
    assert all(plain) == (augment == "none")
    assert is_plain_or_mirrored == (augment != "scale_flip_crop")

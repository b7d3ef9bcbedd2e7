"""Writes small data sets in the layouts in which their owners publish them."""

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

Array = np.ndarray


def save_array(path: Path, array: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)


def save_picture(path: Path, pixels: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, compress_level=1)


def unit_normals(random: np.random.Generator, size: tuple[int, int]) -> Array:
    """Unit vectors `[H, W, 3]`."""
    vectors = random.normal(size=(*size, 3))
    return vectors / np.linalg.norm(vectors, axis=2, keepdims=True)


def write_mtan_nyu(folder: Path, *, train: int = 10, val: int = 3) -> None:
    """`{train,val}/{image,label,depth,normal}/i.npy`, 12 x 16."""
    random = np.random.default_rng(0)
    for part, count in (("train", train), ("val", val)):
        for i in range(count):
            normals, depth = unit_normals(random, (12, 16)), random.uniform(0.5, 9, (12, 16, 1))
            normals[:2], depth[:3] = 0, 0
            save_array(folder / part / "image" / f"{i}.npy", random.random((12, 16, 3)))
            label = random.integers(-1, 13, (12, 16)).astype(float)
            save_array(folder / part / "label" / f"{i}.npy", label)
            save_array(folder / part / "depth" / f"{i}.npy", depth)
            save_array(folder / part / "normal" / f"{i}.npy", normals)


def write_mtan_cityscapes(folder: Path, *, labels: str = "label_7", classes: int = 7) -> None:
    """As NYUv2 without normals, 8 x 16, inverse depth."""
    random = np.random.default_rng(1)
    for part, count in (("train", 10), ("val", 4)):
        for i in range(count):
            depth = random.uniform(0, 0.5, (8, 16, 1)).astype(np.float32)
            depth[:1] = 0
            save_array(folder / part / "image" / f"{i}.npy", random.random((8, 16, 3)))
            label = random.integers(-1, classes, (8, 16))
            save_array(folder / part / labels / f"{i}.npy", label)
            save_array(folder / part / "depth" / f"{i}.npy", depth)


def normal_codes(normals: Array, unknown: Array) -> Array:
    """8-bit codes of unit normals, 255 where unknown."""
    codes = np.round((normals + 1) * 127.5).clip(0, 254).astype(np.uint8)
    codes[unknown] = 255
    return codes


def write_adashare_nyu(folder: Path) -> dict[str, Array]:
    """`nyu_v2_3task.json`, PNG and `.npy`, 24 x 32; the normals of each image as they were."""
    random, listing, truth = np.random.default_rng(2), {}, {}
    for part, count in (("train", 8), ("test", 3)):
        listing[part] = []
        for i in range(count):
            name = f"{part}{i:04d}"
            normals, depth = unit_normals(random, (24, 32)), random.uniform(0.7, 7, (24, 32))
            unknown = random.random((24, 32)) < 0.3
            depth[0], depth[1] = 0, 2e-5
            seg = random.integers(0, 40, (24, 32)).astype(np.uint8)
            seg[-1] = 255
            image = random.integers(0, 256, (24, 32, 3), dtype=np.uint8)
            save_picture(folder / "img" / f"{name}.png", image)
            save_picture(folder / "seg" / f"{name}.png", seg)
            codes = normal_codes(normals, unknown)
            save_picture(folder / "normal_mask" / f"{name}.png", codes)
            save_array(folder / "depth" / f"{name}.npy", depth.astype(np.float32))
            normals[unknown] = np.nan
            truth[name] = normals
            row = [f"{kind}/{name}.png" for kind in ("img", "seg", "normal_mask")]
            listing[part].append([*row, f"depth/{name}.npy"])
    listing["train1"], listing["train2"] = listing["train"][:6], listing["train"][6:]
    (folder / "nyu_v2_3task.json").write_text(json.dumps(listing))
    return truth


def write_adashare_cityscapes(folder: Path) -> None:
    """`cityscape.json` with image, depth, label2, label7, label19, all `.npy`, 16 x 32."""
    random, listing = np.random.default_rng(3), {}
    for part, count in (("train", 8), ("test", 2)):
        listing[part] = []
        for i in range(count):
            names = [f"{part}/{kind}/{i}.npy" for kind in ("image", "depth", "l2", "l7", "l19")]
            save_array(folder / names[0], random.random((16, 32, 3)))
            save_array(folder / names[1], random.uniform(0, 0.4, (16, 32, 1)))
            for name, classes in zip(names[2:], (2, 7, 19), strict=True):
                save_array(folder / name, random.integers(-1, classes, (16, 32)))
            listing[part].append(names)
    (folder / "cityscape.json").write_text(json.dumps(listing))


def write_taskonomy(folder: Path, *, side: int = 64, views: int = 1) -> None:
    """`taskonomy.json`, PNG (published: 512 x 512) in one folder a building, the class weights."""
    random, listing = np.random.default_rng(4), {}
    kinds = ("rgb", "segment", "normal", "depth", "keypoints", "edge")
    for part, buildings in (("train", 4), ("test", 1), ("test_small", 1)):
        listing[part] = []
        for building in range(buildings):
            for view in range(views):
                names = [f"{part}{building}_{kind}/{view}.png" for kind in kinds]
                _write_view(folder, names, random, side)
                listing[part].append(names)
    (folder / "taskonomy.json").write_text(json.dumps(listing))
    np.save(folder / "semseg_prior_factor.npy", np.linspace(0.5, 2, 18))


def _write_view(folder: Path, names: list[str], random: np.random.Generator, side: int) -> None:
    size = (side, side)
    save_picture(folder / names[0], random.integers(0, 256, (*size, 3), dtype=np.uint8))
    save_picture(folder / names[1], random.integers(0, 18, size, dtype=np.uint8))
    known = np.zeros(size, bool)
    save_picture(folder / names[2], normal_codes(unit_normals(random, size), known))
    for name, top in zip(names[3:], (65535, 600, 8000), strict=True):
        plane = random.integers(0, top + 1, size).astype(np.uint16)
        plane[:4] = top
        save_picture(folder / name, plane)


ATTRIBUTES = ("5_o_Clock_Shadow", "Bald", "Male", "Young")


def write_celeba(folder: Path, *, nested: bool = True) -> Array:
    """Images of 218 x 178, attributes and partition; returns the attributes, -1 or 1."""
    random = np.random.default_rng(5)
    places = ("Img", "Anno", "Eval") if nested else ("", "", "")
    images, lists, parts = (folder / place for place in places)
    values = random.choice([-1, 1], size=(9, 4))
    names = [f"{i + 1:06d}.jpg" for i in range(9)]
    for name in names:
        pixels = random.integers(0, 256, (218, 178, 3), dtype=np.uint8)
        save_picture(images / "img_align_celeba" / name, pixels)
    rows = ["  ".join([n, *map(str, v)]) for n, v in zip(names, values, strict=True)]
    for place in (lists, parts):
        place.mkdir(parents=True, exist_ok=True)
    text = "\n".join(["9", " ".join(ATTRIBUTES), *rows]) + "\n"
    (lists / "list_attr_celeba.txt").write_text(text)
    part = [0] * 5 + [1] * 2 + [2] * 2
    lines = [f"{n} {p}\n" for n, p in zip(names, part, strict=True)]
    (parts / "list_eval_partition.txt").write_text("".join(lines))
    return values


def write_idx(path: Path, array: Array) -> None:
    """An idx file of bytes, packed where the name ends in .gz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    content = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def glyphs(count: int, seed: int) -> tuple[Array, Array]:
    """Pictures of which every one is different, and their classes."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
    return images, random.integers(0, 10, count, dtype=np.uint8)


def write_mnist(
    folder: Path, *, packed: bool = True, train: int = 40, test: int = 10, seed: int = 0
) -> None:
    """The four idx files; train glyphs are of `seed`, test glyphs of the next."""
    end = ".gz" if packed else ""
    for name, count, more in (("train", train, 0), ("t10k", test, 1)):
        images, classes = glyphs(count, seed + more)
        write_idx(folder / f"{name}-images-idx3-ubyte{end}", images)
        write_idx(folder / f"{name}-labels-idx1-ubyte{end}", classes)


def write_table(folder: Path) -> None:
    """`labels.parquet` with every kind of column, images of several sizes, some values empty."""
    random, rows = np.random.default_rng(6), []
    for i in range(20):
        size = (16 + i % 3, 20 + i % 2)
        save_picture(folder / "img" / f"{i}.png", random.integers(0, 256, (*size, 3), np.uint8))
        ground = random.integers(0, 4, size).astype(np.uint8)
        ground[0] = 255
        save_picture(folder / "ground" / f"{i}.png", ground)
        save_picture(folder / "far" / f"{i}.png", random.integers(0, 9000, size).astype(np.uint16))
        save_array(folder / "normals" / f"{i}.npy", unit_normals(random, size))
        row = {"file": f"img/{i}.png", "scene": i % 3, "indoor": i % 2, "night": float(i % 5 == 0)}
        row |= {"ground": f"ground/{i}.png", "far": f"far/{i}.png", "normals": f"normals/{i}.npy"}
        row |= {"house": f"house {i % 7}", "part": ("train", "validation", "test")[i % 3]}
        rows.append(row)
    rows[2]["scene"] = rows[3]["indoor"] = rows[4]["ground"] = rows[5]["far"] = None
    pq.write_table(pa.Table.from_pylist(rows), folder / "labels.parquet")

"""Lists of files become data sets: what is held out, augmented, fingerprinted and refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.errors import ConfigError, DataError
from recmtl.vision.data import open_images
from recmtl.vision.data.augment import Augment
from recmtl.vision.data.examples import Example, ImageTask
from recmtl.vision.data.source import (
    FileLayout,
    FileSplit,
    fingerprint,
    hold_out,
    select_tasks,
)
from tests.unit.vision.data.archives import write_mnist, write_mtan_cityscapes, write_mtan_nyu


@given(st.integers(2, 300), st.floats(0.01, 0.99), st.integers(0, 9), st.lists(st.integers(0, 20)))
def test_parts_are_disjoint_and_whole(count: int, share: float, seed: int, tail: list[int]) -> None:
    groups = [*range(2), *(tail + [0] * count)][:count]
    for given_groups in (None, groups):
        kept, held = hold_out(count, share, seed, groups=given_groups)
        assert len(kept) and len(held)
        assert np.array_equal(np.sort(np.concatenate([kept, held])), np.arange(count))
        if given_groups is None:
            assert abs(len(held) - share * count) <= 1
        else:
            assert not {groups[i] for i in kept} & {groups[i] for i in held}
        again = hold_out(count, share, seed, groups=given_groups)
        assert np.array_equal(again[1], held)


def test_seeds_differ() -> None:
    assert len({tuple(hold_out(50, 0.2, seed)[1]) for seed in range(10)}) == 10


@pytest.mark.parametrize(
    ("count", "share", "groups"),
    [(1, 0.5, None), (9, 0.0, None), (9, 1.0, None), (9, 0.5, "a" * 9)],
)
def test_what_cannot_be_parted_is_refused(count: int, share: float, groups: str | None) -> None:
    with pytest.raises(ConfigError, match="cannot be held out"):
        hold_out(count, share, 0, groups=groups)


class Squares:
    """Entry -> an image of one colour, read from a file of one byte."""

    tasks = (ImageTask("kind", "classification", 9),)

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, entry: str, /) -> Example:
        value = int((self.folder / entry).read_bytes()[0])
        return Example(np.full((3, 2, 4), value / 10, np.float32), (np.array(value),))


def write_squares(folder: Path, count: int = 8) -> list[str]:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        (folder / f"{number}.bin").write_bytes(bytes([number]))
    return [f"{number}.bin" for number in range(count)]


def plus(amount: float) -> Augment:
    def step(example: Example, tasks: object, random: np.random.Generator) -> Example:
        return replace(example, image=example.image + np.float32(amount))

    return step


def times(amount: float) -> Augment:
    def step(example: Example, tasks: object, random: np.random.Generator) -> Example:
        return replace(example, image=example.image * np.float32(amount))

    return step


def test_steps_are_applied_in_order_and_only_with_a_generator(tmp_path: Path) -> None:
    names = write_squares(tmp_path)
    reader = Squares(tmp_path)
    split = FileSplit(names, reader, reader.tasks, (plus(1.0), times(2.0)))
    assert len(split) == 8
    assert split.example(3, None).image.max() == pytest.approx(0.3)
    augmented = split.example(3, np.random.default_rng(0))
    assert augmented.image.max() == pytest.approx(2.6)
    assert augmented.targets[0] == 3 and augmented.image.flags.c_contiguous


def test_a_layout_holds_out_validation_from_train_and_leaves_test_alone(tmp_path: Path) -> None:
    names = write_squares(tmp_path)
    layout = FileLayout("squares", Squares(tmp_path), lambda entry: (entry,), (plus(1.0),))
    images = layout.held_out(names[:6], names[6:], validation=0.34, seed=0)
    parts = [images.train, images.validation, images.test]
    kinds = [[int(s.example(i, None).targets[0]) for i in range(len(s))] for s in parts]
    assert [len(part) for part in kinds] == [4, 2, 2] and kinds[2] == [6, 7]
    assert sorted(kinds[0] + kinds[1]) == list(range(6))
    assert images.size == (2, 4) and images.name == "squares"
    for split, moves in zip(parts, (True, False, False), strict=True):
        shown = split.example(0, np.random.default_rng(0)).image
        assert (shown.max() >= 1.0) == moves, "only train images are augmented"


def test_groups_are_ignored_if_there_is_only_one(tmp_path: Path) -> None:
    names = write_squares(tmp_path)
    layout = FileLayout("squares", Squares(tmp_path), lambda entry: (entry,))

    def sizes(group: Callable[[str], str]) -> tuple[int, int]:
        images = layout.held_out(names[:6], names[6:], validation=0.34, seed=0, group=group)
        return len(images.train), len(images.validation)

    assert sizes(lambda entry: "one") == (4, 2)
    assert sizes(lambda entry: str(int(entry[0]) // 3)) == (3, 3)


BASE = {"parts": [["0.bin", "1.bin"], ["2.bin"]], "facts": {"name": "squares"}}


@pytest.mark.parametrize(
    "change",
    [
        {"parts": [["1.bin", "0.bin"], ["2.bin"]]},
        {"parts": [["0.bin"], ["1.bin", "2.bin"]]},
        {"parts": [["0.bin", "1.bin"], ["3.bin"]]},
        {"parts": [["0.bin", "1.bin"], ["2.bin"], []]},
        {"facts": {"name": "circles"}},
    ],
    ids=["order", "division", "names", "parts", "facts"],
)
def test_whatever_tells_sets_apart_changes_the_fingerprint(
    change: dict[str, Any], tmp_path: Path
) -> None:
    write_squares(tmp_path)
    first, other = (fingerprint(tmp_path, **(BASE | more)) for more in ({}, change))
    assert first != other


def test_a_fingerprint_sees_sizes_and_not_the_folder(tmp_path: Path) -> None:
    prints = []
    for folder in ("here", "there"):
        write_squares(tmp_path / folder)
        prints.append(fingerprint(tmp_path / folder, **BASE))
    assert prints[0] == prints[1]
    (tmp_path / "there" / "1.bin").write_bytes(b"ab")
    assert fingerprint(tmp_path / "there", **BASE) != prints[0]
    (tmp_path / "there" / "2.bin").unlink()
    with pytest.raises(DataError, match=r"2\.bin: is missing; check the folder"):
        fingerprint(tmp_path / "there", **BASE)


# Results store fingerprints: a study that was started with one of these must be continued with it.
STORED_FINGERPRINTS = {
    "cityscapes_mtan": "a8b9c91ff4ea128d1744b81819a9b937",
    "nyuv2_mtan": "3125fb777324b5297f8e9eede9d41261",
    "multi_mnist": "246aba7246dbbe5e087ca77f9509dcf9",
    "multi_fashion_mnist": "a3c939c6a08e568336e069ff48819578",
}


@pytest.mark.parametrize("reader", STORED_FINGERPRINTS)
def test_fingerprints_are_those_of_the_first_release(reader: str, tmp_path: Path) -> None:
    write_mtan_cityscapes(tmp_path) if reader.startswith("city") else write_mtan_nyu(tmp_path)
    write_mnist(tmp_path / "mnist")
    write_mnist(tmp_path / "fashion_mnist", packed=False, train=60, seed=2)
    options = {"augment": True} if reader == "cityscapes_mtan" else {}
    assert open_images(reader, tmp_path, options).fingerprint == STORED_FINGERPRINTS[reader]


AVAILABLE = {name: ImageTask(name, "depth") for name in ("far", "near", "wide")}


def test_tasks_come_in_the_order_of_their_names() -> None:
    assert [t.name for t in select_tasks(AVAILABLE, ("wide", "far"))] == ["wide", "far"]


@pytest.mark.parametrize("names", [(), ("far", "far"), ("far", "fat")])
def test_tasks_that_cannot_be_selected_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"must be some of \['far', 'near', 'wide'\], each once"):
        select_tasks(AVAILABLE, names)


@given(st.integers(2, 200), st.floats(0.01, 0.99))
def test_without_groups_the_share_is_met_to_one_example(count: int, share: float) -> None:
    held = hold_out(count, share, 0)[1]
    assert 1 <= len(held) <= count - 1
    assert abs(len(held) - round(share * count)) <= 1


@given(st.lists(st.sampled_from("abc"), min_size=3, max_size=30), st.integers(0, 5))
def test_groups_are_held_out_whole_whatever_they_are_called(groups: list[str], seed: int) -> None:
    if len(set(groups)) < 2:
        return
    held = hold_out(len(groups), 0.4, seed, groups=groups)[1]
    renamed = hold_out(len(groups), 0.4, seed, groups=[("g", name) for name in groups])[1]
    assert np.array_equal(held, renamed)
    assert {groups[i] for i in held}.isdisjoint({g for i, g in enumerate(groups) if i not in held})

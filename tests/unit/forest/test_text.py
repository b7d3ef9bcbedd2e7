"""Only text of finite trees reaches LightGBM's reader, which trusts every number."""

import re
from collections.abc import Callable
from dataclasses import replace

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmtl.forest.grow import grow
from recmtl.forest.settings import ForestSettings
from recmtl.forest.task_rows import TaskRows
from recmtl.forest.text import check_forest_text, forest_text, mean_text

FEW = ForestSettings(rounds=3, leaves=6, smallest_leaf=2, tune=False)


def text_of(kind: str, classes: int = 0, few: ForestSettings = FEW) -> str:
    """A forest over one category and one number, which both matter."""
    random = np.random.default_rng(0)
    x = np.stack([random.integers(0, 3, 400), random.normal(size=400)], 1).astype(np.float32)
    score = 2.0 * (x[:, 0] == 1) + x[:, 1]
    label = np.digitize(score, (-0.5, 0.7)) if classes else score > 0
    rows = TaskRows(x, label.astype(np.float64), np.ones(400))
    none = TaskRows(x[:0], np.zeros(0), np.ones(0))
    facts = {"settings": few, "categories": [0], "classes": classes, "threads": 1, "seed": 0}
    return forest_text(grow(kind, rows, none, **facts))  # type: ignore[arg-type]


BINARY, MULTICLASS = text_of("binary"), text_of("multiclass", 3)


def resized(change: Callable[[str], str]) -> str:
    """The text with another first tree, whose size is stated as it then is."""
    head, _, rest = BINARY.partition("\n\n")
    sizes = re.search(r"tree_sizes=(.*)", head)
    assert sizes is not None
    size = int(sizes[1].split()[0])
    tree = change(rest[:size])
    head = head.replace(sizes[1], " ".join([str(len(tree)), *sizes[1].split()[1:]]))
    return f"{head}\n\n{tree}{rest[size:]}"


def with_value(key: str, place: int, value: str) -> str:
    def change(tree: str) -> str:
        line = re.search(rf"^{key}=(.*)$", tree, re.MULTILINE)
        assert line is not None, key
        values = line[1].split()
        values[place] = value
        return tree[: line.start(1)] + " ".join(values) + tree[line.end(1) :]

    return resized(change)


def test_what_lightgbm_writes_passes() -> None:
    assert "num_cat=0" not in BINARY.partition("Tree=1")[0], "categories are split"
    check_forest_text(BINARY, columns=2, outputs=1)
    check_forest_text(MULTICLASS, columns=2, outputs=3)
    check_forest_text(resized(lambda tree: tree), columns=2, outputs=1)


def test_a_node_that_parts_missing_values_from_all_others_passes() -> None:
    """Its threshold is infinite; a node of categories has no such set."""
    x = np.random.default_rng(0).normal(size=(400, 2)).astype(np.float32)
    x[::4, 1] = np.nan
    rows = TaskRows(x, np.isnan(x[:, 1]).astype(np.float64), np.ones(400))
    none = TaskRows(x[:0], np.zeros(0), np.ones(0))
    facts = {"settings": FEW, "categories": [], "classes": 0, "threads": 1, "seed": 0}
    booster = grow("binary", rows, none, **facts)  # type: ignore[arg-type]
    text = forest_text(booster)
    assert re.search(r"^threshold=(?:.* )?inf\b", text, re.MULTILINE)
    check_forest_text(text, columns=2, outputs=1)
    again = lightgbm.Booster(model_str=text).predict(x, raw_score=True)
    np.testing.assert_array_equal(again, booster.predict(x, raw_score=True))
    assert again[0] > again[1]
    with pytest.raises(ValueError, match="tree 0"):
        check_forest_text(with_value("threshold", 1, "inf"), columns=2, outputs=1)


def test_a_forest_of_one_leaf_passes() -> None:
    """LightGBM grows it where no split gains enough."""
    settings_of_stump = replace(FEW, smallest_leaf=400)
    x = np.zeros((400, 2), np.float32)
    rows = TaskRows(x, (np.arange(400) % 3 == 0).astype(np.float64), np.ones(400))
    facts = {"settings": settings_of_stump, "categories": [], "classes": 0, "threads": 1, "seed": 0}
    none = TaskRows(x[:0], np.zeros(0), np.ones(0))
    booster = grow("binary", rows, none, **facts)  # type: ignore[arg-type]
    text = forest_text(booster)
    assert "num_leaves=1\n" in text
    check_forest_text(text, columns=2, outputs=1)
    again = lightgbm.Booster(model_str=text).predict(x, raw_score=True)
    np.testing.assert_array_equal(again, booster.predict(x, raw_score=True))


@pytest.mark.parametrize(
    ("columns", "outputs", "message"),
    [(1, 1, "reads 2 columns, and a row has 1"), (3, 1, "a row has 3"), (2, 3, "its header")],
)
def test_other_columns_or_outputs_are_refused(columns: int, outputs: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_forest_text(BINARY, columns=columns, outputs=outputs)


@pytest.mark.parametrize(
    ("key", "place", "value"),
    [
        ("left_child", 0, "0"), ("left_child", 0, "999"), ("right_child", -1, "0"),
        ("right_child", 0, "-999"), ("split_feature", 0, "2"), ("split_feature", 0, "-1"),
        ("leaf_value", 0, "nan"), ("leaf_value", 0, "inf"), ("leaf_value", 0, "1 2"),
        ("num_leaves", 0, "7"), ("num_leaves", 0, "-1"), ("num_leaves", 0, "99999999999"),
        ("num_cat", 0, "0"), ("num_cat", 0, "9"), ("cat_boundaries", -1, "999"),
        ("cat_boundaries", 0, "-1"), ("decision_type", 0, "1 1"), ("threshold", 0, ""),
        ("is_linear", 0, "1"),
    ],
)  # fmt: skip
def test_numbers_that_are_no_trees_are_refused(key: str, place: int, value: str) -> None:
    with pytest.raises(ValueError, match=r"(tree 0|line .*) is no forest's"):
        check_forest_text(with_value(key, place, value), columns=2, outputs=1)


def test_a_set_of_categories_that_is_not_there_is_refused() -> None:
    kinds = re.search(r"^decision_type=(.*)$", BINARY, re.MULTILINE)
    assert kinds is not None
    place = next(i for i, kind in enumerate(kinds[1].split()) if int(kind) & 1)
    for value in ("-1", "99", "0.5"):
        with pytest.raises(ValueError, match="tree 0 is"):
            check_forest_text(with_value("threshold", place, value), columns=2, outputs=1)


def test_two_lines_of_one_name_are_refused() -> None:
    text = resized(lambda tree: tree.replace("num_leaves=", "num_leaves=2\nnum_leaves="))
    with pytest.raises(ValueError, match="line 'num_leaves'"):
        check_forest_text(text, columns=2, outputs=1)


@settings(max_examples=200)
@given(st.integers(0, len(BINARY) - 1), st.sampled_from("0919-. =\nx\r"))
def test_any_byte_may_be_another(place: int, byte: str) -> None:
    """Either it is refused, or a forest of finite trees over the same columns is left."""
    text = BINARY[:place] + byte + BINARY[place + 1 :]
    try:
        check_forest_text(text, columns=2, outputs=1)
    except (ValueError, KeyError, OverflowError):
        return
    assert len(text) == len(BINARY)


@pytest.mark.parametrize(("kind", "classes"), [("binary", 0), ("regression", 0), ("multiclass", 3)])
def test_the_mean_of_forests_is_one_forest_that_answers_their_mean(kind: str, classes: int) -> None:
    """Of other numbers of trees, one of them a single leaf."""
    changes: tuple[dict[str, int], ...] = ({}, {"rounds": 5}, {"rounds": 1, "smallest_leaf": 399})
    texts = [text_of(kind, classes, replace(FEW, **change)) for change in changes]
    mean = mean_text(texts)
    check_forest_text(mean, columns=2, outputs=max(classes, 1))
    random = np.random.default_rng(1)
    x = np.stack([random.integers(0, 4, 50), random.normal(size=50)], 1).astype(np.float32)
    one, *parts = (
        lightgbm.Booster(model_str=text).predict(x, raw_score=True) for text in (mean, *texts)
    )
    np.testing.assert_allclose(one, np.mean(parts, axis=0), rtol=1e-13, atol=1e-13)
    assert mean_text(texts[:1]) == texts[0]

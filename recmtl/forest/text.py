"""LightGBM's text of a forest: its trees alone, and checked before LightGBM reads them.

LightGBM's reader trusts every number, and ends the process at some letters of its parameters.
A child that points outside of its tree, or back to its parent, would read foreign memory or never
end. What passes here is a forest of finite trees over so many columns.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import lightgbm
import numpy as np
from numpy.typing import NDArray

__all__ = ["check_forest_text", "forest_text", "mean_text"]

Lines: TypeAlias = Mapping[str, str]
IS_CATEGORICAL = 1
"""The bit of a node's `decision_type` that says that it asks for categories."""
Numbers: TypeAlias = NDArray[Any]


END = "end of trees\n"
SCALARS = ("num_leaves", "num_cat", "is_linear", "shrinkage")
OF_NODES = (
    *("split_feature", "split_gain", "threshold", "decision_type", "left_child", "right_child"),
    *("internal_value", "internal_weight", "internal_count"),
)
OF_LEAVES = ("leaf_value", "leaf_weight", "leaf_count")
OF_SETS = ("cat_boundaries", "cat_threshold")
INTEGERS = re.compile(r"-?\d{1,18}(?: -?\d{1,18})*")
FLOAT = r"-?\d+(?:\.\d+)?(?:e[-+]?\d+)?"
FLOATS = re.compile(f"{FLOAT}(?: {FLOAT})*")
THRESHOLDS = re.compile(f"(?:{FLOAT}|inf)(?: (?:{FLOAT}|inf))*")
"""A node that parts missing values from all others has the threshold `inf`."""


def forest_text(booster: lightgbm.Booster) -> str:
    """The trees that a booster predicts with, without the parameters by which they were grown."""
    head, _, rest = booster.model_to_string().partition("\n\n")
    lines = _lines(head)
    outputs, columns = int(lines["num_tree_per_iteration"]), int(lines["max_feature_idx"]) + 1
    header = _header(columns, outputs, lines["objective"], lines["tree_sizes"])
    return f"{header}\n\n{rest[: rest.index(END) + len(END)]}"


def mean_text(texts: Sequence[str]) -> str:
    """One forest whose answer is the mean of those of several forests of the same columns.

    It has the trees of all of them, with the values of their leaves divided by their number.
    """
    if len(texts) == 1:
        return texts[0]
    blocks = list[str]()
    for text in texts:
        head, _, rest = text.partition("\n\n")
        lines, first = _lines(head), 0
        for size in map(int, lines["tree_sizes"].split(" ")):
            block = rest[first : first + size]
            blocks.append(_scaled_tree(block, len(blocks), 1 / len(texts)))
            first += size
    columns, outputs = int(lines["max_feature_idx"]) + 1, int(lines["num_tree_per_iteration"])
    sizes = " ".join(str(len(block)) for block in blocks)
    header = _header(columns, outputs, lines["objective"], sizes)
    return f"{header}\n\n{''.join(blocks)}{END}"


def _scaled_tree(block: str, number: int, factor: float) -> str:
    """A tree with another number, and the values of its nodes and leaves times a factor."""
    lines = dict(_lines(block[:-3])) | {"Tree": str(number)}
    for key in ("leaf_value", "internal_value"):
        values = lines[key].split(" ") if lines.get(key) else []
        lines[key] = " ".join(repr(float(value) * factor) for value in values)
    return "\n".join(f"{key}={value}" for key, value in lines.items()) + "\n\n\n"


def check_forest_text(text: str, *, columns: int, outputs: int) -> None:
    """Refuse text that is no forest of trees over these columns.

    Args:
        text: what LightGBM is to read.
        columns: number of columns F of the rows that a forest is evaluated on.
        outputs: number of logits of a row.

    Raises:
        ValueError: it is something else.
    """
    # The sizes count bytes, so all of it has to be ASCII.
    _require(text.isascii() and "\r" not in text, "its text")
    head, _, rest = text.partition("\n\n")
    lines = _lines(head)
    read = _number(lines, "max_feature_idx") + 1
    if read != columns:
        raise ValueError(f"it reads {read} columns, and a row has {columns}")
    objectives = ("binary sigmoid:1", "regression", f"multiclass num_class:{outputs}")
    _require(lines["objective"] in objectives, "its header")
    _require(
        head == _header(columns, outputs, lines["objective"], lines["tree_sizes"]), "its header"
    )
    sizes = _integers(lines, "tree_sizes", lines["tree_sizes"].count(" ") + 1)
    _require(len(sizes) % outputs == 0 and sizes.min() > 0, "its header")
    first = 0
    for number, size in enumerate(sizes.tolist()):
        block, first = rest[first : first + size], first + size
        whole = block.startswith(f"Tree={number}\n") and block.endswith("\n\n\n")
        _require(whole, f"tree {number}")
        _check_tree(_lines(block[:-3]), columns, f"tree {number}")
    _require(rest[first:] == END, "its end")


def _header(columns: int, outputs: int, objective: str, sizes: str) -> str:
    """What stands before the trees; no tree needs what LightGBM notes of its columns there."""
    lines = {
        "version": "v4",
        "num_class": outputs,
        "num_tree_per_iteration": outputs,
        "label_index": 0,
        "max_feature_idx": columns - 1,
        "objective": objective,
        "feature_names": " ".join(f"Column_{number}" for number in range(columns)),
        "feature_infos": " ".join(["none"] * columns),
        "tree_sizes": sizes,
    }
    return "\n".join(["tree", *(f"{key}={value}" for key, value in lines.items())])


def _check_tree(lines: Lines, columns: int, name: str) -> None:
    leaves, sets = _number(lines, "num_leaves"), _number(lines, "num_cat")
    _require(leaves >= 1 and sets >= 0 and lines.get("is_linear") == "0", name)
    _require(lines.keys() <= {"Tree", *SCALARS, *OF_NODES, *OF_LEAVES, *OF_SETS}, name)
    _floats(lines, "shrinkage", 1)
    leaf_values = _floats(lines, "leaf_value", leaves)
    _require(bool(np.isfinite(leaf_values).all()), name)
    nodes = leaves - 1
    if not nodes:
        empty = all(lines.get(key, "") == "" for key in (*OF_NODES, *OF_SETS))
        others = [lines.get(key, "") for key in OF_LEAVES[1:]]
        numbers = all(value == "" or FLOATS.fullmatch(value) is not None for value in others)
        _require(empty and numbers and sets == 0, name)
        return
    for key in OF_NODES:
        if key != "threshold":
            _floats(lines, key, nodes)
    for key in OF_LEAVES:
        _floats(lines, key, leaves)
    feature, kind, left, right = (
        _integers(lines, key, nodes)
        for key in ("split_feature", "decision_type", "left_child", "right_child")
    )
    _require(feature.min() >= 0 and feature.max() < columns, name)
    # Every leaf, and every node but the root, is the child of one node that stands before it.
    children = np.stack([left, right], 1)
    expected = np.concatenate([np.arange(-leaves, 0), np.arange(1, nodes)])
    _require(np.array_equal(np.sort(children, None), expected), name)
    later = (children < 0) | (children > np.arange(nodes)[:, None])
    _require(bool(later.all()), name)
    thresholds = _numbers(lines, "threshold", THRESHOLDS, nodes).astype(np.float64)
    _check_categories(lines, thresholds[(kind & IS_CATEGORICAL) > 0], sets, name)


def _check_categories(lines: Lines, named_sets: Numbers, count: int, name: str) -> None:
    """Check the sets of categories, and that every node which asks for a set names one of them."""
    if count:
        bounds = _integers(lines, "cat_boundaries", count + 1)
        _require(bounds[0] == 0 and bool((np.diff(bounds) > 0).all()), name)
        words = _integers(lines, "cat_threshold", int(bounds[-1]))
        _require(bool(((words >= 0) & (words < 2**32)).all()), name)
    numbered = (named_sets >= 0) & (named_sets < count) & (named_sets == np.floor(named_sets))
    _require(bool(numbered.all()), name)


def _lines(block: str) -> Lines:
    lines: dict[str, str] = {}
    for line in block.split("\n"):
        key, _, value = line.partition("=")
        _require(key not in lines, f"line {key!r:.40}")
        lines[key] = value
    return lines


def _number(lines: Lines, key: str) -> int:
    return int(_integers(lines, key, 1)[0])


def _integers(lines: Lines, key: str, count: int) -> Numbers:
    return _numbers(lines, key, INTEGERS, count).astype(np.int64)


def _floats(lines: Lines, key: str, count: int) -> Numbers:
    return _numbers(lines, key, FLOATS, count).astype(np.float64)


def _numbers(lines: Lines, key: str, form: re.Pattern[str], count: int) -> Numbers:
    """The words of a line, each written as a number."""
    words = lines[key].split(" ")
    _require(len(words) == count and form.fullmatch(lines[key]) is not None, f"line {key!r}")
    return np.array(words)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"{what} is no forest's")

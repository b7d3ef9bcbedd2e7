"""Callers' frames and arguments: the same answer for every kind, one line for what is wrong."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.errors import ConfigError, DataError
from recmtl.serve.arguments import (
    as_array,
    as_column_list,
    as_instance,
    as_mapping,
    as_path,
    as_share,
    as_whole_number,
    short_repr,
)
from recmtl.serve.frames import (
    column_names,
    require_columns,
    row_count,
    scores_as_frame,
    take_rows,
    to_arrow,
)

TABLE = pa.table({"item": ["a", "b", None, "d"], "price": [1.5, None, 3.0, 4.0], "n": [1, 2, 3, 4]})
FRAMES = {
    "arrow": TABLE,
    "batch": TABLE.to_batches()[0],
    "pandas": TABLE.to_pandas().set_index(pd.Index([7, 5, 3, 1])),
    "dict": {name: TABLE[name].to_pylist() for name in TABLE.column_names},
    "arrays": {name: TABLE[name].combine_chunks() for name in TABLE.column_names},
}


@pytest.mark.parametrize("kind", FRAMES)
def test_every_kind_of_frame_is_read_alike(kind: str) -> None:
    frame = FRAMES[kind]
    assert column_names(frame) == ["item", "price", "n"]
    assert row_count(frame) == 4
    assert to_arrow(frame, ["n", "price"]).equals(TABLE.select(["n", "price"]))
    assert to_arrow(frame, []).num_columns == 0


def test_no_columns_are_no_rows() -> None:
    assert row_count({}) == 0
    assert column_names(pd.DataFrame()) == []


@given(
    st.lists(st.integers(0, 3), max_size=6), st.lists(st.sampled_from(["item", "n"]), unique=True)
)
def test_every_kind_of_frame_gives_the_same_rows_back(rows, keep):
    chosen = np.array(rows, np.int64)
    scores = {"p": np.linspace(0.0, 1.0, 4), "rank": np.arange(4)}
    expected = {name: [TABLE[name][row].as_py() for row in rows] for name in keep}
    expected |= {name: values[chosen].tolist() for name, values in scores.items()}
    for kind, frame in FRAMES.items():
        taken = take_rows(frame, chosen, keep, scores)
        assert list(taken.keys() if isinstance(taken, dict) else column_names(taken)) == [
            *keep,
            *scores,
        ]
        assert isinstance(taken, pa.Table if kind == "batch" else type(frame))
        table = pa.table(taken) if isinstance(taken, dict) else to_arrow(taken, [*keep, *scores])
        assert table.to_pydict() == expected, kind


def test_pandas_keeps_its_index_and_the_callers_frame_its_columns() -> None:
    frame = FRAMES["pandas"]
    taken = take_rows(frame, np.array([2, 0]), ["n"], {"n2": np.arange(4.0)})
    assert taken.index.tolist() == [3, 7]
    assert list(frame.columns) == ["item", "price", "n"]
    assert scores_as_frame(frame, {"p": np.zeros(4)}).index.equals(frame.index)


@pytest.mark.parametrize("kind", FRAMES)
def test_scores_come_back_in_the_kind_of_frame(kind: str) -> None:
    scores = scores_as_frame(FRAMES[kind], {"p": np.arange(4.0)})
    assert isinstance(scores, pa.Table if kind == "batch" else type(FRAMES[kind]))
    assert list(scores["p"]) == [0.0, 1.0, 2.0, 3.0] or scores["p"].to_pylist() == [0, 1, 2, 3]


def test_lists_of_several_lengths_are_kept_as_they_are() -> None:
    frame = {"history": [["a"], [], ["b", "c"]]}
    taken = take_rows(frame, np.array([2, 1]), ["history"], {"p": np.zeros(3)})
    assert taken["history"].tolist() == [["b", "c"], []]


@pytest.mark.parametrize("values", [[1, 2], 5, [[1], [2, 3]]])
def test_a_kept_column_of_another_length_is_named(values: object) -> None:
    with pytest.raises(DataError, match="column 'x' has not one value a row; leave it out"):
        take_rows({"x": values}, np.array([0]), ["x"], {"p": np.zeros(3)})


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ([1], "cannot read rows from a list: give a pandas or polars DataFrame"),
        (pd.Series([1]), "cannot read rows from a Series"),
        ({1: [2]}, "input: the name of column 1 is of type int; rename it to text"),
        (pd.DataFrame({None: [1]}), "the name of column None is of type NoneType; rename it"),
        ({"item": [1, 2], "price": [1]}, "its columns differ in length; give one value a row"),
        ({"item": [1], "price": ["a", 1]}, "column 'price' mixes types"),
        ({"item": [1], "price": [10**30]}, "column 'price' mixes types"),
        ({"item": [1], "prise": [1]}, "has no column 'price'; did you mean 'prise'"),
        ({"item": [1], "x": [1]}, "has no column 'price'; add it, or rename the one meant"),
        (pd.DataFrame([[1, 2, 3]], columns=["item", "price", "price"]), "'price' stands twice"),
    ],
)  # fmt: skip
def test_frames_that_cannot_be_read_are_refused_in_one_line(frame: Any, message: str) -> None:
    with pytest.raises(DataError, match=message) as raised:
        to_arrow(frame, ["item", "price"])
    assert "\n" not in str(raised.value)


def test_only_columns_that_are_needed_are_looked_at() -> None:
    require_columns(["a"], ["a", "b", "b"], source="input")
    assert to_arrow({"a": [1], "b": [object()]}, ["a"]).to_pydict() == {"a": [1]}


@given(st.one_of(st.text(), st.binary(), st.integers(), st.lists(st.text()), st.floats()))
def test_any_value_fits_one_line(value):
    text = short_repr(value)
    assert len(text) <= 80 and len(text.splitlines()) <= 1


def test_short_values_are_shown_whole_and_long_ones_cut() -> None:
    assert short_repr("x" * 78) == repr("x" * 78)
    assert short_repr("x" * 79) == "'" + "x" * 76 + "..."


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (lambda v: as_whole_number("a", v, least=1, most=5), [1, 5, np.int64(3), np.uint8(2)],
         [0, 6, 1.0, True, np.bool_(True), "1", None, np.array(2)]),
        (lambda v: as_share("a", v), [0, 1, 0.5, np.float32(0.25)],
         [-0.1, 1.1, float("nan"), True, "0.5", None, 1j, Decimal("0.5")]),
        (lambda v: as_path("a", v), ["runs/a", Path("b"), "models:/shop@champion"],
         ["", "a\nb", "a\rb", "a\0b", b"a", None, 3]),
        (lambda v: as_instance("a", v, int), [1, True], ["1", 1.0, None]),
    ],
)  # fmt: skip
def test_settings_are_accepted_or_named(check: Any, good: list[Any], bad: list[Any]) -> None:
    assert [check(value) for value in good] == good
    for value in bad:
        with pytest.raises(ConfigError, match=r"^a is .*; give a "):
            check(value)


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (as_column_list, [["a", "b"], ("a",), [], {"a"}], ["ab", b"ab", {"a": 1}, [1], [None], 3]),
        (as_mapping, [{"a": 1}, {}], [[("a", 1)], {1: 2}, None, "a"]),
        (
            as_array,
            [[1, 2], np.zeros(3), pd.Series([1])],
            [1, "a", np.zeros((2, 2)), [[1], [1, 2]]],
        ),
    ],
)
def test_columns_are_accepted_or_named(check: Any, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        assert list(check("a", value)) == list(value)
    for value in bad:
        with pytest.raises(DataError, match=r"^a is .*; give "):
            check("a", value)


def test_whole_numbers_lose_their_numpy_type() -> None:
    assert type(as_whole_number("a", np.int32(3), least=0, most=9)) is int
    assert type(as_share("a", 1)) is float

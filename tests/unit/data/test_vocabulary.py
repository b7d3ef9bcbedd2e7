"""Vocabularies: look-ups against a plain dictionary, order and rows, counts batch by batch."""

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.data.columns.keys import category_keys
from recmtl.data.columns.vocabulary import FEW, PARTS, KeyIndex, Vocabulary, VocabularyFit
from recmtl.errors import DataError, SourceLocation

BATCHES = 3 * PARTS + 7


def test_counts_of_many_small_batches_are_those_of_the_whole() -> None:
    dice, fit = np.random.default_rng(0), VocabularyFit("x", min_count=1, buckets=None)
    column, most = dice.integers(0, 9, size=BATCHES * 5), 0
    for batch in np.split(column, BATCHES):
        fit.add(category_keys(pa.array(batch), "x", SourceLocation()), "x", SourceLocation())
        most = max(most, len(fit._counted))
    values, counts = np.unique(column, return_counts=True)
    assert fit.counts() == dict(zip(values.tolist(), counts.tolist(), strict=True))
    assert most <= PARTS


INT64 = st.integers(-(2**63), 2**63 - 1)
NEAR = st.integers(-50, 50)
COLUMNS = st.one_of(
    st.lists(NEAR, unique=True, max_size=20), st.lists(INT64, unique=True, max_size=20)
)
PLACE = SourceLocation("here")


@given(COLUMNS, st.lists(st.one_of(NEAR, INT64), max_size=20))
def test_an_index_finds_what_a_dictionary_finds(known: list[int], wanted: list[int]) -> None:
    index, plain = KeyIndex(pa.array(known, pa.int64())), {v: i for i, v in enumerate(known)}
    wanted = [*wanted, *known[:5]]
    expected = [plain.get(value, -1) for value in wanted]
    assert index.find(pa.array(wanted, pa.int64())).tolist() == expected
    assert [index.find_one(value) for value in wanted] == expected


@given(st.lists(st.text(max_size=3), unique=True, max_size=9), st.lists(st.text(max_size=3)))
def test_an_index_of_texts_finds_what_a_dictionary_finds(
    known: list[str], wanted: list[str]
) -> None:
    index, plain = KeyIndex(pa.array(known, pa.string())), {v: i for i, v in enumerate(known)}
    expected = [plain.get(value, -1) for value in wanted]
    assert index.find(pa.array(wanted, pa.string())).tolist() == expected
    assert [index.find_one(value) for value in wanted] == expected
    assert not index.is_dense


def fitted(values: list[Any], kind: Any, **options: Any) -> Vocabulary:
    fit = VocabularyFit("x", **({"min_count": 1, "buckets": None} | options))
    fit.add(category_keys(pa.array(values, kind), "x", PLACE), "x", PLACE)
    return fit.finish(first=4)


@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=40), st.integers(1, 4))
def test_values_stand_by_falling_count_then_value(values: list[str], least: int) -> None:
    counts = Counter(values)
    expected = sorted(
        (value for value, count in counts.items() if count >= least),
        key=lambda value: (-counts[value], value),
    )
    vocabulary = fitted(values, pa.string(), min_count=least)
    assert vocabulary.values.to_pylist() == expected
    assert vocabulary.rows == 1 + len(expected)


@given(st.lists(st.none() | st.integers(-3, 9), max_size=30), st.sampled_from([None, 5]))
def test_one_value_has_the_row_that_a_column_of_it_has(
    values: list[int | None], buckets: int | None
) -> None:
    vocabulary = fitted([1, 1, 2, 7], pa.int64(), buckets=buckets)
    keys = category_keys(pa.array(values, pa.int64()), "x", PLACE)
    rows, unknown = vocabulary.rows_of(keys, "x", PLACE)
    alone = [vocabulary.first if value is None else vocabulary.row_of(value) for value in values]
    assert rows.tolist() == alone
    known = {1, 2, 7} if buckets is None else set(range(-3, 10))
    assert unknown == sum(value is not None and value not in known for value in values)
    assert ((rows >= vocabulary.first) & (rows < vocabulary.first + vocabulary.rows)).all()


@pytest.mark.parametrize("value", [True, 1.0, 2**63, b"1", None, "1"])
def test_a_value_of_another_type_has_no_row_by_itself(value: Any) -> None:
    assert fitted([1], pa.int64()).row_of(value) is None


def test_nothing_but_missing_values_makes_an_empty_vocabulary() -> None:
    for column in (pa.nulls(3), pa.array([None], pa.string())):
        fit = VocabularyFit("x", min_count=1, buckets=None)
        fit.add(category_keys(column, "x", PLACE), "x", PLACE)
        assert fit.counts() == {}
        vocabulary = fit.finish(first=9)
        assert (vocabulary.type, vocabulary.rows, len(vocabulary.values)) == ("int64", 1, 0)
        assert vocabulary.rows_of(category_keys(column, "x", PLACE), "x", PLACE)[0].tolist() == [
            9,
        ] * len(column)  # fmt: skip


def test_the_first_values_decide_the_type_of_a_vocabulary() -> None:
    fit = VocabularyFit("x", min_count=1, buckets=None)
    for column in (pa.nulls(2), pa.array([5, 6]), pa.array(["6", "7"])):
        fit.add(category_keys(column, "x", PLACE), "x", PLACE)
    assert fit.counts() == {5: 1, 6: 2, 7: 1}
    with pytest.raises(DataError, match="holds text such as 'seven' where whole numbers were"):
        fit.add(category_keys(pa.array(["seven"]), "x", PLACE), "x", PLACE)


def test_many_distinct_values_are_merged_early() -> None:
    fit = VocabularyFit("x", min_count=1, buckets=None)
    for start in range(0, 400_000, 100_000):
        column = pa.array(np.arange(start, start + 100_000))
        fit.add(category_keys(column, "x", PLACE), "x", PLACE)
    assert len(fit._counted) < 4
    assert len(fit.counts()) == 400_000


@pytest.mark.parametrize("rows", [1, FEW, FEW + 1, 3 * FEW])
def test_text_is_looked_up_alike_in_long_and_in_short_columns(rows: int) -> None:
    """Two tables answer: an index of pandas for many values, a dictionary for few."""
    draw = np.random.default_rng(rows)
    known = [f"é{number}" for number in draw.permutation(500)] + ["", "nan", "None"]
    index = KeyIndex(pa.array(known, pa.large_string()))
    wanted = [f"é{number}" for number in draw.integers(0, 700, rows)]
    wanted[: len(wanted) // 2 : 7] = [""] * len(wanted[: len(wanted) // 2 : 7])
    places = {text: place for place, text in enumerate(known)}
    expected = [places.get(text, -1) for text in wanted]
    for kind in (pa.string(), pa.large_string()):
        assert index.find(pa.array(wanted, kind)).tolist() == expected
    assert [index.find_one(text) for text in wanted[:9]] == expected[:9]

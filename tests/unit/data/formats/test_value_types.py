"""Types of text columns: the narrowest that every value has, in whatever order values come."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.data.formats.value_types import (
    ALL_TYPES,
    arrow_type,
    chosen_type,
    possible_types,
    typed,
)

WORDS = ["1", "-7", "0", "007", "1.5", "1e3", "true", "False", "2024-05-31", "NA", "x", "", None]
CASES = [
    (["1", "-2", "NA", None], "integer"),
    (["1", "2.5"], "float"),
    (["1e3", "inf", "-0.25"], "float"),
    (["007", "1"], "text"),
    (["-01"], "text"),
    (["0", "0.5", "-0"], "float"),
    (["18446744073709551615", "1"], "unsigned"),
    (["18446744073709551616"], "text"),
    (["-1", "18446744073709551615"], "text"),
    (["12345678901234567890", "0.5"], "text"),
    (["0x1F"], "text"),
    (["+49 30"], "text"),
    (["true", "FALSE", "null"], "boolean"),
    (["yes", "no"], "text"),
    (["2024-05-31", "1999-01-01"], "date"),
    (["2024-05-31", "2024-05-31 18:00:00.5"], "timestamp"),
    (["2024-05-31T18:00:00Z", "2024-05-31T18:00:00+02:00"], "zoned"),
    (["2024-05-31T18:00:00Z", "2024-05-31T18:00:00"], "text"),
    (["20240531"], "integer"),
    (["2024-13-31"], "text"),
    (["NA", "Namibia"], "text"),
    (["NA", None], "null"),
    ([None], "null"),
]


def kind(values: list[str | None]) -> str:
    return chosen_type(possible_types(pa.array(values, pa.string()), ALL_TYPES))


@pytest.mark.parametrize(("values", "name"), CASES)
def test_a_column_has_the_narrowest_type_of_all_its_values(
    values: list[str | None], name: str
) -> None:
    assert kind(values) == name
    column = typed(pa.array(values, pa.string()), name)
    assert column.type == arrow_type(name) and len(column) == len(values)


@given(st.lists(st.sampled_from(WORDS), max_size=6), st.integers(0, 6))
def test_types_of_parts_meet_in_the_type_of_the_whole(values: list[str | None], cut: int) -> None:
    parts = [values[:cut], values[cut:]]
    sets = [possible_types(pa.array(part, pa.string()), ALL_TYPES) for part in parts]
    assert chosen_type(sets[0] & sets[1]) == kind(values)
    in_turn = possible_types(pa.array(parts[1], pa.string()), sets[0])
    assert chosen_type(in_turn) == kind(values) == kind(values[::-1])


@given(st.lists(st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False), min_size=1))
def test_numbers_survive_as_they_are_written(values: list[float]) -> None:
    texts = pa.array([repr(value) for value in values], pa.string())
    name = chosen_type(possible_types(texts, ALL_TYPES))
    if name != "text":
        assert [float(v) for v in typed(texts, name).to_pylist()] == [float(v) for v in values]
        assert name == "float" or typed(texts, name).to_pylist() == values


def test_a_long_column_is_text_by_its_last_value_too() -> None:
    values = pa.array([*map(str, range(3000)), "x"], pa.string())
    assert possible_types(values, ALL_TYPES) == frozenset()
    assert chosen_type(possible_types(values.slice(0, 3000), ALL_TYPES)) == "integer"


def test_the_decimal_point_may_be_a_comma() -> None:
    values = pa.array(["1,5", "2", None, "NA"], pa.string())
    types = possible_types(values, ALL_TYPES, decimal=",")
    assert chosen_type(types) == "float"
    assert typed(values, "float", decimal=",").to_pylist() == [1.5, 2.0, None, None]
    assert kind(["1,5"]) == "text"

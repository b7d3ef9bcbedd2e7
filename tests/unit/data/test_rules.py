"""Rules of a schema: where they hold, and where nothing is known."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.data.columns.rules import satisfied
from recmtl.errors import DataError, SchemaError, SourceLocation
from recmtl.schema import Condition


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ({"at_most": 2}, [1, 1, 0, None]),
        ({"between": (2, 3)}, [0, 1, 1, None]),
        ({"between": (2.5, 2.5)}, [0, 0, 0, None]),
        ({"not_": (1, 3)}, [0, 1, 0, None]),
        ({"not_": 2}, [1, 0, 1, None]),
        ({"is_missing": True}, [0, 0, 0, 1]),
        ({"is_missing": False}, [1, 1, 1, 0]),
    ],
)
def test_each_rule_says_where_it_holds_and_where_nothing_is_known(
    rule: dict[str, Any], holds: list[int | None]
) -> None:
    for array in (pa.array([1, 2, 3, None]), pa.array([1.0, 2.0, 3.0, None], pa.float32())):
        met, missing = satisfied(Condition("x", **rule), array, SourceLocation())
        pairs = zip(met.tolist(), missing.tolist(), strict=True)
        assert [None if gap else int(hit) for hit, gap in pairs] == holds


@given(st.lists(st.none() | st.integers(-5, 5), max_size=20), st.integers(-5, 5))
def test_rules_that_are_opposites_share_the_rows(values: list[int | None], bound: int) -> None:
    array = pa.array(values, pa.int64())

    def rows(**rule: Any) -> Any:
        met, missing = satisfied(Condition("x", **rule), array, SourceLocation())
        return met & ~missing

    present = rows(is_missing=False)
    np.testing.assert_array_equal(rows(equals=bound) ^ rows(not_=bound), present)
    np.testing.assert_array_equal(rows(at_most=bound) ^ rows(at_least=bound + 1), present)
    both = rows(at_least=bound) & rows(at_most=bound + 2)
    np.testing.assert_array_equal(rows(between=(bound, bound + 2)), both)


@given(st.lists(st.none() | st.lists(st.integers(0, 5), max_size=4), max_size=20), st.data())
def test_a_list_contains_what_python_says(values: list[list[int] | None], data: Any) -> None:
    options = data.draw(st.lists(st.integers(0, 5), min_size=1, max_size=3))
    first = data.draw(st.integers(0, len(values)))
    rule = Condition("x", contains=tuple(options))
    for kind in (pa.int64(), pa.string()):
        as_text = pa.types.is_string(kind)
        written = [None if v is None else [str(i) if as_text else i for i in v] for v in values]
        array = pa.array(written, pa.list_(kind)).slice(first)
        of_kind = Condition("x", contains=tuple(map(str, options))) if as_text else rule
        met, missing = satisfied(of_kind, array, SourceLocation())
        kept = values[first:]
        assert missing.tolist() == [v is None for v in kept]
        assert met.tolist() == [bool(v and set(v) & set(options)) for v in kept]


def test_only_lists_contain_values() -> None:
    with pytest.raises(DataError, match=r"column 'x'.* and no lists.*write equals or one_of"):
        satisfied(Condition("x", contains="a"), pa.array(["a"]), SourceLocation())
    with pytest.raises(SchemaError, match="contains must not be empty"):
        Condition("x", contains=())
    with pytest.raises(DataError, match="compares it with 'a'"):
        satisfied(Condition("x", contains="a"), pa.array([[1]]), SourceLocation())

"""Rules of a schema: where they hold, and where nothing is known."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.data.columns.rules import satisfied
from recmtl.errors import SourceLocation
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

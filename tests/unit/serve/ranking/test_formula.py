"""A formula means what Python's own arithmetic means, and can do nothing else."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recmtl.errors import FormulaError
from recmtl.serve import Formula
from tests.chaos.bad_inputs import check_formula

COLUMNS = {
    "a": np.array([1.0, 2.0, 3.5]),
    "b": np.array([0.5, 4.0, 0.25]),
    "c": np.array([3, 1, 2]),
    "p_rating_4.5": np.array([0.1, 0.2, 0.3], dtype=np.float32),
}


def value(text: str) -> np.ndarray:
    return Formula(text).evaluate(COLUMNS, rows=3)


@pytest.mark.parametrize(
    "text",
    [
        "a + b * c",
        "(a + b) * c",
        "a - b - c",
        "a / b / c",
        "a / b * c",
        "-a ** 2",
        "(-a) ** 2",
        "a ** -b",
        "2 ** 3 ** 0.5",
        "a ** b ** 2",
        "-a * -b",
        "--a",
        "+a - -b",
        "a - -2 ** 2",
        "1.5e2 * a",
        ".5 * a + 2. * b",
        "a*b/c-a+b**2",
        "2 ** -1 * a",
    ],
)
def test_precedence_is_that_of_python(text: str) -> None:
    rows = [
        dict(zip("abc", row, strict=True)) for row in zip(*(COLUMNS[n] for n in "abc"), strict=True)
    ]
    expected = [eval(text, {"__builtins__": {}}, row) for row in rows]
    np.testing.assert_allclose(value(text), expected, rtol=1e-15)


def test_functions() -> None:
    a, b, c = COLUMNS["a"], COLUMNS["b"], COLUMNS["c"]
    np.testing.assert_array_equal(value("log(a)"), np.log(a))
    np.testing.assert_array_equal(value("exp(-b)"), np.exp(-b))
    np.testing.assert_array_equal(value("sqrt(a + c)"), np.sqrt(a + c))
    np.testing.assert_array_equal(
        value("min(a, b, c, 1)"), np.minimum(np.minimum(a, b), np.minimum(c, 1))
    )
    np.testing.assert_array_equal(value("max(a, 2 * b)"), np.maximum(a, 2 * b))


def test_quoted_names_reach_any_column() -> None:
    np.testing.assert_array_equal(
        value("`p_rating_4.5`"), COLUMNS["p_rating_4.5"].astype(np.float64)
    )


def test_a_constant_fills_the_rows() -> None:
    np.testing.assert_array_equal(value("2 * 3"), [6.0, 6.0, 6.0])


def test_names_are_listed_once_in_order() -> None:
    assert Formula("b * a + log(b)").names == ("b", "a")


def test_arithmetic_is_float64() -> None:
    small = {"x": np.array([2**24], dtype=np.float32), "y": np.array([1], dtype=np.int8)}
    assert Formula("x + y - x").evaluate(small, rows=1)[0] == 1.0


@pytest.mark.parametrize(
    "text",
    ["", " ", "a +", "* a", "a b", "(a", "a)", "a,b", "log()", "log a", "1.5e", "2x", "a ***b",
     "a == b", "a.real", "a[0]", "'a'", "a; b", "lambda: a", "a if b else c", "a // b", "a @ b",
     "`a", "``", "\u00b2", "a\u00d7b"],
)  # fmt: skip
def test_outside_the_grammar_is_refused(text: str) -> None:
    with pytest.raises(FormulaError) as raised:
        Formula(text)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "text", ["__import__('os')", "exec(a)", "open(a)", "abs(a)", "a.__class__"]
)
def test_nothing_but_the_listed_functions_can_be_called(text: str) -> None:
    with pytest.raises(FormulaError):
        Formula(text)


@pytest.mark.parametrize("text", ["log(a, b)", "min(a)", "sqrt(a, b)"])
def test_wrong_number_of_operands_is_refused(text: str) -> None:
    with pytest.raises(FormulaError, match=r"takes .* operand"):
        Formula(text)


def test_error_says_where() -> None:
    with pytest.raises(FormulaError, match="unexpected 'b' at character 5"):
        Formula("a   b")
    with pytest.raises(FormulaError, match="not in the grammar at character 3"):
        Formula("a $ b")


def test_unknown_name_gets_a_suggestion() -> None:
    columns = {"p_click": np.ones(1), "price": np.ones(1)}
    with pytest.raises(FormulaError, match="no column 'p_clik'; did you mean 'p_click'"):
        Formula("p_clik * price").evaluate(columns, rows=1)
    with pytest.raises(FormulaError, match="no function 'lgo'; did you mean 'log'"):
        Formula("lgo(price)")


@pytest.mark.parametrize("text", ["(" * 60 + "a" + ")" * 60, "-" * 60 + "a", "2 **" * 60 + "a"])
def test_deep_nesting_is_refused(text: str) -> None:
    with pytest.raises(FormulaError, match="nested deeper"):
        Formula(text)


def test_long_text_is_refused_and_a_long_flat_sum_is_not() -> None:
    with pytest.raises(FormulaError, match="longer than 1000"):
        Formula("a" + "+a" * 600)
    np.testing.assert_allclose(value("a" + "+a" * 400), 401 * COLUMNS["a"])


@pytest.mark.parametrize(
    ("text", "count"), [("log(a - 1)", 1), ("1 / (a - 2)", 1), ("sqrt(-a)", 3), ("1e999 * a", 3)]
)
def test_values_that_are_not_finite_are_counted(text: str, count: int) -> None:
    with pytest.raises(FormulaError, match=f"not finite on {count} of 3 rows") as raised:
        value(text)
    assert text in str(raised.value)


def test_a_column_that_is_no_number_is_refused() -> None:
    with pytest.raises(FormulaError, match="column 'city' holds"):
        Formula("city * 2").evaluate({"city": np.array(["a"], dtype=object)}, rows=1)


LEAVES = st.sampled_from(["a", "b", "c", "2", "0.5"])
TREES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*/"), inner).map(lambda t: f"({t[0]} {t[1]} {t[2]})"),
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda t: f"{t[0]}{t[1]}{t[2]}"),
        inner.map(lambda t: f"-{t}"),
    ),
    max_leaves=12,
)


@given(TREES)
def test_any_tree_agrees_with_python(text: str) -> None:
    row = {name: float(COLUMNS[name][0]) for name in "abc"}
    try:
        expected = eval(text, {"__builtins__": {}}, row)
    except ZeroDivisionError:
        expected = math.nan
    try:
        evaluated = Formula(text).evaluate(COLUMNS, rows=3)[0]
    except FormulaError as error:
        assert "not finite" in str(error)
        return
    if math.isfinite(expected):
        assert math.isclose(evaluated, expected, rel_tol=1e-12, abs_tol=1e-12)


@given(st.text(max_size=40))
def test_any_text_is_a_formula_or_a_formula_error(text: str) -> None:
    try:
        Formula(text)
    except FormulaError as error:
        assert str(error)


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_formula_over_any_columns_has_a_value_or_one_line(data: st.DataObject) -> None:
    """The first of the thousands that tests/chaos/test_bad_inputs.py draws."""
    check_formula(data.draw)

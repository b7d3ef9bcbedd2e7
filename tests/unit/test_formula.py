"""A formula means what Python's own arithmetic means, and can do nothing else."""

import ast
import math
import random
import re

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


def arithmetic() -> st.SearchStrategy[ast.expr]:
    """Trees of the grammar as Python has them; `ast.unparse` brackets only where it must."""
    operators = st.sampled_from([ast.Add(), ast.Sub(), ast.Mult(), ast.Div(), ast.Pow()])
    signs = st.sampled_from([ast.USub(), ast.UAdd()])
    leaves = st.one_of(
        st.sampled_from(["a", "b", "c"]).map(ast.Name),
        st.sampled_from([0.5, 1.0, 2.0, 3.25, 1e-3, 12.0]).map(ast.Constant),
    )
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds(ast.BinOp, left=inner, op=operators, right=inner),
            st.builds(ast.UnaryOp, op=signs, operand=inner),
            st.builds(
                lambda name, operands: ast.Call(ast.Name(name), operands, []),
                st.sampled_from(["min", "max"]),
                st.lists(inner, min_size=2, max_size=4),
            ),
            st.builds(
                lambda name, operand: ast.Call(ast.Name(name), [operand], []),
                st.sampled_from(["exp", "log", "sqrt"]),
                inner,
            ),
        ),
        max_leaves=14,
    )


PYTHON = {"min": min, "max": max, "exp": math.exp, "log": math.log, "sqrt": math.sqrt}


def by_python(text: str, row: int) -> float:
    """The value by Python's parser and arithmetic; NaN where that has no real one."""
    names = {name: float(COLUMNS[name][row]) for name in "abc"}
    try:
        result = eval(text, {"__builtins__": {}}, {**PYTHON, **names})
    except (ZeroDivisionError, OverflowError, ValueError, TypeError):
        return math.nan
    return math.nan if isinstance(result, complex) else result


def outcome(text: str) -> np.ndarray | None:
    """The values on every row, or None if one is not finite."""
    try:
        return value(text)
    except FormulaError as error:
        assert "is not finite" in str(error)
        return None


@settings(max_examples=300)
@given(arithmetic())
def test_a_tree_that_python_writes_is_read_as_python_reads_it(tree: ast.expr) -> None:
    text = ast.unparse(tree)
    expected = [by_python(text, row) for row in range(3)]
    evaluated = outcome(text)
    if evaluated is not None and np.isfinite(expected).all():
        # 1e-9: a difference of large powers magnifies the last bit, in which numpy may differ.
        largest = max(1.0, float(np.abs(expected).max()))
        assert np.allclose(evaluated, expected, rtol=1e-9, atol=1e-9 * largest)
    if evaluated is None:
        assert not np.isfinite(expected).all()


def bracketed(tree: ast.expr) -> str:
    """The same tree with brackets around everything, so that precedence has no say."""
    match tree:
        case ast.BinOp(left, op, right):
            mark = {"Add": "+", "Sub": "-", "Mult": "*", "Div": "/", "Pow": "**"}[type(op).__name__]
            return f"({bracketed(left)}{mark}{bracketed(right)})"
        case ast.UnaryOp(op, operand):
            return f"({'-' if isinstance(op, ast.USub) else '+'}{bracketed(operand)})"
        case ast.Call(ast.Name(name), operands):
            return f"({name}({','.join(map(bracketed, operands))}))"
    return f"({ast.unparse(tree)})"


@given(arithmetic())
def test_brackets_where_precedence_puts_them_change_no_bit(tree: ast.expr) -> None:
    few, many = outcome(ast.unparse(tree)), None
    try:
        many = outcome(bracketed(tree))
    except FormulaError as error:
        assert "nested deeper" in str(error)  # of brackets there are more than precedence needs
        return
    np.testing.assert_array_equal(np.array(few), np.array(many))


@given(arithmetic(), st.randoms(use_true_random=False))
def test_spaces_between_tokens_change_no_bit(tree: ast.expr, dice: random.Random) -> None:
    text = ast.unparse(tree)
    tokens = re.findall(r"[\d.]+(?:e-?\d+)?|\w+|\*\*|\S", text)
    spaced = "".join(token + dice.choice(["", " ", "\t", "\n  "]) for token in tokens)
    np.testing.assert_array_equal(np.array(outcome(text)), np.array(outcome(spaced)))


@given(arithmetic(), st.permutations(range(3)))
def test_a_row_has_its_value_whatever_rows_stand_beside_it(
    tree: ast.expr, order: list[int]
) -> None:
    formula, together = Formula(ast.unparse(tree)), outcome(ast.unparse(tree))
    if together is None:
        return
    shuffled = {name: column[order] for name, column in COLUMNS.items()}
    np.testing.assert_allclose(formula.evaluate(shuffled, rows=3), together[order], rtol=1e-14)
    for row in range(3):
        alone = {name: column[row : row + 1] for name, column in COLUMNS.items()}
        np.testing.assert_allclose(formula.evaluate(alone, rows=1)[0], together[row], rtol=1e-14)


def test_columns_are_neither_changed_nor_shared() -> None:
    columns = {"x": np.array([1.0, 2.0])}
    values = [Formula(text).evaluate(columns, rows=2) for text in ("x", "-x", "x * 1", "max(x, 0)")]
    assert columns["x"].tolist() == [1.0, 2.0]
    columns["x"][0] = 9.0
    assert [column[0] for column in values] == [1.0, -1.0, 1.0, 1.0]


@pytest.mark.parametrize("kind", ["bool", "int8", "uint64", "float16", "float32"])
def test_any_kind_of_number_is_a_column(kind: str) -> None:
    column = np.array([0, 1, 1], dtype=kind)
    assert Formula("2 * x - 1").evaluate({"x": column}, rows=3).tolist() == [-1.0, 1.0, 1.0]


def test_columns_that_the_formula_does_not_name_are_not_looked_at() -> None:
    columns = {"a": np.ones(2), "city": np.array(["x", "y"]), "short": np.ones(1)}
    assert Formula("a + 1").evaluate(columns, rows=2).tolist() == [2.0, 2.0]


def test_no_rows_have_no_values() -> None:
    assert Formula("log(a) / 0").evaluate({"a": np.zeros(0)}, rows=0).shape == (0,)


@pytest.mark.parametrize("text", [None, 5, b"a", ["a"], np.float64(1.0)])
def test_what_is_no_string_is_refused(text: object) -> None:
    with pytest.raises(FormulaError, match="give a string"):
        Formula(text)


@pytest.mark.parametrize("shape", [(), (2,), (4,), (3, 1), (1, 3)])
def test_a_column_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(FormulaError, match=r"column 'a' has shape .*, not \(3,\)"):
        Formula("a + 1").evaluate({"a": np.ones(shape)}, rows=3)


@pytest.mark.parametrize("kind", ["datetime64[s]", "timedelta64[s]", "complex128", "S1", "U1"])
def test_a_column_of_another_kind_is_refused(kind: str) -> None:
    with pytest.raises(FormulaError, match=r"column 'a' holds .*, not numbers"):
        Formula("a").evaluate({"a": np.zeros(3, dtype=kind)}, rows=3)


def test_names_that_resemble_no_other_are_answered_with_the_list() -> None:
    with pytest.raises(FormulaError, match="no column 'zzz'; there are price, p_click"):
        Formula("zzz").check_names(["price", "p_click"])
    with pytest.raises(FormulaError, match="no function 'zzz'; there are log, exp, sqrt, min, max"):
        Formula("zzz(1)")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a +", "it ends too early at character 4"),
        ("(a", "it ends too early at character 3"),
        ("log(a", "it ends too early at character 6"),
        ("max(a,)", r"unexpected '\)' at character 7"),
        ("a ) b", r"unexpected '\)' at character 3"),
        ("2 ** * 3", r"unexpected '\*' at character 6"),
        ("1 2", "unexpected '2' at character 3"),
        ("a + ?", "not in the grammar at character 5"),
        ("`a", "not in the grammar at character 1"),
    ],
)
def test_the_fault_and_its_place_are_named(text: str, fault: str) -> None:
    with pytest.raises(FormulaError, match=fault):
        Formula(text)


def test_the_bounds_of_length_and_depth_are_exact() -> None:
    assert Formula("a".ljust(1000)).names == ("a",)
    with pytest.raises(FormulaError, match="longer than 1000 characters"):
        Formula("a".ljust(1001))
    assert Formula("(" * 49 + "a" + ")" * 49).names == ("a",)
    with pytest.raises(FormulaError, match="nested deeper than 50"):
        Formula("(" * 50 + "a" + ")" * 50)

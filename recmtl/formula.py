"""A formula: arithmetic over named columns, with a parser of its own; it never runs code.

A ranking is ordered by one, and a schema computes columns by some.

The grammar, from the loosest binding to the tightest; precedence is that of Python, so `**`
associates to the right and binds tighter than a minus before it:

    sum     := product (('+' | '-') product)*
    product := sign (('*' | '/') sign)*
    sign    := ('-' | '+') sign | power
    power   := atom ('**' sign)?
    atom    := number | name | `any name` | function '(' sum (',' sum)* ')' | '(' sum ')'

The parser emits a postfix program, which runs on a stack of float64 columns.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from recmtl.errors import FormulaError, did_you_mean

__all__ = ["FUNCTIONS", "Formula", "quoted_name", "usual_order"]

Column = npt.NDArray[np.float64]

MAX_LENGTH = 1000
MAX_DEPTH = 50

# A function and its number of operands; None stands for two or more.
FUNCTIONS: dict[str, tuple[Callable[..., Any], int | None]] = {
    "log": (np.log, 1),
    "exp": (np.exp, 1),
    "sqrt": (np.sqrt, 1),
    "min": (np.minimum, None),
    "max": (np.maximum, None),
}
# How tightly an operator binds, and its function. A sign binds between `*` and `**`.
OPERATORS: dict[str, tuple[int, Callable[..., Any]]] = {
    "+": (1, np.add),
    "-": (1, np.subtract),
    "*": (2, np.multiply),
    "/": (2, np.divide),
    "**": (4, np.power),
}
SIGN = 3

TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)"
    r"|`(?P<quoted>[^`]+)`|(?P<mark>\*\*|[-+*/(),])|(?P<end>\Z))",
    re.ASCII,
)


def quoted_name(name: str) -> str:
    """A column as a formula names it.

    >>> quoted_name("p_click"), quoted_name("p_stars_5 or more")
    ('p_click', '`p_stars_5 or more`')
    """
    return name if re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) else f"`{name}`"


def usual_order(columns: Sequence[str]) -> str:
    """The scored column by which rows are ranked where nobody says, as a formula.

    It is the first score of a head `rank`, else the first probability, else the first column.

    >>> usual_order(["value_price", "p_click"]), usual_order(["p_click", "score_click"])
    ('p_click', 'score_click')
    """
    of_kind = (name for kind in ("score_", "p_") for name in columns if name.startswith(kind))
    return quoted_name(next(of_kind, columns[0]))


class Formula:
    """A parsed formula, which maps columns to one float64 number a row.

    >>> formula = Formula("max(price, 1) * p_click ** 0.5")
    >>> formula.names
    ('price', 'p_click')
    >>> columns = {"price": np.array([0.0, 4.0]), "p_click": np.array([0.25, 0.25])}
    >>> formula.evaluate(columns, rows=2)
    array([0.5, 2. ])

    Args:
        text: in the grammar of this module.

    Attributes:
        text: as given.
        names: the columns that it reads, in the order of their first use.

    Raises:
        FormulaError: the text is no formula, is longer than 1000 characters, or is nested deeper
            than 50 levels.
    """

    def __init__(self, text: str) -> None:
        if not isinstance(text, str):
            shown = " ".join(repr(text).split())
            raise FormulaError(f"formula is {shown:.80}; give a string")
        if len(text) > MAX_LENGTH:
            raise FormulaError(f"formula is longer than {MAX_LENGTH} characters: {text[:60]!r}...")
        self.text = text
        self._program = _Parser(text).program()
        names = (str(step.value) for step in self._program if step.kind == "name")
        self.names: tuple[str, ...] = tuple(dict.fromkeys(names))

    def evaluate(self, columns: Mapping[str, npt.NDArray[Any]], *, rows: int) -> Column:
        """Compute the formula's value on every row, float64 `[rows]`.

        Args:
            columns: numbers `[rows]` by name; columns that the formula does not name are ignored.
            rows: rows of every column; a formula without names is a constant for all of them.

        Raises:
            FormulaError: a column is absent, has another shape or holds no numbers, or a value is
                not finite.
        """
        values = self._values(columns, rows)
        bad = rows - int(np.isfinite(values).sum())
        if bad:
            raise FormulaError(
                f"formula {self.text!r} is not finite on {bad} of {rows} rows; guard it, for "
                "instance with max(x, 1e-9) inside log and below /, and fill missing values"
            )
        return values

    def where_finite(self, columns: Mapping[str, npt.NDArray[Any]], *, rows: int) -> Column:
        """As `evaluate`, with NaN where an operand is missing or the value is not finite."""
        values = self._values(columns, rows)
        return np.where(np.isfinite(values), values, np.nan)

    def _values(self, columns: Mapping[str, npt.NDArray[Any]], rows: int) -> Column:
        stack: list[Any] = []
        with np.errstate(all="ignore"):
            for step in self._program:
                if step.kind == "number":
                    stack.append(step.value)
                elif step.kind == "name":
                    stack.append(self._column(str(step.value), columns, rows))
                else:
                    operands = stack[len(stack) - step.operands :]
                    del stack[len(stack) - step.operands :]
                    stack.append(_apply(step, operands))
        return np.broadcast_to(np.asarray(stack[0], dtype=np.float64), (rows,))

    def check_names(self, available: Collection[str]) -> None:
        """Raise a FormulaError for the first name of the formula that is not available."""
        for name in self.names:
            if name not in available:
                hint = did_you_mean(name, available) or f"; there are {', '.join(available)}"
                raise FormulaError(f"formula {self.text!r}: no column {name!r}{hint}")

    def _column(self, name: str, columns: Mapping[str, npt.NDArray[Any]], rows: int) -> Column:
        self.check_names(columns.keys())
        values = columns[name]
        if values.shape != (rows,):
            raise FormulaError(
                f"formula {self.text!r}: column {name!r} has shape {values.shape}, not ({rows},)"
            )
        if values.dtype.kind not in "fiub":
            raise FormulaError(
                f"formula {self.text!r}: column {name!r} holds {values.dtype}, not numbers"
            )
        return values.astype(np.float64)


class _Step(NamedTuple):
    """One step of a postfix program.

    `kind` is `number` or `name`, which push a constant or a column, or `operator`, `sign` or
    `call`, which replace the last `operands` values of the stack by their result.
    """

    kind: str
    value: float | str
    operands: int = 0


def _apply(step: _Step, operands: list[Any]) -> Any:
    name = str(step.value)
    if step.kind == "operator":
        return OPERATORS[name][1](*operands)
    if step.kind == "sign":
        return np.negative(operands[0])
    function, arity = FUNCTIONS[name]
    return function(operands[0]) if arity else reduce(function, operands)


class _Parser:
    """Parses by precedence climbing over the tokens, and emits postfix steps."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._split()
        self._next = 0
        self._depth = 0
        self._steps: list[_Step] = []

    def program(self) -> tuple[_Step, ...]:
        self._expression(1)
        if self._peek()[0] != "end":
            raise self._unexpected()
        return tuple(self._steps)

    def _split(self) -> list[tuple[str, str, int]]:
        tokens, place = [], 0
        while True:
            match = TOKEN.match(self._text, place)
            if match is None:
                rest = self._text[place:]
                place += len(rest) - len(rest.lstrip())
                raise self._error("a character that is not in the grammar", place)
            kind = str(match.lastgroup)
            tokens.append((kind, match[kind], match.start(kind)))
            place = match.end()
            if kind == "end":
                return tokens

    def _expression(self, lowest: int) -> None:
        """Parse a term, then operators that bind at least as tightly as `lowest`."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise FormulaError(f"formula is nested deeper than {MAX_DEPTH}: {self._text[:60]!r}...")
        self._signed()
        while (mark := self._mark()) in OPERATORS and OPERATORS[mark][0] >= lowest:
            self._next += 1
            # `**` associates to the right, and its exponent may carry a sign of its own.
            self._expression(SIGN if mark == "**" else OPERATORS[mark][0] + 1)
            self._steps.append(_Step("operator", mark, 2))
        self._depth -= 1

    def _signed(self) -> None:
        mark = self._mark()
        if mark not in ("-", "+"):
            self._atom()
            return
        self._next += 1
        self._expression(SIGN)
        if mark == "-":
            self._steps.append(_Step("sign", "-", 1))

    def _atom(self) -> None:
        kind, value, _ = self._peek()
        if kind == "end" or (kind == "mark" and value != "("):
            raise self._unexpected()
        self._next += 1
        if kind == "number":
            self._steps.append(_Step("number", float(value)))
        elif kind == "name" and self._mark() == "(":
            self._call(value)
        elif kind in ("name", "quoted"):
            self._steps.append(_Step("name", value))
        else:
            self._expression(1)
            self._close()

    def _call(self, name: str) -> None:
        if name not in FUNCTIONS:
            hint = did_you_mean(name, FUNCTIONS) or f"; there are {', '.join(FUNCTIONS)}"
            raise FormulaError(f"formula {self._text!r}: no function {name!r}{hint}")
        operands, mark = 0, ","
        while mark == ",":
            self._next += 1
            self._expression(1)
            operands, mark = operands + 1, self._mark()
        self._close()
        arity = FUNCTIONS[name][1]
        if operands != arity and (arity or operands < 2):
            takes = "one operand" if arity else "two operands or more"
            raise FormulaError(f"formula {self._text!r}: {name} takes {takes}, not {operands}")
        self._steps.append(_Step("call", name, operands))

    def _close(self) -> None:
        if self._mark() != ")":
            raise self._unexpected()
        self._next += 1

    def _peek(self) -> tuple[str, str, int]:
        return self._tokens[self._next]

    def _mark(self) -> str:
        kind, value, _ = self._peek()
        return value if kind == "mark" else ""

    def _unexpected(self) -> FormulaError:
        kind, value, place = self._peek()
        return self._error("it ends too early" if kind == "end" else f"unexpected {value!r}", place)

    def _error(self, fault: str, place: int) -> FormulaError:
        return FormulaError(f"formula {self._text!r}: {fault} at character {place + 1}")

"""Errors name place, fault and remedy, and can be caught as one kind or as bad input."""

import errno
import json
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from safetensors import SafetensorError

from recmtl import errors
from recmtl.errors import (
    DataError,
    RecmtlError,
    SourceLocation,
    did_you_mean,
    differences,
    outside_error,
)

CLASSES = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_is_caught_as_recmtls(error: type[Exception]) -> None:
    with pytest.raises(RecmtlError, match="said"):
        raise error("said")
    assert issubclass(error, ValueError) == (error is not RecmtlError)


@pytest.mark.parametrize(
    ("place", "column", "where"),
    [
        (SourceLocation(), None, "input"),
        (SourceLocation("a.parquet"), None, "a.parquet"),
        (SourceLocation("a.parquet", 0), None, "a.parquet, row group 0"),
        (SourceLocation("a.parquet"), "price", "a.parquet: column 'price'"),
        (SourceLocation("a.parquet", 3), "it's", 'a.parquet, row group 3: column "it\'s"'),
    ],
)
def test_a_data_error_names_file_row_group_and_column(
    place: SourceLocation, column: str | None, where: str
) -> None:
    error = place.error("is empty", "fill it", column=column)
    assert type(error) is DataError
    assert str(error) == f"{where}: is empty; fill it"


@given(st.text("a \n\t", min_size=1), st.text("b \n\t", min_size=1))
def test_a_data_error_is_one_line(fault: str, remedy: str) -> None:
    text = str(SourceLocation("file").error(fault, remedy))
    assert text == " ".join(text.split())


@given(st.text(min_size=1), st.lists(st.text()))
def test_a_suggestion_is_another_option_and_never_the_word_itself(
    word: str, options: list[str]
) -> None:
    suggestions = ["", *(f"; did you mean {show(o)}?" for o in options for show in (repr, ascii))]
    assert did_you_mean(word, options) in suggestions
    assert did_you_mean(word, [*options, word]) == ""
    assert did_you_mean(word, []) == ""


def raised(call: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as caught:
        call()
    return caught.value


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left", "a/b"), "a/b: No space left; free some space"),
        (OSError(errno.EROFS, "Read-only", "a"), "a: Read-only; the disk is read-only: choose"),
        (PermissionError(errno.EACCES, "Denied", "a"), "a: Denied; change its permissions"),
        (NotADirectoryError(errno.ENOTDIR, "No folder", "a"), "a: No folder; a file is in the way"),
        (ConnectionError("refused\nby peer"), "refused; check that place and the access to it"),
        (TimeoutError(), "TimeoutError; check that place"),
        (MemoryError(), "not enough memory (none is left); free some"),
        (ImportError("No module named 's3fs'"), "cannot be imported: No module named 's3fs'; inst"),
        (raised(lambda: b"\xff".decode()), "a file or a name is no UTF-8 ('utf-8' codec"),
        (raised(lambda: json.loads("{")), "json: Expecting property name"),
        (raised(lambda: yaml.safe_load("[")), "yaml: while parsing a flow node"),
        (pa.ArrowInvalid("bad page"), "pyarrow: bad page; --debug shows where"),
        (SafetensorError("I/O error: No space left on device (os error 28)"), "error 28); free s"),
        (DataError("log: is empty; write it again"), "log: is empty; write it again"),
    ],
)
def test_what_the_outside_reports_is_one_line_with_a_remedy(
    error: BaseException, line: str
) -> None:
    shown = outside_error(error)
    assert shown is not None and line in str(shown)
    assert "\n" not in str(shown) and ";" in str(shown)


@pytest.mark.parametrize(
    "error", [KeyError("x"), ValueError("x"), TypeError(), ZeroDivisionError(), KeyboardInterrupt()]
)
def test_a_mistake_of_ours_is_not_explained_away(error: BaseException) -> None:
    assert outside_error(error) is None


json_values = st.recursive(
    st.none() | st.integers(0, 3) | st.text("ab", max_size=2),
    lambda inner: st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from("xyz"), json_values), json_values)
def test_equal_objects_do_not_differ_and_a_changed_value_is_told(
    content: dict[str, Any], value: Any
) -> None:
    assert differences(content, json.loads(json.dumps(content))) == ""
    changed = {**content, "w": "new"}
    assert "w was absent and is new" in differences(content, changed)


def test_many_differences_are_counted_and_long_values_cut() -> None:
    now = {str(number): "long" * 100 for number in range(9)}
    told = differences({}, now)
    assert told.endswith(", and 4 more") and "…" in told and len(told) < 600

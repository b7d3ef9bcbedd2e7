"""Errors name place, fault and remedy, and can be caught as one kind or as bad input."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl import errors
from recmtl.errors import DataError, RecmtlError, SourceLocation, did_you_mean

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

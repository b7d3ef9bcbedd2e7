"""How a file is laid out is seen in its first lines, or said by the schema."""

import gzip
import re
from pathlib import Path

import pytest

from recmtl.data.formats.text_layout import TextLayout, seen_layout
from recmtl.errors import DataError
from recmtl.schema import Pairs, TextFiles


def seen(
    tmp_path: Path, text: str, files: TextFiles | None = None, **options: object
) -> TextLayout:
    (tmp_path / "log.txt").write_text(text, encoding="utf-8")
    return seen_layout(tmp_path / "log.txt", files, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("separator", [",", "\t", ";", "|", " "])
def test_the_separator_divides_all_lines_alike(tmp_path: Path, separator: str) -> None:
    lines = [["user", "price"], ["u1", "1.5"], ["u2", "2.5"]]
    layout = seen(tmp_path, "\n".join(separator.join(line) for line in lines))
    assert (layout.separator, layout.columns, layout.skipped) == (separator, ("user", "price"), 1)


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("click,101,121\n0,1,1\n1,0,2\n", ("click", "101", "121")),
        ("a,b\nx,y\nz,y\n", ("a", "b")),
        ("a\n", ("a",)),
        ("﻿a,b\n1,2\n", ("a", "b")),
        ('"a","b,c"\n1,2\n', ("a", "b,c")),
        (" a , b \n1,2\n", ("a", "b")),
    ],
    ids=["numbers as names", "text alone", "no row", "a mark of byte order", "quotes", "blanks"],
)
def test_a_first_line_of_names_is_a_header(
    tmp_path: Path, text: str, columns: tuple[str, ...]
) -> None:
    layout = seen(tmp_path, text)
    assert layout.columns == columns and layout.skipped == 1
    assert layout.to_declare() is None


@pytest.mark.parametrize(
    "text",
    ["1,2\n3,4\n", "u1,5\nu2,7\n", "x,y\nx,z\n", "a,a\nb,c\n", "a,\nb,c\n", "7\n8\n"],
)
def test_a_first_line_like_the_others_is_a_row(tmp_path: Path, text: str) -> None:
    layout = seen(tmp_path, text)
    assert layout.skipped == 0
    assert layout.columns == tuple(f"column_{i + 1}" for i in range(len(layout.columns)))
    declared = layout.to_declare()
    assert declared is not None and declared.columns == layout.columns
    assert seen(tmp_path, text, declared) == seen(tmp_path, text, declared)
    assert seen(tmp_path, text, declared).columns == layout.columns


def test_names_that_a_model_reads_make_a_header(tmp_path: Path) -> None:
    text = "oslo,rome\nx,rome\n"
    assert seen(tmp_path, text).skipped == 0
    assert seen(tmp_path, text, expected={"oslo"}).skipped == 1


def test_declared_names_are_skipped_where_they_stand_in_the_file_too(tmp_path: Path) -> None:
    files = TextFiles(columns=("a", "b"))
    assert seen(tmp_path, "1,2\n", files).skipped == 0
    assert seen(tmp_path, "a,b\n1,2\n", files).skipped == 1
    renamed = seen(tmp_path, "x,y\n1,2\n", TextFiles(columns=("a", "b"), header=True))
    assert (renamed.columns, renamed.skipped) == (("a", "b"), 1)


def test_pairs_are_seen_after_the_plain_columns(tmp_path: Path) -> None:
    layout = seen(tmp_path, "1,0,210:5,210:6,301:7\n2,1,301:9\n")
    assert (layout.separator, layout.columns) == (",", ("column_1", "column_2"))
    assert layout.files.pairs == Pairs(",")
    assert seen(tmp_path, "1 3:0.5 7:1\n0 3:1\n").files.pairs == Pairs(" ")
    published = "1,0,0,bacff91692951881,2,210\x029\x031.0\x01206\x028\x030.5\n"
    assert seen(tmp_path, published).files.pairs == Pairs("\x01", "\x02", "\x03")
    assert len(seen(tmp_path, published).columns) == 5


def test_times_of_day_are_no_pairs(tmp_path: Path) -> None:
    layout = seen(tmp_path, "1,18:05,19:10\n2,07:30,08:00\n")
    assert layout.files.pairs is None and len(layout.columns) == 3


def test_what_is_no_text_or_contradicts_the_schema_is_refused(tmp_path: Path) -> None:
    for content, fault in [(b"", "is empty"), (b"\n \n", "is empty"), (b"a\0b\n", "is no text")]:
        (tmp_path / "log.csv").write_bytes(content)
        with pytest.raises(DataError, match=rf"log\.csv: {fault}"):
            seen_layout(tmp_path / "log.csv", None)
    with pytest.raises(DataError, match="has 2 columns, and 3 are named"):
        seen(tmp_path, "1,2\n", TextFiles(columns=("a", "b", "c")))
    with pytest.raises(DataError, match=re.escape("column 'a': stands in the first line twice")):
        seen(tmp_path, "a,a\n1,2\n", TextFiles(header=True))
    with pytest.raises(DataError, match="does not exist"):
        seen_layout(tmp_path / "none.csv", None)


def test_sixteen_bits_and_compression_are_seen(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("ä,b\n1,2\n", encoding="utf-16")
    layout = seen_layout(tmp_path / "log.csv", None)
    assert (layout.columns, layout.files.encoding) == (("ä", "b"), "utf-16")
    (tmp_path / "log.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n"))
    assert seen_layout(tmp_path / "log.csv.gz", None).columns == ("a", "b")
    (tmp_path / "short.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n" * 999)[:30])
    with pytest.raises(DataError, match=r"short\.csv\.gz: cannot be read"):
        seen_layout(tmp_path / "short.csv.gz", None)

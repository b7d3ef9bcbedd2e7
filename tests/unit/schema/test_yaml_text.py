"""Texts that are no settings are refused at once, in one line with file, line and remedy."""

import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from recmtl.errors import ConfigError, SchemaError
from recmtl.schema import load_schema
from recmtl.schema.reading import load
from recmtl.schema.yaml_text import MOST_LEVELS, Problems, parse, quoted, read_text
from recmtl.train.config import Config

GOOD = (
    "version: 1\nname: shop\nfeatures: {price: {kind: numeric}}\n"
    "tasks: {click: {kind: binary, label: is_click}}\nsplit: {by: random}\n"
)


def mistake(text: str) -> str:
    """The one mistake in a text."""
    problems = Problems("f")
    assert parse(text, problems) is None
    with pytest.raises(ConfigError) as caught:
        problems.raise_as(ConfigError)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        *("[" * 40_000, "{" * 40_000, "- " * 20_000, "? " * 20_000, "a: [" * 20_000),
        "".join(f"{' ' * level}a:\n" for level in range(250)),
        "[" * 20_000 + "]" * 20_000,
    ],
    ids=["lists", "mappings", "dashes", "keys", "both", "lines", "closed"],
)
def test_nesting_is_refused_at_once(text: str) -> None:
    started = time.process_time()
    assert "nested too deep" in mistake(text)
    assert time.process_time() - started < 1.0


def test_a_setting_may_be_as_deep_as_the_bound() -> None:
    assert parse("[" * MOST_LEVELS + "]" * MOST_LEVELS, Problems("f")) is not None
    assert "nested too deep" in mistake("[" * (MOST_LEVELS + 1) + "]" * (MOST_LEVELS + 1))


def test_a_text_that_is_too_long_is_not_read() -> None:
    assert "longer than 1,000,000 characters" in mistake("a: 1\n" * 200_001)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: &x [1]\nb: [*x, *x]", "f:1: aliases (*name) are not supported; write the value out"),
        ("a: 1\nb: *x", "f:2: aliases (*name) are not supported; write the value out"),
        ("a: 1\nb: !!python/object/apply:os.system [x]", "f:2: tags (!name) are not supported"),
        ("a: !secret x", "f:1: tags (!name) are not supported; write the plain value"),
        ("a: !!str 5", "f:1: tags (!name) are not supported; write the plain value"),
        ("a: 1\nb: x\x00y", "f:2: not valid YAML: character U+0000 may not stand in it; remove it"),
        (
            "a:\n\tb: 1",
            "f:2: not valid YAML: found character '\\t' that cannot start any token; ind",
        ),
        ("a: 1\n---\nb: 2", "f:2: not valid YAML: but found another document"),
        ("%TAG ! x\na: 1", "f:2: not valid YAML"),
    ],
)
def test_a_construct_that_settings_do_not_need_is_named_with_its_line(
    text: str, expected: str
) -> None:
    assert mistake(text).startswith(expected)


def refused(path: Path) -> str:
    """The line with which a schema and a configuration are refused."""
    with pytest.raises(SchemaError) as caught:
        load_schema(path)
    with pytest.raises(ConfigError):
        read_text(path, ConfigError, what="configuration")
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert load_schema(path).name == "shop"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252"])
def test_other_encodings_are_refused_with_the_line(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(GOOD.replace("price", "prix_élevé").encode(encoding))
    assert str(path) in refused_text(path)


def refused_text(path: Path) -> str:
    with pytest.raises(SchemaError) as caught:
        load_schema(path)
    return str(caught.value)


def test_a_byte_that_is_no_text_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_bytes(b"a: 1\nb: \xe9t\xe9\n")
    expected = f"{path}:2: byte 0xe9 is not UTF-8 text; save the schema file as UTF-8"
    assert refused(path) == expected


def test_paths_that_hold_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "large.yaml").write_bytes(b"#" * 1_000_001)
    assert "is larger than 1,000,000 bytes" in refused(tmp_path / "large.yaml")
    assert "no such schema file; check the path" in refused(tmp_path / "none.yaml")
    assert "cannot be read (Is a directory)" in refused(tmp_path)
    assert "cannot be read (embedded null byte)" in refused(tmp_path / "a\x00b")


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
@example("? [a]\n: 1")
@example("\ufeffseed: 1")
@example("just text")
@example("- 1")
def test_any_text_is_a_configuration_or_lines_that_name_file_and_line(text: str) -> None:
    try:
        load(Config, text, source="c.yaml", error=ConfigError)
    except ConfigError as error:
        assert all(line.startswith("c.yaml:") for line in str(error).split("\n") if line)


@given(st.text())
@example("\U0001f600 \u2028\x85\x7f\ufeff'\"\\")
def test_a_quoted_text_is_read_back(text: str) -> None:
    root = parse(f"a: {quoted(text)}", Problems("f"))
    assert root is not None and isinstance(root.value, dict)
    assert root.value["a"].value == text

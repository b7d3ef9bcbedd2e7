"""YAML to settings, on classes of its own: every mistake with its line and a remedy."""

import math
from dataclasses import FrozenInstanceError, field, replace
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from recmtl.errors import ConfigError
from recmtl.schema import reading
from recmtl.schema.reading import with_lines, without_lines
from recmtl.schema.settings import settings
from recmtl.schema.yaml_text import Problems, parse, plain_scalar


@settings(ConfigError)
class Inner:
    size: int
    rate: float = 0.1

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError("size must be at least 1")


@settings(ConfigError)
class Outer:
    name: str
    mode: Literal["fast", "exact"] = "fast"
    seeds: tuple[int, ...] = (0,)
    inner: Inner | None = None
    many: dict[str, Inner] = field(default_factory=dict)
    limit: int | str | None = None


def load(text: str) -> Outer:
    return reading.load(Outer, text, source="c.yaml", error=ConfigError)


def test_values_reach_their_types() -> None:
    text = """
name: a
mode: exact
seeds: [1, 2]
inner: {size: 3, rate: 2}
many: {x: {size: 1, rate: 1e-3}}
limit: none
"""
    many = {"x": Inner(1, 0.001)}
    assert load(text) == Outer("a", "exact", (1, 2), Inner(3, 2.0), many, "none")
    assert type(load(text).inner.rate) is float  # type: ignore[union-attr] # given above


def test_defaults_fill_what_is_left_out_and_null_means_none() -> None:
    assert load("name: a\nlimit: null\n") == Outer("a")


def test_other_defaults_fill_what_the_text_leaves_out_at_any_depth() -> None:
    defaults = {"name": "a", "seeds": (1, 2), "inner": {"size": 3, "rate": 0.5}}

    def completed(text: str) -> Outer:
        return reading.load(Outer, text, source="c.yaml", error=ConfigError, defaults=defaults)

    assert completed("mode: exact") == Outer("a", "exact", (1, 2), Inner(3, 0.5))
    assert completed("inner: {size: 4}\nseeds: [0]") == Outer("a", inner=Inner(4, 0.5))
    assert completed("inner: null") == Outer("a", seeds=(1, 2))
    with pytest.raises(ConfigError, match=r"c\.yaml:2: inner: size must be at least 1"):
        completed("mode: exact\ninner: {size: 0}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mode: fast", "c.yaml:1: missing key 'name'"),
        ("name: a\nmode: fats", "c.yaml:2: mode: must be one of fast, exact, not 'fats'; did you"),
        ("name: a\nseeds: 3", "c.yaml:2: seeds: must be a list, not 3"),
        ("name: a\nseeds:\n  - 1\n  - x", "c.yaml:4: seeds[1]: must be a whole number, not 'x'"),
        ("name: a\nseeds: [true]", "c.yaml:2: seeds[0]: must be a whole number, not true"),
        ("name: a\ninner:\n  size: 0", "c.yaml:3: inner: size must be at least 1"),
        ("name: a\ninner:\n  size: 1\n  raet: 1", "c.yaml:4: inner: unknown key 'raet'; did you"),
        ("name: a\nmany:\n  x:\n    size: 1.5", "c.yaml:4: many.x.size: must be a whole number"),
        ("name: a\ninner: {size: 1, rate: .nan}", "c.yaml:2: inner.rate: must be a finite number"),
        ("name: a\nlimit: 1.5", "c.yaml:2: limit: must be a whole number or text, not 1.5"),
        ("name:", "c.yaml:1: name: must be text, not empty"),
        ("- a", "c.yaml:1: must be a mapping, not a list"),
        ("", "c.yaml:1: missing key 'name'"),
    ],
)
def test_a_mistake_names_line_place_and_what_is_wanted(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert str(caught.value).startswith(message)


def test_mistakes_in_several_places_are_told_together() -> None:
    with pytest.raises(ConfigError) as caught:
        load("mode: 3\nseeds: [a]\ninner: {size: 0}\nother: 1\n")
    assert len(str(caught.value).splitlines()) == 5


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[("no", "no"), ("2024-01-31", "2024-01-31"), ("12:30", "12:30"), ("1e-3", 0.001)],
        *[("-7", -7), ("True", True), ("~", None), ("1_000", "1_000"), (".5", 0.5), ("5.", 5.0)],
    ],
)
def test_scalars_follow_the_core_rules(text: str, value: object) -> None:
    scalar = plain_scalar(text)
    assert scalar == value
    assert type(scalar) is type(value)


@settings(ConfigError)
class Odd:
    """Annotations that `Outer` has not."""

    free: Any = None
    either: int | tuple[str, ...] = 0
    choice: Literal[1, "auto"] = 1
    flag: bool = False


def load_odd(text: str) -> Odd:
    return reading.load(Odd, text, source="o.yaml", error=ConfigError)


def test_what_is_checked_elsewhere_arrives_without_its_lines() -> None:
    text = "free: {a: [1, {b: no}], c: null}"
    assert load_odd(text).free == {"a": [1, {"b": "no"}], "c": None}


@pytest.mark.parametrize(
    ("text", "value"),
    [("either: 3", 3), ("either: [a, b]", ("a", "b")), ("either: []", ())],
)
def test_a_union_takes_the_form_that_fits(text: str, value: object) -> None:
    assert load_odd(text).either == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("either: [1]", "o.yaml:1: either[0]: must be text, not 1; write '1' in quotes"),
        ("either: {a: 1}", "o.yaml:1: either: must be a whole number or a list, not a mapping"),
        ("either: x", "o.yaml:1: either: must be a whole number or a list, not 'x'"),
        ("choice: 2", "o.yaml:1: choice: must be one of 1, auto, not 2"),
        ("choice: '1'", "o.yaml:1: choice: must be one of 1, auto, not '1'; drop the quotes"),
        ("flag: yes", "o.yaml:1: flag: must be true or false, not 'yes'"),
        ("flag: {}", "o.yaml:1: flag: must be true or false, not a mapping"),
        ("? [a]\n: 1", "o.yaml:1: a key must be a single word"),
        ("free:\n  ? {a: 1}\n  : 1", "o.yaml:2: free: a key must be a single word"),
        ("free: {a: 1,\n  a: 2}", "o.yaml:2: free: key 'a' is given twice"),
        ("free: [" * 2000, "o.yaml:1: nested too deep"),
        ("flag: *x", "o.yaml:1: aliases (*name) are not supported; write the value out"),
        ("free: 'a", "o.yaml:1: not valid YAML: found unexpected end of stream"),
        ("just text", "o.yaml:1: must be a mapping, not 'just text'"),
    ],
)
def test_odd_texts_have_their_message(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_odd(text)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("text", ["name: a\nmany: [x]", "name: a\nmany: {x: 3}"])
def test_a_mapping_of_parts_is_checked_part_by_part(text: str) -> None:
    place = "many" if "[" in text else "many.x"
    with pytest.raises(ConfigError, match=rf"c\.yaml:2: {place}: must be a mapping, not"):
        load(text)


def test_mistakes_come_in_the_order_of_the_file_and_once() -> None:
    problems = Problems("f")
    for line, message in [(9, "last"), (2, "first"), (9, "last"), (2, "second")]:
        problems.add(line, "a.b", message)
    problems.add(5, "", "whole file")
    assert len(problems) == 4
    with pytest.raises(ConfigError) as caught:
        problems.raise_as(ConfigError)
    assert str(caught.value).splitlines() == [
        "f:2: a.b: first",
        "f:2: a.b: second",
        "f:5: whole file",
        "f:9: a.b: last",
    ]
    Problems("f").raise_as(ConfigError)


def test_a_class_built_in_python_tells_all_mistakes_too() -> None:
    with pytest.raises(ConfigError) as caught:
        Outer("a", mode="fats", seeds=(True,), inner={"size": 0}, limt=3)  # type: ignore[arg-type,call-arg]
    assert str(caught.value).splitlines() == [
        "Outer: unknown key 'limt'; did you mean 'limit'?",
        "Outer: mode: must be one of fast, exact, not 'fats'; did you mean 'fast'?",
        "Outer: seeds[0]: must be a whole number, not true",
        "Outer: inner: size must be at least 1",
    ]


def test_python_may_write_lists_and_mappings_as_yaml_does() -> None:
    built = Outer("a", seeds=[1, 2], inner={"size": 3})  # type: ignore[arg-type]
    assert built == Outer("a", seeds=(1, 2), inner=Inner(3))
    assert replace(built, seeds=()) == Outer("a", seeds=(), inner=Inner(3))
    with pytest.raises(FrozenInstanceError):
        built.name = "b"  # type: ignore[misc]


def test_a_mistake_in_one_form_of_several_is_told_of_that_form() -> None:
    @settings(ConfigError)
    class Either:
        what: str | Inner | tuple[str, ...] = ""

    for text, message in [
        ("what: {sise: 1}", "s:1: what: unknown key 'sise'; did you mean 'size'?"),
        ("what: {size: 0}", "s:1: what: size must be at least 1"),
        ("what: 3", "s:1: what: must be text or a mapping or a list, not 3"),
        ("what: [3]", "s:1: what[0]: must be text, not 3; write '3' in quotes"),
    ]:
        with pytest.raises(ConfigError) as caught:
            reading.load(Either, text, source="s", error=ConfigError)
        assert str(caught.value).splitlines()[0] == message


@given(st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_lines_are_added_and_taken_away(value: object) -> None:
    assert without_lines(with_lines(value, 3)) == value


@given(st.integers(-(10**30), 10**30))
def test_whole_numbers_keep_every_digit(number: int) -> None:
    assert plain_scalar(str(number)) == number
    assert type(plain_scalar(f"+{abs(number)}")) is int


def test_a_number_too_long_to_be_one_is_infinite_and_refused() -> None:
    assert plain_scalar("9" * 400) == math.inf
    with pytest.raises(ConfigError, match=r"inner\.rate: must be a finite number"):
        load("name: a\ninner: {size: 1, rate: " + "9" * 400 + "}")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_fractions_are_read_as_python_writes_them(number: float) -> None:
    assert plain_scalar(repr(number)) == number


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("ab :#'-\n", max_size=4),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(st.sampled_from("abc"), children, max_size=3)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from("abc"), documents, min_size=1))
def test_any_document_is_read_as_another_reader_of_yaml_reads_it(document: dict[str, Any]) -> None:
    """PyYAML's own writer quotes what its reader would take for something else."""
    problems = Problems("f")
    root = parse(yaml.safe_dump(document), problems)
    assert len(problems) == 0 and root is not None
    assert without_lines(root) == document


@given(st.lists(st.sampled_from(["a: 1", "b: [1, 2]", "# text", "c: {d: 1}"]), max_size=6))
def test_every_value_knows_its_line(lines: list[str]) -> None:
    unique = [line if line.startswith("#") else f"k{i}{line}" for i, line in enumerate(lines)]
    root = parse("\n".join(unique), Problems("f"))
    assert root is not None and isinstance(root.value, dict)
    expected = {
        line.split(":")[0]: number
        for number, line in enumerate(unique, 1)
        if not line.startswith("#")
    }
    assert {key: node.line for key, node in root.value.items()} == expected

"""The strict reader, on configurations of its own."""

from dataclasses import dataclass, field
from typing import Literal

import pytest

from recmtl.errors import ConfigError
from recmtl.schema import strict_yaml as strict


@dataclass(frozen=True)
class Inner:
    size: int
    rate: float = 0.1

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError("size must be at least 1")


@dataclass(frozen=True)
class Outer:
    name: str
    mode: Literal["fast", "exact"] = "fast"
    seeds: tuple[int, ...] = (0,)
    inner: Inner | None = None
    many: dict[str, Inner] = field(default_factory=dict)
    limit: int | str | None = None


def load(text: str) -> Outer:
    return strict.load(Outer, text, source="c.yaml", error=ConfigError)


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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mode: fast", "c.yaml:1: missing key 'name'"),
        ("name: a\nmode: fats", "c.yaml:2: mode: must be one of fast, exact, not 'fats'; did you"),
        ("name: a\nseeds: 3", "c.yaml:2: seeds: must be a list, not 3"),
        ("name: a\nseeds:\n  - 1\n  - x", "c.yaml:4: seeds[1]: must be a whole number, not 'x'"),
        ("name: a\nseeds: [true]", "c.yaml:2: seeds[0]: must be a whole number, not true"),
        ("name: a\ninner:\n  size: 0", "c.yaml:2: inner: size must be at least 1"),
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
    found = strict.plain_scalar(text)
    assert found == value
    assert type(found) is type(value)

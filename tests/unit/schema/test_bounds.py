"""Every number of a schema and a configuration has bounds, and is refused beyond them."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from recmtl.errors import ConfigError, SchemaError
from recmtl.model import ModelSizes
from recmtl.model.heads import Chain
from recmtl.schema import (
    Categorical,
    Condition,
    ExactValues,
    ListOf,
    Numeric,
    SplitRule,
    TaskSpec,
    parse_schema,
)
from recmtl.schema.bounds import FINITE, Within, numeric_fields
from recmtl.schema.strict_yaml import load
from recmtl.train.config import Budget, Config
from recmtl.vision.config import VisionConfig

Make = Callable[..., Any]
SCHEMA_PARTS: dict[type, Make] = {
    Categorical: lambda **v: Categorical("f", "c", **v),
    ExactValues: ExactValues,
    Numeric: lambda **v: Numeric("f", "c", **v),
    ListOf: lambda **v: ListOf("f", "c", **v),
    TaskSpec: lambda **v: TaskSpec("t", "binary", Condition("y"), **v),
    SplitRule: lambda **v: SplitRule("random", **v),
    Condition: lambda **v: Condition("c", **v),
}
WITHOUT_BOUNDS = {"Condition.equals", "Condition.one_of", "SplitRule.validation_from"} | {
    "SplitRule.test_from"
}
"""Values to compare data with, which may hold any id and any time."""


def settings_in(cls: type[Any]) -> Iterator[type[Any]]:
    """A class of settings, and those of its fields."""
    yield cls
    for field in dataclasses.fields(cls):
        factory = field.default_factory
        if dataclasses.is_dataclass(factory):
            yield from settings_in(factory)  # type: ignore[arg-type] # a class that makes itself


CONFIGURED = sorted(
    {*settings_in(Config), *settings_in(VisionConfig), Budget, ModelSizes, Chain},
    key=lambda cls: str(cls.__name__),
)
NUMBERS = [
    (cls, SCHEMA_PARTS.get(cls, cls), name, whole, bounds)
    for cls in (*CONFIGURED, *SCHEMA_PARTS)
    for name, (whole, bounds) in numeric_fields(cls).items()
    if f"{cls.__name__}.{name}" not in WITHOUT_BOUNDS
]


def held(cls: type[Any], name: str, value: object) -> object:
    """The value in the form of the field: alone, in a tuple, or in a mapping."""
    kind = str({f.name: f for f in dataclasses.fields(cls)}[name].type)
    if kind.startswith(("tuple", "typing.Annotated[tuple")):
        return (value, value)
    return {"click": value} if kind.startswith("dict") else value


def test_the_numbers_of_all_settings_are_looked_at() -> None:
    assert len(NUMBERS) > 70
    assert {"ModelSizes", "Chain", "TrunkShape", "Search"} <= {cls.__name__ for cls, *_ in NUMBERS}


@pytest.mark.parametrize(("cls", "make", "name", "whole", "bounds"), NUMBERS)
def test_a_number_beyond_reason_is_refused_by_its_name(
    cls: type[Any], make: Make, name: str, whole: bool, bounds: Within | None
) -> None:
    assert bounds is not None, f"{cls.__name__}.{name} has no bounds"
    huge = 10**400 if bounds is FINITE else 10**30
    for wrong in (math.nan, math.inf, -math.inf, -huge, huge, True, "1"):
        with pytest.raises(ValueError, match=rf"^{name}(\.click)? must be"):
            make(**{name: held(cls, name, wrong)})


@pytest.mark.parametrize(("cls", "make", "name", "whole", "bounds"), NUMBERS)
def test_bounds_hold_what_they_say(
    cls: type[Any], make: Make, name: str, whole: bool, bounds: Within | None
) -> None:
    assert bounds is not None
    for edge, outside in ((bounds.low, bounds.above), (bounds.high, bounds.below)):
        value = int(edge) if whole else float(edge)
        if outside:
            with pytest.raises(ValueError, match=name):
                bounds.check(name, value, whole=whole)
        else:
            bounds.check(name, value, whole=whole)


def test_a_huge_number_is_shown_short() -> None:
    with pytest.raises(ValueError, match=r"^n must be at most 5, not 9{20}\.\.\. \(300 digits\)$"):
        Within(0, 5).check("n", int("9" * 300), whole=True)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "seed: 1\nsizes:\n  embedding: 8\n  dropout: -0.1\n",
            "4: sizes: dropout must be at least 0",
        ),
        ("grid:\n  depth: 2\n  widths: [1000000000]\n", "3: grid: widths must be at most 65,536"),
        ("training:\n  epochs: 1\n  clip: -1\n", "3: training: clip must be at least 0, not -1"),
        ("calibration:\n  kept_negatives:\n    a: 2\n", "2: calibration: kept_negatives.a must be"),
        ("seed: -1\n", "1: seed must be at least 0, not -1"),
        ("training:\n  epochs: true\n", "2: training.epochs: must be a whole number, not true"),
        ("training:\n  epochs: '3'\n", "2: training.epochs: must be a whole number, not '3'"),
        ("sizes:\n  dropout: .nan\n", "2: sizes.dropout: must be a finite number"),
        (f"training:\n  epochs: {'9' * 300}\n", "2: training: epochs must be at most 1,000,000"),
    ],
)
def test_a_number_in_a_file_is_refused_with_its_line(text: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(Config, text, source="c.yaml", error=ConfigError)
    assert str(caught.value).startswith(f"c.yaml:{line}")


def test_a_number_of_a_schema_is_refused_with_its_line() -> None:
    text = (
        "version: 1\nname: s\nfeatures:\n  x:\n    kind: categorical\n"
        "    hash_buckets: 10000000000\n"
        "tasks: {t: {kind: binary, label: y}}\nsplit:\n  by: random\n  validation: -0.5\n"
    )
    with pytest.raises(SchemaError) as caught:
        parse_schema(text, source="s.yaml")
    assert str(caught.value).splitlines() == [
        "s.yaml:6: features.x: hash_buckets must be at most 1,000,000,000, not 10000000000",
        "s.yaml:10: split: validation must be above 0, not -0.5",
    ]

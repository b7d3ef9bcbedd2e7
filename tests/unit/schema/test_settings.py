"""Every number of a schema and a configuration has bounds, and is refused beyond them."""

import dataclasses
import importlib
import inspect
import math
import pkgutil
import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
from annotated_types import Ge, Gt, Le, Lt
from pydantic.dataclasses import is_pydantic_dataclass
from pydantic.fields import FieldInfo

from recmtl.errors import ConfigError, SchemaError
from recmtl.model import ModelSizes
from recmtl.model.heads import Chain
from recmtl.schema import (
    Categorical,
    Condition,
    ExactValues,
    ListOf,
    Numeric,
    Schema,
    SplitRule,
    TaskSpec,
    parse_schema,
)
from recmtl.schema.reading import load
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
WITHOUT_BOUNDS = {
    "Condition.equals",
    "Condition.one_of",
    "Condition.contains",
    "Condition.not_",
    "Categorical.default",
    "SplitRule.validation_from",
} | {"SplitRule.test_from"}
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


def bounds_in(annotation: Any) -> Iterator[tuple[type, list[Any]]]:
    """Each kind of number in an annotation, with the bounds that stand beside it."""
    if get_origin(annotation) is Annotated:
        inner, *extras = get_args(annotation)
        for kind, bounds in bounds_in(inner):
            fields = [extra for extra in extras if isinstance(extra, FieldInfo)]
            yield kind, [*bounds, *(bound for field in fields for bound in field.metadata)]
    elif annotation in (int, float):
        yield annotation, []
    else:
        for part in get_args(annotation):
            yield from bounds_in(part)


NUMBERS = [
    (cls, SCHEMA_PARTS.get(cls, cls), name, kind, bounds)
    for cls in (*CONFIGURED, *SCHEMA_PARTS)
    for name, hint in get_type_hints(cls, include_extras=True).items()
    for kind, bounds in bounds_in(hint)
    if f"{cls.__name__}.{name}" not in WITHOUT_BOUNDS
]


def held(cls: type[Any], name: str, value: object) -> object:
    """The value in the form of the field: alone, in a tuple, or in a mapping."""
    kind = str({f.name: f for f in dataclasses.fields(cls)}[name].type)
    if kind.startswith("tuple"):
        return (value, value)
    return {"click": value} if kind.startswith("dict") else value


def test_the_numbers_of_all_settings_are_looked_at() -> None:
    assert len(NUMBERS) > 70
    assert {"ModelSizes", "Chain", "TrunkShape", "Search"} <= {cls.__name__ for cls, *_ in NUMBERS}


@pytest.mark.parametrize(("cls", "make", "name", "kind", "bounds"), NUMBERS)
def test_a_number_beyond_reason_is_refused_by_its_name(
    cls: type[Any], make: Make, name: str, kind: type, bounds: list[Any]
) -> None:
    assert {type(bound) for bound in bounds} & {Ge, Gt}, f"{cls.__name__}.{name} has no lower bound"
    assert {type(bound) for bound in bounds} & {Le, Lt}, f"{cls.__name__}.{name} has no upper bound"
    for wrong in (math.nan, math.inf, -math.inf, -(10**400), 10**400, True, "1"):
        with pytest.raises(ValueError, match=rf"{name}(\.click|\[0\])?: must be"):
            make(**{name: held(cls, name, wrong)})


@pytest.mark.parametrize(
    ("value", "kind"), [("yes", "bool"), (1, "bool"), (b"a", "str"), (1, "str")]
)
def test_no_value_is_taken_for_one_of_another_kind(value: object, kind: str) -> None:
    names = {
        "bool": [(Numeric, "log"), (VisionConfig, "search.race")],
        "str": [(Numeric, "column")],
    }
    for cls, path in names[kind]:
        outer, _, inner = path.partition(".")
        with pytest.raises(ValueError, match=rf"{path}: must be"):
            cls(**{outer: {inner: value} if inner else value})


def test_a_huge_number_is_shown_short() -> None:
    with pytest.raises(ConfigError, match=r"at most .*, not 9{20}\.\.\. \(300 digits\)$"):
        Config(seed=int("9" * 300))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "seed: 1\nsizes:\n  embedding: 8\n  dropout: -0.1\n",
            "4: sizes.dropout: must be at least 0",
        ),
        (
            "grid:\n  depth: 2\n  widths: [1000000000]\n",
            "3: grid.widths[0]: must be at most 65,536",
        ),
        ("training:\n  epochs: 1\n  clip: -1\n", "3: training.clip: must be at least 0, not -1"),
        ("calibration:\n  kept_negatives:\n    a: 2\n", "3: calibration.kept_negatives.a: must be"),
        ("seed: -1\n", "1: seed: must be at least 0, not -1"),
        ("training:\n  epochs: true\n", "2: training.epochs: must be a whole number, not true"),
        ("training:\n  epochs: '3'\n", "2: training.epochs: must be a whole number, not '3'"),
        ("sizes:\n  dropout: .nan\n", "2: sizes.dropout: must be a finite number"),
        (f"training:\n  epochs: {'9' * 300}\n", "2: training.epochs: must be at most 1,000,000"),
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
        "s.yaml:6: features.x.hash_buckets: must be at most 1,000,000,000, not 10000000000",
        "s.yaml:10: split.validation: must be above 0, not -0.5",
    ]


def classes_of_settings() -> list[type]:
    """Every class of settings in the package."""
    rooms = ("recmtl.schema", "recmtl.train", "recmtl.model", "recmtl.vision", "recmtl.forest")
    every = []
    for room in rooms:
        package = importlib.import_module(room)
        for _, name, _ in pkgutil.walk_packages(package.__path__, f"{room}."):
            module = importlib.import_module(name)
            every += [
                value
                for value in vars(module).values()
                if is_pydantic_dataclass(value) and value.__module__ == name
            ]
    return every


def test_signatures_show_plain_types_and_what_a_default_is() -> None:
    classes = classes_of_settings()
    assert len(classes) > 25
    for cls in classes:
        shown = str(inspect.signature(cls))
        assert not re.search(r"Annotated|Strict|FieldInfo|factory|Validator", shown), cls
        assert list(inspect.signature(cls).parameters) == [f.name for f in dataclasses.fields(cls)]
    assert str(inspect.signature(Budget)).startswith("(") and "grid: recmtl" in str(
        inspect.signature(Config)
    )
    assert "roles: recmtl.schema.definition.Roles = Roles()," in str(inspect.signature(Schema))
    assert "sizes: recmtl.model.network.ModelSizes = ModelSizes(...)," in str(
        inspect.signature(Config)
    )

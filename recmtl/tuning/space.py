"""The space of a tuning: which settings are tried, checked before anything is trained.

A setting is named by its place in the configuration, `training.learning_rate`, or in the schema,
`schema.statistics.user_past.smoothing`. A change of the schema means a log of its own.
"""

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce
from typing import Any, get_args

from recmtl.errors import ConfigError, RecmtlError, did_you_mean
from recmtl.job.work.items import SEARCHED
from recmtl.report.tune_page import value_text
from recmtl.schema import Schema
from recmtl.schema.reading import classes_in
from recmtl.schema.settings import plain
from recmtl.train.config import Config
from recmtl.train.recipe.tune import DEFAULT_SPACE, Range

__all__ = [
    "Setting",
    "Space",
    "Values",
    "config_with",
    "configured",
    "schema_with",
    "sizes_of",
]

Values = dict[str, Any]
"""Place of a setting -> the value that a trial has there."""
TRIED = ("sizes", "grid", "training", "search")
"""Sections of the configuration whose settings may be tried."""
FIXED = ("training.stop_metric", "training.stop_tasks", "training.rows")
"""What is measured, and on what, is the same for all trials."""
SCHEMA, SECTIONS = "schema", ("features", "statistics")
DIGITS = 3


@dataclass(frozen=True)
class Setting:
    """A setting that is tried.

    Attributes:
        path: its place.
        choices: its values as JSON, which tells 1 from true and holds lists; none of a range.
        range: its numbers; None if it has choices.
        is_whole: whether the numbers of the range are whole.
    """

    path: str
    choices: tuple[str, ...] = ()
    range: Range | None = None
    is_whole: bool = False

    def rounded(self, value: float) -> float | int:
        """A number as it is written: whole, or of three digits, and still within the range."""
        if self.range is None:
            raise ValueError(f"{self.path} has choices")
        if self.is_whole:
            return round(value)
        return min(max(float(f"{value:.{DIGITS}g}"), self.range.low), self.range.high)

    def choice_of(self, value: Any) -> str | None:
        """The choice that is this value, if one is: 20 and 20.0 are the same, 1 and true not."""
        texts = (json.dumps(value), json.dumps(float(value)) if type(value) is int else "")
        same = {choice: {choice, _as_float(choice)} for choice in self.choices}
        return next((choice for choice, forms in same.items() if not forms.isdisjoint(texts)), None)

    def holds(self, value: Any) -> bool:
        """Whether the space holds this value of the setting."""
        if self.range is None:
            return self.choice_of(value) is not None
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and self.range.low <= value <= self.range.high

    def examples(self) -> list[Any]:
        """Every choice, or both ends of the range."""
        if self.range is None:
            return [json.loads(choice) for choice in self.choices]
        return [self.rounded(self.range.low), self.rounded(self.range.high)]


@dataclass(frozen=True)
class Space:
    """All settings that are tried, of one configuration and one schema.

    Attributes:
        settings: in the order in which they are written.
        config: the configuration that trials differ from.
        schema: the schema that trials differ from.
    """

    settings: tuple[Setting, ...]
    config: Config
    schema: Schema

    @classmethod
    def of(cls, config: Config, schema: Schema) -> "Space":
        """The space that a configuration names, or the published one.

        Raises:
            ConfigError: a setting does not exist, cannot be tried, or refuses one of its values.
        """
        named = config.tune.space or DEFAULT_SPACE
        space = cls(tuple(_setting(p, v, config, schema) for p, v in named.items()), config, schema)
        for setting in space.settings:
            for value in setting.examples():
                try:
                    space.applied({setting.path: value})
                except (RecmtlError, ValueError) as error:
                    raise _fault(setting.path, f"{value_text(value)} is refused: {error}") from None
        return space

    def applied(self, values: Values) -> tuple[Config, Schema]:
        """Configuration and schema with these values.

        Raises:
            RecmtlError: they refuse the values, perhaps only these together.
        """
        return config_with(self.config, values), schema_with(self.schema, values)

    @property
    def as_configured(self) -> Values:
        """The values that the configuration and the schema themselves have; of names, the first."""
        return {s.path: configured(s.path, self.config, self.schema) for s in self.settings}

    @property
    def tries_schemas(self) -> bool:
        """Whether trials differ in their schemas, and so in their logs."""
        return any(setting.path.startswith(f"{SCHEMA}.") for setting in self.settings)


def config_with(config: Config, values: Values) -> Config:
    """A configuration with the values of its settings; those of the schema are passed over.

    Raises:
        ConfigError: it refuses them.
    """
    content = asdict(config)
    for path, value in values.items():
        *sections, name = path.split(".")
        if sections[0] != SCHEMA:
            reduce(lambda part, section: part[section], sections, content)[name] = value
    return type(config)(**content)


def schema_with(schema: Schema, values: Values) -> Schema:
    """A schema with the values of its settings; those of the configuration are passed over.

    Raises:
        SchemaError: it refuses them.
    """
    for path, value in values.items():
        head, *parts = path.split(".")
        if head == SCHEMA:
            schema = _with_option(schema, parts, value)
    return schema


def sizes_of(values: Values) -> Values:
    """Those of the values that are sizes of embeddings, which no log depends on."""
    prefix = f"{SCHEMA}.features."
    return {p: v for p, v in values.items() if p.startswith(prefix) and p.endswith(".dim")}


def configured(path: str, config: Config, schema: Schema) -> Any:
    """The value of a setting, as YAML would hold it; of several names that of the first."""
    head, *parts = path.split(".")
    if head == SCHEMA:
        value = getattr(next(_named(schema, parts)), parts[-1])
    else:
        value = reduce(getattr, parts, getattr(config, head))
    return json.loads(json.dumps(value))


def _as_float(choice: str) -> str:
    """The JSON of a whole number as that of a number; other JSON as it is."""
    value = json.loads(choice)
    return json.dumps(float(value)) if type(value) is int else choice


def _setting(path: str, values: Range | Sequence[Any], config: Config, schema: Schema) -> Setting:
    """A setting of the space, whose place exists."""
    head, *parts = path.split(".")
    if head == SCHEMA:
        annotation = _type_in_schema(path, parts, schema)
    elif head not in TRIED or not parts:
        text = f"is no setting that can be tried; those of {', '.join((*TRIED, SCHEMA))} can"
        raise _fault(path, text)
    else:
        annotation = _type_in(path, config)
    if path in FIXED:
        raise _fault(path, "is the same for all trials, or their scores would not compare")
    if head == "search" and config.tune.model not in SEARCHED:
        raise _fault(path, f"changes nothing of {config.tune.model}; set tune.model: searched")
    if not isinstance(values, Range):
        return Setting(path, choices=tuple(dict.fromkeys(map(json.dumps, values))))
    kinds = {plain(annotation), *get_args(plain(annotation))}
    if not kinds & {int, float}:
        raise _fault(path, "is no number; list its choices")
    is_whole = float not in kinds
    if is_whole and math.ceil(values.low) > math.floor(values.high):
        raise _fault(path, "is a whole number, and the range holds none")
    if is_whole:
        low, high = float(math.ceil(values.low)), float(math.floor(values.high))
        values = replace(values, low=low, high=high)
    return Setting(path, range=values, is_whole=is_whole)


def _type_in(path: str, config: Config) -> Any:
    """The annotation of a setting of the configuration."""
    annotation: Any = type(config)
    for part in path.split("."):
        fields = {f.name: f.type for c in classes_in(annotation) for f in dataclasses.fields(c)}
        if part not in fields:
            raise _fault(path, f"there is no {part!r}{did_you_mean(part, fields)}")
        annotation = fields[part]
    if dataclasses.is_dataclass(annotation):
        raise _fault(path, "is a section; name one of its settings")
    return annotation


def _type_in_schema(path: str, parts: Sequence[str], schema: Schema) -> Any:
    """The annotation of an option of features or statistics."""
    if len(parts) != 3 or parts[0] not in SECTIONS:
        raise _fault(path, "write schema.features.NAMES.OPTION or schema.statistics.NAMES.OPTION")
    names = {part.name for part in getattr(schema, parts[0])}
    for name in parts[1].split(",") if parts[1] != "*" else ():
        if name not in names:
            raise _fault(path, f"the schema has no {name!r} there{did_you_mean(name, names)}")
    changed = list(_named(schema, parts))
    if not changed:
        raise _fault(path, f"nothing there has the option {parts[2]!r}")
    return next(f.type for f in dataclasses.fields(changed[0]) if f.name == parts[2])


def _named(schema: Schema, parts: Sequence[str]) -> Iterator[Any]:
    """The features or statistics that a place in the schema names, of those with the option."""
    section, names, option = parts
    for entry in getattr(schema, section):
        is_named = names == "*" or entry.name in names.split(",")
        if is_named and option in {field.name for field in dataclasses.fields(entry)}:
            yield entry


def _with_option(schema: Schema, parts: Sequence[str], value: Any) -> Schema:
    """The schema with an option of some entries changed."""
    section, _, option = parts
    changed: Mapping[int, Any] = {
        id(entry): replace(entry, **{option: value}) for entry in _named(schema, parts)
    }
    entries = [changed.get(id(entry), entry) for entry in getattr(schema, section)]
    parts_of_schema: dict[str, Any] = {section: tuple(entries)}
    return replace(schema, **parts_of_schema)


def _fault(path: str, text: str) -> ConfigError:
    return ConfigError(f"tune.space: {path}: {text}")

"""The schema as frozen dataclasses: features, tasks, roles, split, side tables.

Names are the keys of the YAML file; columns are those of the Parquet data. Each class checks its
own values; `recmtl.schema.rules` checks the parts against one another.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import field
from functools import cached_property
from importlib import import_module
from itertools import starmap
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from recmtl.atomic import write_text
from recmtl.errors import SchemaError
from recmtl.schema.condition import ComputedColumn, Condition, Label
from recmtl.schema.daily.sample import ASample
from recmtl.schema.daily.watch import WatchLimits
from recmtl.schema.features import (
    BY_NAME,
    KINDS,
    AFeature,
    EncodedFeature,
    Feature,
    derived_of,
)
from recmtl.schema.kinds.crosses import Cross
from recmtl.schema.kinds.lists import ListOf
from recmtl.schema.kinds.single import Categorical, ExactValues, Numeric
from recmtl.schema.kinds.texts import Text
from recmtl.schema.kinds.times import Datetime
from recmtl.schema.kinds.vectors import Vector
from recmtl.schema.settings import settings
from recmtl.schema.statistics import DerivedFeature, Outcome, PastStatistics
from recmtl.schema.tasks.group_loss import GroupLoss
from recmtl.schema.tasks.head import Head
from recmtl.schema.tasks.position import APosition, Position
from recmtl.schema.tasks.task import ATask, TaskSpec
from recmtl.schema.text_files import ListCells, Pairs, TextFiles

__all__ = [
    "Categorical",
    "ComputedColumn",
    "Condition",
    "Cross",
    "Datetime",
    "DerivedFeature",
    "EncodedFeature",
    "ExactValues",
    "Feature",
    "GroupLoss",
    "Head",
    "Label",
    "ListCells",
    "ListOf",
    "Numeric",
    "Outcome",
    "Pairs",
    "PastStatistics",
    "Position",
    "Roles",
    "Schema",
    "SideTable",
    "SplitRule",
    "TaskSpec",
    "Text",
    "TextFiles",
    "Vector",
]


@settings(SchemaError)
class Roles:
    """Columns with a purpose of their own; each is optional.

    Attributes:
        group: user or request within which rows compete (ranking, GAUC, split by group).
        time: when the row happened.
        row_id: copied to the scored rows.
        sample_weight: weight of the row in losses and metrics.
        position: where the row was shown, which serving does not know: binary tasks learn without
            what the place explains.
    """

    group: str | None = None
    time: str | None = None
    row_id: str | None = None
    sample_weight: str | None = None
    position: APosition | None = None

    @property
    def columns(self) -> dict[str, str]:
        """The column of each role that is taken."""
        named = {name: getattr(self, name) for name in ("group", "time", "row_id", "sample_weight")}
        position = None if self.position is None else self.position.column
        every = {**named, "position": position}
        return {role: column for role, column in every.items() if column}


@settings(SchemaError)
class SplitRule:
    """How rows are divided into train, validation and test.

    Attributes:
        by: later rows, whole groups, single rows, or the word in a column decide.
        validation: fraction of all rows (groups) on which choices are made.
        test: fraction of all rows (groups) that are measured once.
        column: by group the grouping column (roles.group if None); by column the one that holds
            train, validation and test.
        seed: fixes the hash that decides by group and at random.
        validation_from: first value of roles.time in validation, in place of the fraction.
        test_from: first value of roles.time in test, in place of the fraction.
    """

    by: Literal["time", "group", "random", "column"]
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.1
    test: Annotated[float, Field(gt=0, lt=1)] = 0.1
    column: str | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] = 0
    validation_from: int | float | str | None = None
    test_from: int | float | str | None = None

    def __post_init__(self) -> None:
        """Check the fractions, and refuse keys of another way of splitting."""
        if self.validation + self.test >= 1:
            raise ValueError(
                "validation and test together leave no row to train on; lower one of them"
            )
        if self.by != "time" and (self.validation_from, self.test_from) != (None, None):
            raise ValueError("validation_from and test_from are for by: time only")
        if self.by == "column" and self.column is None:
            raise ValueError("by: column needs column: the one that holds train/validation/test")
        if self.by in ("time", "random") and self.column is not None:
            raise ValueError(f"column is not used by: {self.by}")


@settings(SchemaError)
class SideTable:
    """A table joined to the log by a key that both have.

    Attributes:
        path: a file of any format, absolute or relative to the folder of the data.
        key: the column in both; the side table has one row for each of its values.
        files: how it is laid out, if it is text, as far as it does not show it.
    """

    path: str
    key: str
    files: TextFiles | None = None


def _formula(value: Any) -> Any:
    """A computed column, or the entry of one as the values of its fields."""
    is_entry = isinstance(value, tuple)
    return {"name": value[0], "formula": value[1]} if is_entry else value


AComputed = Annotated[ComputedColumn, BeforeValidator(_formula)]


def _by(value: Any) -> Any:
    """The short form of a split that says only what decides."""
    return {"by": value} if isinstance(value, str) else value


@settings(SchemaError)
class Schema:
    """What the columns of a log mean; features and tasks keep the order of the file.

    Attributes:
        name: of the schema, under which models are registered.
        features: what networks read.
        tasks: the labels to predict.
        split: which rows train, validate and test.
        roles: columns with a purpose of their own.
        tables: side tables, joined to the log.
        ignore: columns that are left alone on purpose.
        statistics: numbers that the past of a row's keys gives; each is a numeric feature too.
        files: what cannot be seen in text files.
        formulas: columns computed from those of the log, for labels, rules, weights and numeric
            features.
        sample: tasks of whose negative rows only a share is kept.
        watch: limits of what a day may differ from the training, for `recmtl monitor`.
    """

    name: str
    features: Annotated[tuple[AFeature, ...], BY_NAME]
    tasks: Annotated[tuple[ATask, ...], BY_NAME]
    split: Annotated[SplitRule, BeforeValidator(_by)]
    roles: Roles = field(default_factory=Roles)
    tables: tuple[SideTable, ...] = ()
    ignore: tuple[str, ...] = ()
    statistics: tuple[PastStatistics, ...] = ()
    files: TextFiles | None = None
    formulas: Annotated[tuple[AComputed, ...], BY_NAME] = ()
    sample: Annotated[tuple[ASample, ...], BY_NAME] = ()
    watch: WatchLimits = field(default_factory=WatchLimits)

    @classmethod
    def load(cls, path: str | Path) -> "Schema":
        """Read a schema file; see `recmtl.schema.load_schema`."""
        schema: Schema = _yaml_form().load_schema(path)
        return schema

    def dump(self, path: str | Path | None = None) -> str:
        """The schema as YAML, which `load` reads back equal.

        Args:
            path: a file to write, too.
        """
        text: str = _yaml_form().dump_schema(self)
        if path is not None:
            write_text(Path(path), text)
        return text

    def __repr__(self) -> str:
        kinds = Counter(type(feature).__name__ for feature in self.features)
        features = ", ".join(f"{count} {KIND_NAMES[kind]}" for kind, count in kinds.items())
        tasks = ", ".join(_shown(task) for task in self.tasks)
        used = [f"{role} {column}" for role, column in self.roles.columns.items()]
        past = [f"{len(self.statistics)} statistics of the past"] if self.statistics else []
        parts = [f"tasks {tasks}", *past, *used, f"split by {self.split.by}"]
        return f"Schema {self.name}: {len(self.features)} features ({features}); {'; '.join(parts)}"

    @cached_property
    def texts(self) -> dict[bool, str]:
        """The schema as it was written before; see `recmtl.schema.yaml_form.dump_schema`."""
        return {}

    @cached_property
    def computed(self) -> tuple[DerivedFeature, ...]:
        """What features derive of a row alone: lengths and ages, parts of times, crosses, ..."""
        return tuple(starmap(DerivedFeature, derived_of(self.features, self.roles.time)))

    @cached_property
    def derived(self) -> tuple[DerivedFeature, ...]:
        """What is `computed` of a row alone, then statistics of the past."""
        past = (
            DerivedFeature(Numeric(n.name, n.name, log=n.is_logged), entry, self.read_by(entry))
            for entry in self.statistics
            for n in entry.numbers(self.outcomes(entry))
        )
        return (*self.computed, *past)

    @cached_property
    def encoded_features(self) -> tuple[EncodedFeature, ...]:
        """The features that have ids or numbers: those of columns, then those that are derived."""
        of_columns = (f for f in self.features if isinstance(f, EncodedFeature))
        return (*of_columns, *(derived.feature for derived in self.derived))

    def feature(self, name: str) -> Feature:
        """The feature called `name`, derived or not; raises `KeyError`."""
        return {f.name: f for f in (*self.features, *self.encoded_features)}[name]

    def task(self, name: str) -> TaskSpec:
        """The task called `name`; raises `KeyError`."""
        return {task.name: task for task in self.tasks}[name]

    def outcomes(self, entry: PastStatistics) -> tuple[Outcome, ...]:
        """What an entry of the statistics counts; raises `KeyError` if it names no task."""
        outcomes = []
        for what in entry.of:
            if isinstance(what, str):
                outcomes.append(Outcome(what, what, None, self.task(what).kind == "binary"))
            else:
                outcomes.append(Outcome(what.column, None, what, what.is_rule))
        return tuple(outcomes)

    def feature_columns(self) -> tuple[str, ...]:
        """The distinct columns that the features read, in order, with those of the statistics."""
        columns = [f.column for f in self.features if isinstance(f, EncodedFeature)]
        columns += [column for derived in self.computed for column in derived.columns]
        columns += [column for entry in self.statistics for column in self.read_by(entry)]
        return self.in_the_log(columns)

    def in_the_log(self, columns: Iterable[str]) -> tuple[str, ...]:
        """The distinct columns, each one that is computed replaced by those of its formula."""
        formulas = {column.name: column.parsed.names for column in self.formulas}
        every = (name for column in columns for name in formulas.get(column, (column,)))
        return tuple(dict.fromkeys(every))

    @cached_property
    def formulas_of_features(self) -> tuple[ComputedColumn, ...]:
        """The computed columns that features read."""
        columns = {feature.column for feature in self.features}
        return tuple(column for column in self.formulas if column.name in columns)

    def features_of(self, columns: Collection[str]) -> tuple[Feature, ...]:
        """The features that these columns suffice for.

        A history is whole or absent, with all lists that are aligned with it.
        """
        present, every = set(columns), self.encoded_features
        readable = {f.name for f in every if present.issuperset(self.columns_of([f.name]))}
        lists = [feature for feature in every if isinstance(feature, ListOf)]
        broken = {feature.history for feature in lists if feature.name not in readable}
        whole = {f.name for f in lists if f.history is None or f.history not in broken}
        readable -= {f.name for f in lists} - whole
        others = (feature for feature in self.features if isinstance(feature, Datetime | Text))
        readable |= {other.name for other in others if present.issuperset(other.columns)}
        return tuple(feature for feature in self.features if feature.name in readable)

    def read_by(self, entry: PastStatistics) -> tuple[str, ...]:
        """The columns by which the statistics of a row are looked up: its keys and its time."""
        return entry.keys if self.roles.time is None else (*entry.keys, self.roles.time)

    def columns_of(self, features: Iterable[str]) -> tuple[str, ...]:
        """The distinct columns by which these features are computed; raises `KeyError`."""
        derived = {d.feature.name: d.columns for d in self.derived}
        columns: list[str] = []
        for name in features:
            feature = self.feature(name)
            reads = feature.columns if isinstance(feature, Datetime) else (feature.column,)
            columns += derived.get(name, reads)
        return self.in_the_log(columns)

    def columns(self) -> tuple[str, ...]:
        """Every distinct column that preparing a log reads, those of the features first."""
        return tuple(dict.fromkeys([*self.feature_columns(), *self.other_columns()]))

    def other_columns(self) -> Iterator[str]:
        """The columns of labels and rules, of roles and of the split; some may come twice."""
        for task in self.tasks:
            yield task.label.column
            if task.label.time is not None:
                yield task.label.time
            if task.rows is not None:
                yield task.rows.column
            if task.sample_weight is not None:
                yield task.sample_weight
        for entry in self.statistics:
            yield from (what.column for what in entry.of if isinstance(what, Condition))
        # row_id is not among them: only scoring copies it.
        for column in (self.roles.group, self.roles.time, self.roles.sample_weight):
            if column is not None:
                yield column
        if self.roles.position is not None:
            yield self.roles.position.column
        if self.split.column is not None:
            yield self.split.column


def _yaml_form() -> Any:
    """The module that reads and writes schemas: by its name, since it is built on this one."""
    return import_module("recmtl.schema.yaml_form")


KIND_NAMES = {cls.__name__: kind for kind, cls in KINDS.items()}


def _shown(task: TaskSpec) -> str:
    """A task, and what is not usual about it: `purchase after click`, `watch (regression)`."""
    after = f" after {task.parent}" if task.parent is not None else ""
    return f"{task.name}{after}" if task.kind == "binary" else f"{task.name} ({task.kind})"

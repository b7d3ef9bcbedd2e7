"""Added days in which vocabularies grow: new values get rows, old ones may be retired.

    split  = split_of_days(schema, log)
    growth = grown(encoder, schema, log)              one pass over the days
    base   = write_base(folder, growth.encoder, ...)  a log without rows, to `prepare` the days like

Scalers and statistics of the past go on as they are: `prepare` adds the days to the statistics. A
network of the earlier encoder becomes one of the grown encoder by `rows_of_values`, which says
from which row of its table each new row starts.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.atomic import new_folder, write_json
from recmtl.data.columns.keys import Keys, feature_keys
from recmtl.data.columns.labels import LabelStatistics
from recmtl.data.columns.logical_type import LogicalType
from recmtl.data.columns.vocabulary import Vocabulary, VocabularyFit
from recmtl.data.content.of_values import ValueVectors, VectorTable
from recmtl.data.counted_log import CountedBatch, CountedLog
from recmtl.data.derived.columns import with_derived
from recmtl.data.derived.missing import filled
from recmtl.data.encoded_log import ArrayWriter, EncodedLog
from recmtl.data.row_encoder import RowEncoder
from recmtl.data.split import PARTS, ordered, plan_split
from recmtl.errors import ConfigError, SourceLocation
from recmtl.schema import Categorical, ListOf, Schema, SplitRule, Vector, dump_schema
from recmtl.schema.condition import seconds_of

__all__ = [
    "Growth",
    "VocabularyGrowth",
    "grown",
    "rows_of_values",
    "split_of_days",
    "table_of_grown",
    "write_base",
]

Ints = npt.NDArray[np.int64]
TRAIN = 0


@dataclass(frozen=True)
class VocabularyGrowth:
    """How many values a vocabulary has: `before`, `new` ones, `retired` ones."""

    before: int
    new: int = 0
    retired: int = 0


@dataclass(frozen=True)
class Growth:
    """A grown encoder, and what changed.

    Attributes:
        encoder: of the days; its statistics of the past are still those of the earlier one.
        vocabularies: what changed in each, by feature; hashed ones never change.
        span: the first and the last time of the days, as text; None without a column of time.
    """

    encoder: RowEncoder
    vocabularies: dict[str, VocabularyGrowth]
    span: tuple[str, str] | None


def split_of_days(schema: Schema, log: CountedLog) -> SplitRule:
    """How added days are split: as the schema says, as far as these days can be.

    Stated times of a split belong to one log, so its fractions take their place. Where too few
    times differ for that (one day, in a column of dates), groups are divided, or single rows.
    """
    split = schema.split
    if split.by != "time":
        return split
    split = replace(split, validation_from=None, test_from=None)
    assign, counts = plan_split(replace(schema, split=split), log), np.zeros(len(PARTS), np.int64)
    for batch in log.batches([str(schema.roles.time)]):
        counts += np.bincount(assign(batch), minlength=len(PARTS))
    if counts.all():
        return split
    return SplitRule(
        by="random" if schema.roles.group is None else "group",
        validation=split.validation,
        test=split.test,
        seed=split.seed,
    )


def grown(
    earlier: RowEncoder, schema: Schema, log: CountedLog, *, retire_after: str | int | None = None
) -> Growth:
    """Add the values of the days' train rows to the vocabularies of an encoder.

    A value that is new needs `min_count` train rows in these days. Values that are known keep
    their order, and new ones follow by descending count, ties by value.

    Args:
        earlier: the encoder that grows.
        schema: its schema, with the split of the days.
        log: the days.
        retire_after: retire values that no train row has had for so long: `90d`, or a number in
            the unit of a column of numbers; None retires none. A value of a vocabulary that has
            not grown before counts as seen when these days begin.

    Raises:
        ConfigError: there is no column of time, or the length does not fit it.
        DataError: a column is not what it was in the earlier log.
    """
    assign, time = plan_split(schema, log), schema.roles.time
    limit = None if retire_after is None else _length(retire_after, schema, log)
    values = _ValuesOfDays(schema, earlier)
    fits, columns = values.fits, [*values.columns, *([] if time is None else [time])]
    columns = list(dict.fromkeys([*schema.in_the_log(columns), *schema.other_columns()]))
    first, last, span = 2**63 - 1, -(2**63), list[Any]()
    for batch in log.batches(columns):
        train = assign(batch) == TRAIN
        values.add(batch, train)
        if time is not None:
            times = batch.columns.column(time)
            in_order = ordered(times, time, batch.place)
            first, last = min(first, int(in_order.min())), max(last, int(in_order.max()))
            span += [times[int(at)].as_py() for at in (in_order.argmin(), in_order.argmax())]
    seen = _Seen(first, last, limit) if time is not None else None
    vocabularies, changes, row = {}, {}, 1
    for name, vocabulary in earlier.vocabularies.items():
        later = replace(vocabulary, first=row)
        if name in fits:
            least = getattr(schema.feature(name), "min_count", 1)
            later, changes[name] = _grown(later, fits[name].finish(0), least, seen)
        vocabularies[name], row = later, row + later.rows
    encoder = RowEncoder(
        schema,
        vocabularies,
        scalers=earlier.scalers,
        types=earlier.types,
        past=earlier.past,
        sizes=earlier.sizes,
    )
    for name, of_values in values.vectors.items():
        table = table_of_grown(name, earlier, encoder)
        encoder.tables[name] = of_values.fill(table, _vocabulary_of(name, encoder))
    return Growth(encoder, changes, (str(min(span)), str(max(span))) if span else None)


def table_of_grown(name: str, earlier: RowEncoder, later: RowEncoder) -> VectorTable:
    """The vectors of a grown vocabulary's values, as far as the earlier one had them."""
    before, after = _vocabulary_of(name, earlier), _vocabulary_of(name, later)
    rows = rows_of_values(earlier, later)[after.first : after.first + after.rows]
    return earlier.tables[name][rows - before.first]


def _vocabulary_of(vector: str, encoder: RowEncoder) -> Vocabulary:
    """The vocabulary of the values that have the vectors of a feature."""
    return encoder.vocabulary_of(str(getattr(encoder.schema.feature(vector), "of", "")))


def rows_of_values(earlier: RowEncoder, later: RowEncoder) -> npt.NDArray[np.int64]:
    """Of each row of a grown encoder's table, the row of the earlier table that it starts from.

    A value has the row that it had; a new one starts from its feature's unknown row.
    """
    rows = np.zeros(later.encoding.table_rows, np.int64)
    for name, vocabulary in later.vocabularies.items():
        before = earlier.vocabularies[name]
        if vocabulary.buckets is not None:
            starts = before.first + np.arange(vocabulary.rows)
        else:
            starts = np.append(before.first, _rows_of(before, vocabulary.values))
        rows[vocabulary.first : vocabulary.first + vocabulary.rows] = starts
    return rows


def write_base(
    folder: Path,
    encoder: RowEncoder,
    *,
    fingerprint: str,
    statistics: Mapping[str, LabelStatistics],
    unknown: Mapping[str, float],
    growth: Mapping[str, Any],
) -> EncodedLog:
    """Write an encoded log without rows, so that days can be prepared `like` it.

    Args:
        folder: where it goes; what is there is replaced.
        encoder: the encoder that the days are to have.
        fingerprint: of what the encoder depends on.
        statistics: of the labels, of which days must have the classes.
        unknown: share of values without an id before, by feature, with which that of the days is
            compared.
        growth: JSON of what has grown, which the manifest keeps.
    """
    widths = {"ids": encoder.encoding.id_columns, "numeric": len(encoder.encoding.numeric)}
    widths["vectors"] = encoder.encoding.numeric_columns - widths["numeric"]
    widths["labels"] = len(encoder.schema.tasks)
    manifest = {
        "version": 1,
        "fingerprint": fingerprint,
        "rows": dict.fromkeys(PARTS, 0),
        "tasks": {name: label.to_json() for name, label in statistics.items()},
        "counts": [],
        "warnings": [],
        "unknown_shares": dict(unknown),
        "growth": dict(growth),
    }
    with new_folder(folder) as partial:
        (partial / "schema.yaml").write_text(dump_schema(encoder.schema), encoding="utf-8")
        (partial / "encoding.json").write_text(encoder.encoding.to_json(), encoding="utf-8")
        encoder.save(partial / "encoder")
        for part in PARTS:
            with ArrayWriter(partial / part, 0, widths=widths):
                pass
        write_json(partial / "manifest.json", manifest, allow_nan=True)
    return EncodedLog.open(folder, encoder=encoder)


@dataclass(frozen=True)
class _Seen:
    """The first and the last time of the days, in order, and after what time values retire."""

    first: int
    last: int
    limit: int | None


class _ValuesOfDays:
    """The values of the features whose vocabularies can grow, and the vectors of values.

    Attributes:
        fits: by feature, how often its values stand in the train rows.
        vectors: by vector feature, what its values bring.
        columns: that are needed.
    """

    def __init__(self, schema: Schema, earlier: RowEncoder) -> None:
        self._schema, self._sizes = schema, earlier.sizes
        features = [f for f in schema.encoded_features if isinstance(f, Categorical | ListOf)]
        owners = [feature for feature in features if feature.table is None]
        self._owners = [f for f in owners if earlier.vocabularies[f.name].buckets is None]
        self._vectors = [schema.feature(name) for name in earlier.tables]
        self.fits = {feature.name: _fit_of(feature, earlier) for feature in self._owners}
        self.vectors = {name: ValueVectors() for name in earlier.tables}
        of_values = [str(vector.of) for vector in self._vectors if isinstance(vector, Vector)]
        # An aligned list is read with its whole history, whose values may have another owner.
        lists = [feature for feature in features if isinstance(feature, ListOf)]
        whole = {feature.history for feature in self._owners if isinstance(feature, ListOf)} - {
            None
        }
        aligned = [feature.name for feature in lists if feature.history in whole]
        self.columns = schema.columns_of([*self.fits, *self.vectors, *of_values, *aligned])

    def add(self, batch: CountedBatch, train: npt.NDArray[np.bool_]) -> None:
        """Count the train rows of a batch."""
        place, kept = batch.place, pa.array(train)
        columns = dict(zip(batch.columns.schema.names, batch.columns.columns, strict=True))
        readable = self._schema.features_of(columns)
        computable = replace(self._schema, features=readable, statistics=())
        columns = with_derived(columns, computable, place)
        for feature in self._owners:
            column = columns[feature.column].filter(kept)
            if isinstance(feature, Categorical):
                column = filled(column, feature, place)
            self.fits[feature.name].add(feature_keys(column, feature, place), feature.column, place)
        for vector in self._vectors:
            owner = self._schema.feature(str(getattr(vector, "of", "")))
            if isinstance(vector, Vector) and isinstance(owner, Categorical):
                self.vectors[vector.name].add_rows(
                    columns[owner.column].filter(kept),
                    columns[vector.column].filter(kept),
                    owner=owner,
                    feature=vector,
                    size=self._sizes[vector.name],
                    place=place,
                )


def _fit_of(feature: Categorical | ListOf, earlier: RowEncoder) -> VocabularyFit:
    """What counts the values of a feature, of the type that they have."""
    fit, vocabulary = VocabularyFit(feature.name, min_count=1, buckets=None), earlier.vocabularies
    if len(vocabulary[feature.name].values):
        fit.type = vocabulary[feature.name].type
    return fit


def _grown(
    vocabulary: Vocabulary, days: Vocabulary, least: int, seen: _Seen | None
) -> tuple[Vocabulary, VocabularyGrowth]:
    """A vocabulary with the values of the days, and what changed."""
    values, counted = days.values, np.asarray(days.counts, np.int64)
    before = len(vocabulary.values)
    if not before:
        vocabulary = replace(vocabulary, type=days.type, values=values.slice(0, 0))
    at = _rows_of(vocabulary, values) - vocabulary.first - 1
    is_new = (at < 0) & (counted >= least)
    counts = np.full(before, least, np.int64) if vocabulary.counts is None else vocabulary.counts
    counts = counts.copy()
    np.add.at(counts, at[at >= 0], counted[at >= 0])
    kept, times = np.ones(before, np.bool_), None
    if seen is not None:
        times = np.full(before, seen.first) if vocabulary.seen is None else vocabulary.seen.copy()
        times[at[at >= 0]] = seen.last
        if seen.limit is not None:
            kept = times > seen.last - seen.limit
        times = np.append(times[kept], np.full(int(is_new.sum()), seen.last))
    whole = pa.concat_arrays(
        [vocabulary.values.filter(pa.array(kept)), values.filter(pa.array(is_new))]
    )
    later = replace(
        vocabulary, values=whole, counts=np.append(counts[kept], counted[is_new]), seen=times
    )
    return later, VocabularyGrowth(before, int(is_new.sum()), int(before - kept.sum()))


def _rows_of(vocabulary: Vocabulary, values: pa.Array) -> Ints:
    """The table rows of distinct values [values]; of those that are unknown the unknown row."""
    if not len(values) or not len(vocabulary.values):
        return np.full(len(values), vocabulary.first, np.int64)
    keys = Keys(np.arange(len(values)), values)
    return vocabulary.rows_of(keys, vocabulary.name, SourceLocation())[0].astype(np.int64)


def _length(text: str | int, schema: Schema, log: CountedLog) -> int:
    """A length of time in the unit in which the schema's times are ordered."""
    column = schema.roles.time
    if column is None:
        raise ConfigError("values are retired by time, and the schema names no roles.time")
    kind: LogicalType = log.logical_types([column])[column]
    if kind.kind not in ("integer", "timestamp", "date", "text"):
        raise ConfigError(f"retire after {text!r}: {column!r} holds {kind}, store whole numbers")
    written, is_number = str(text).strip(), kind.kind == "integer"
    try:
        length = int(written) if is_number else seconds_of(written)
    except ValueError:
        length = 0
    if length <= 0:
        wanted = "a whole number, such as 7" if is_number else "as 90d or 4w"
        raise ConfigError(f"retire after {text!r}: write it {wanted}, for times in {column!r}")
    if is_number:
        return length
    return max(1, length // 86_400) if kind.kind == "date" else length * 1_000_000

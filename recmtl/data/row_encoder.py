"""Fitted preprocessing: raw columns -> ids and numbers, the same for one row or a million.

The encoder is fitted by `recmtl.data.passes.encoder_fit` and travels with the model: it is saved as
JSON, one Arrow file of vocabularies and the schema. Rows that callers bring may have any Arrow
form; here they get the logical types of the log on which the encoder was fitted.
"""

import json
from collections.abc import Collection, Mapping
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.data.columns.canonical import AnyArray, canonical, normalised
from recmtl.data.columns.embedding_sizes import own_sizes, vocabulary_sizes
from recmtl.data.columns.keys import kept_values, refuse_unequal_lengths
from recmtl.data.columns.logical_type import LogicalType
from recmtl.data.columns.numeric import Scaler, finite_numbers
from recmtl.data.columns.sources import part_of_schema
from recmtl.data.columns.vocabulary import Vocabulary
from recmtl.data.columns.vocabulary_file import read_values, write_values
from recmtl.data.content.of_values import VectorTable, load_tables, mean_vectors, save_tables
from recmtl.data.content.vectors import vector_block
from recmtl.data.derived.columns import with_derived
from recmtl.data.derived.missing import filled
from recmtl.data.encoding import Encoding, ListField, NumericField, VectorField
from recmtl.data.statistics.past import PastState
from recmtl.errors import DataError, SourceLocation, did_you_mean
from recmtl.schema import (
    Categorical,
    Cross,
    Datetime,
    Feature,
    ListOf,
    Numeric,
    Schema,
    Vector,
    dump_schema,
    load_schema,
)

__all__ = ["Encoded", "RowEncoder"]

FORMAT = 1
HERE = SourceLocation()
PLAIN = ("integer", "float", "text", "binary")
"""Kinds whose values a Python int, float or str is, without a unit or a zone."""


@dataclass(frozen=True)
class Encoded:
    """Encoded rows.

    Attributes:
        ids: int32 [rows, I] rows of the embedding table, columns as in `Encoding`.
        numeric: float32 [rows, N], NaN where missing, columns as in `Encoding`.
        unknown: by feature, how many values were not missing and yet not in its vocabulary.
    """

    ids: npt.NDArray[np.int32]
    numeric: npt.NDArray[np.float32]
    unknown: dict[str, int]


class RowEncoder:
    """Encodes raw columns by fitted vocabularies and scalers.

    Attributes:
        aligned: the pairs of columns of lists that hold one value an event, each with that of the
            history second.
    """

    def __init__(
        self,
        schema: Schema,
        vocabularies: Mapping[str, Vocabulary],
        *,
        scalers: Mapping[str, Scaler],
        types: Mapping[str, LogicalType] | None = None,
        past: PastState | None = None,
        sizes: Mapping[str, int] | None = None,
        tables: Mapping[str, VectorTable] | None = None,
    ) -> None:
        """Take what was fitted.

        Args:
            schema: the schema it was fitted for.
            vocabularies: by feature, for categorical features and lists with their own.
            scalers: by numeric feature.
            types: by raw column, the logical type in the log; none in an encoder of release 0.1,
                which takes columns as what they are.
            past: the statistics of the past, if the schema has any.
            sizes: by vector feature, numbers of a vector; by vocabulary, size of its embeddings,
                for which the schema speaks otherwise: a rule is followed once.
            tables: by vector feature, the vectors of the values that have them.
        """
        self.schema = schema
        self.vocabularies = dict(vocabularies)
        self.scalers = dict(scalers)
        self.types = dict(types or {})
        self.past = past
        self.sizes = vocabulary_sizes(schema, vocabularies) | dict(sizes or {})
        self.tables = dict(tables or {})
        self._single = [f for f in schema.encoded_features if isinstance(f, Categorical)]
        self._lists = [f for f in schema.encoded_features if isinstance(f, ListOf)]
        self.aligned = [
            (schema.columns_of([feature.name])[0], schema.feature(feature.align).column)
            for feature in self._lists
            if feature.align is not None
        ]
        self._numeric = [f for f in schema.encoded_features if isinstance(f, Numeric)]
        self._vectors = [f for f in schema.features if isinstance(f, Vector)]
        self._read_through = [d for d in schema.computed if isinstance(d.source, Vector)]
        self.sizes |= {d.feature.name: self.sizes[d.source.name] for d in self._read_through}
        self._input_columns = schema.feature_columns()
        are_plain = all(map(_is_plain, map(self.types.get, self._input_columns)))
        self.takes_plain_values = are_plain and not any(map(_needs_arrow, schema.features))
        self.encoding = self._describe()
        self._id_columns = self.encoding.id_columns
        self._vector_columns = self.encoding.vector_columns()

    def _describe(self) -> Encoding:
        lists, first = [], len(self._single)
        for feature in self._lists:
            field = ListField(feature.name, first, feature.max_length, feature.pooling)
            lists.append(replace(field, target=feature.target, align=feature.align))
            first += feature.max_length
        scalers = (self.scalers[feature.name] for feature in self._numeric)
        return Encoding(
            table_rows=1 + sum(vocabulary.rows for vocabulary in self.vocabularies.values()),
            single=tuple(feature.name for feature in self._single),
            lists=tuple(lists),
            numeric=tuple(NumericField(s.name, s.field_encoding, s.bins) for s in scalers),
            vectors=tuple(
                VectorField(f.name, self.sizes[f.name])
                for f in self.schema.encoded_features
                if isinstance(f, Vector)
            ),
            own_sizes=own_sizes(self.schema, self.vocabularies, self.sizes),
        )

    @property
    def input_columns(self) -> tuple[str, ...]:
        """The raw columns needed to score: those of the features, and keys and time of the past."""
        return self._input_columns

    def columns_to_read(self, present: Collection[str]) -> tuple[str, ...]:
        """The input columns, and numbers of the past that rows with these columns bring."""
        derived = () if self.past is None else self.past.numbers
        return (*self._input_columns, *(name for name in derived if name in present))

    def encode(self, batch: pa.RecordBatch | pa.Table, *, place: SourceLocation = HERE) -> Encoded:
        """Encode rows that a caller brings; each row's result does not depend on the others.

        Args:
            batch: holds `input_columns` in any Arrow form, and perhaps numbers of the past, which
                are then not looked up; other columns are not looked at.
            place: where the rows come from, for messages.

        Raises:
            DataError: a column is missing, cannot mean what it meant in the log (see
                `recmtl.data.columns.canonical.normalised`), or a number is infinite.
        """
        names = batch.schema.names
        position = {name: i for i, name in enumerate(names)}
        columns: dict[str, AnyArray] = {}
        for column in self._input_columns:
            if column not in position:
                hint = did_you_mean(column, names)
                remedy = "add it, or drop its feature from the schema and train again"
                raise place.error(f"is missing{hint}", remedy, column=column)
            columns[column] = self._as_fitted(batch.column(position[column]), column, place)
        try:
            unknown = self._add_numbers(columns, batch, place)
            encoded = self.encode_canonical(columns, batch.num_rows, place)
        except UnicodeDecodeError:
            raise _not_utf8(columns, place) from None
        encoded.unknown.update(unknown)
        return encoded

    def _add_numbers(
        self, columns: dict[str, AnyArray], batch: pa.RecordBatch | pa.Table, place: SourceLocation
    ) -> dict[str, int]:
        """Add the numbers of the past to canonical columns; the unknown keys of each entry."""
        if self.past is None:
            return {}
        values, unknown = self.past.values(columns, batch.num_rows, place)
        names = batch.schema.names
        for name, derived in values.items():
            column = batch.column(names.index(name)) if name in names else pa.array(derived)
            columns[name] = canonical(column, name, place)
        return unknown

    def with_numbers(self, rows: pa.Table) -> pa.Table:
        """Rows that a caller brings with the column of each derived feature.

        Numbers of the past that the rows bring stay as they are.
        """
        columns = {name: self._as_fitted(rows[name], name, HERE) for name in self._input_columns}
        self._add_numbers(columns, rows, HERE)
        computed = with_derived(columns, self.schema, HERE)
        names = {derived.feature.column for derived in self.schema.derived} & set(computed)
        names |= {column.name for column in self.schema.formulas_of_features}
        rows = rows.select([name for name in rows.column_names if name not in names])
        for name in names:
            rows = rows.append_column(name, computed[name])
        return rows

    def _as_fitted(self, column: AnyArray, name: str, place: SourceLocation) -> AnyArray:
        wanted = self.types.get(name)
        if wanted is None:
            return canonical(column, name, place)
        return normalised(column, wanted, name, place)

    def encode_canonical(
        self, columns: Mapping[str, AnyArray], rows: int, place: SourceLocation
    ) -> Encoded:
        """Encode so many rows of canonical columns, as a log hands them on; see `encode`."""
        columns = with_derived(columns, self.schema, place)
        refuse_unequal_lengths(columns, self.aligned, place)
        # Filled column by column, which is several times as fast as with a row's side by side.
        ids = np.zeros((self._id_columns, rows), np.int32).T
        numeric = np.empty((rows, self.encoding.numeric_columns), np.float32)
        unknown: dict[str, int] = {}
        for i, single in enumerate(self._single):
            vocabulary = self.vocabularies[single.vocabulary]
            column = filled(columns[single.column], single, place)
            ids[:, i], unknown[single.name] = vocabulary.rows_of_column(
                column, single.column, place
            )
        for feature, field in zip(self._lists, self.encoding.lists, strict=True):
            kept = kept_values(columns[feature.column], feature, place)
            vocabulary = self.vocabularies[feature.vocabulary]
            kept_rows, unknown[feature.name] = vocabulary.rows_of(kept.keys, feature.column, place)
            ids[:, field.columns][kept.slots] = kept_rows
        for i, number in enumerate(self._numeric):
            column = filled(columns[number.column], number, place)
            values = finite_numbers(column, number.column, place)
            numeric[:, i] = self.scalers[number.name].transform(values)
        for vector in self._vectors:
            size, column = self.sizes[vector.name], columns[vector.column]
            block = vector_block(column, vector, size, place)
            numeric[:, self._vector_columns[vector.name]] = block
        self.read_through(ids, numeric, place)
        return Encoded(np.ascontiguousarray(ids), numeric, unknown)

    def read_through(
        self,
        ids: npt.NDArray[np.int32],
        numeric: npt.NDArray[np.float32],
        place: SourceLocation,
    ) -> None:
        """Fill in the vectors of lists, which the ids of encoded rows say."""
        lists = {field.name: field for field in self.encoding.lists}
        for derived in self._read_through:
            vector, name = derived.feature, derived.source.name
            field = lists[vector.name.removesuffix(f".{name}")]
            first = self.vocabulary_of(field.name).first
            if isinstance(vector, Vector):
                rows = ids[:, field.columns] - first
                means = mean_vectors(rows, self.tables[name], vector, place)
                numeric[:, self._vector_columns[vector.name]] = means

    def part(self, columns: Collection[str]) -> "RowEncoder":
        """The encoder of the features that these raw columns suffice for, with the same ids."""
        schema = self.schema
        features = schema.features_of(columns)
        entries = tuple(e for e in schema.statistics if set(schema.read_by(e)) <= set(columns))
        return self._of(replace(schema, features=features, statistics=entries))

    def going_on(self, past: PastState | None) -> "RowEncoder":
        """The same encoder with statistics that have gone on."""
        later = copy(self)
        later.past = past
        return later

    def hearing(self, sources: Collection[str]) -> "RowEncoder":
        """The encoder of the features of these sources, with the same ids.

        It reads no columns, and holds no state, that only other sources need.
        """
        return self._of(part_of_schema(self.schema, sources))

    def _of(self, schema: Schema) -> "RowEncoder":
        """The encoder of a part of the schema."""
        past = self.past.part(schema) if self.past is not None and schema.statistics else None
        return RowEncoder(
            schema,
            self.vocabularies,
            scalers=self.scalers,
            types=self.types,
            past=past,
            sizes=self.sizes,
            tables={f.name: self.tables[f.name] for f in schema.features if f.name in self.tables},
        )

    def vocabulary_of(self, feature: str) -> Vocabulary:
        """The vocabulary that a categorical feature or list reads, its own or a shared one."""
        read = {single.name: single.vocabulary for single in self._single}
        read |= {of.name: of.vocabulary for of in self._lists}
        return self.vocabularies[read[feature]]

    def unknown_rows(self) -> tuple[tuple[str, ...], npt.NDArray[np.int32]]:
        """Of each column of `ids` the feature, and the table row of its unknown values."""
        owners = [feature.name for feature in self._single]
        tables = [feature.vocabulary for feature in self._single]
        for feature in self._lists:
            owners += [feature.name] * feature.max_length
            tables += [feature.vocabulary] * feature.max_length
        rows = [self.vocabularies[table].first for table in tables]
        return tuple(owners), np.array(rows, np.int32)

    def id_counts(self) -> npt.NDArray[np.int64]:
        """Of each row of the embedding table how many values of the train rows had it.

        0 of rows that stand for no one value, and of all rows where nobody has counted: padding,
        unknown rows, hash buckets, encoders of earlier releases. What shares the vocabulary of a
        categorical feature does not count.
        """
        counts = np.zeros(self.encoding.table_rows, np.int64)
        for vocabulary in self.vocabularies.values():
            if vocabulary.counts is not None:
                first = vocabulary.first + 1
                counts[first : first + len(vocabulary.counts)] = vocabulary.counts
        return counts

    def save(self, folder: Path) -> None:
        """Write `encoder.json`, `vocabularies.arrow`, `schema.yaml` and the past into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        vocabularies = [vocabulary.to_json() for vocabulary in self.vocabularies.values()]
        scalers = [scaler.to_json() for scaler in self.scalers.values()]
        types = {column: kind.to_json() for column, kind in self.types.items()}
        document = {"format": FORMAT, "vocabularies": vocabularies, "scalers": scalers}
        document |= {"types": types} | ({"sizes": self.sizes} if self.sizes else {})
        (folder / "encoder.json").write_text(json.dumps(document, indent=1), encoding="utf-8")
        (folder / "schema.yaml").write_text(dump_schema(self.schema), encoding="utf-8")
        write_values(folder / "vocabularies.arrow", self.vocabularies.values())
        save_tables(folder, self.tables)
        if self.past is not None:
            self.past.save(folder)

    @staticmethod
    def load(folder: Path) -> "RowEncoder":
        """Read what `save` wrote; raises `DataError` if it is not all there."""
        try:
            document = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
            values = read_values(folder / "vocabularies.arrow")
            if document["format"] != FORMAT:
                raise DataError(f"{folder}: encoder of format {document['format']}; prepare again")
            vocabularies = {
                entry["name"]: Vocabulary(**entry, **values[entry["name"]])
                for entry in document["vocabularies"]
            }
            scalers = {entry["name"]: Scaler.from_json(entry) for entry in document["scalers"]}
            sizes = {name: int(size) for name, size in document.get("sizes", {}).items()}
            tables = load_tables(folder)
            types = {
                column: LogicalType.from_json(entry)
                for column, entry in document.get("types", {}).items()
            }
        except (OSError, KeyError, TypeError, json.JSONDecodeError, pa.ArrowInvalid) as fault:
            message = f"{folder}: not a complete encoder ({fault}); prepare the data again"
            raise DataError(" ".join(message.split())) from fault
        schema = load_schema(folder / "schema.yaml", stored=True)
        past = PastState.load(folder, schema) if schema.statistics else None
        return RowEncoder(
            schema,
            vocabularies,
            scalers=scalers,
            types=types,
            past=past,
            sizes=sizes,
            tables=tables,
        )


def _is_plain(kind: LogicalType | None) -> bool:
    kind = kind if kind is None or kind.item is None else kind.item
    return kind is None or kind.kind in PLAIN


def _needs_arrow(feature: Feature) -> bool:
    """Whether Arrow computes what the feature derives of a value."""
    return isinstance(feature, Datetime | Cross)


def _not_utf8(columns: Mapping[str, AnyArray], place: SourceLocation) -> DataError:
    """The error for the first column whose text is not UTF-8; to look for it takes time."""
    for name, column in columns.items():
        try:
            column.validate(full=True)
        except pa.ArrowInvalid:
            return place.error("holds text that is not UTF-8", "write it as UTF-8", column=name)
    return place.error("holds text that is not UTF-8", "write it as UTF-8")

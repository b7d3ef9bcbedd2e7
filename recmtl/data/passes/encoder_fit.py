"""Fits a `RowEncoder` on the train rows of a stream, in one pass.

Memory is bounded by the vocabularies and the samples of quantiles.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.data.columns.canonical import AnyArray
from recmtl.data.columns.keys import feature_keys
from recmtl.data.columns.logical_type import LogicalType
from recmtl.data.columns.numeric import NumericFit, finite_numbers, row_hashes
from recmtl.data.columns.vocabulary import Vocabulary, VocabularyFit
from recmtl.data.content.of_values import ValueVectors
from recmtl.data.content.vectors import VectorFit
from recmtl.data.derived.columns import with_derived
from recmtl.data.derived.missing import filled
from recmtl.data.row_encoder import RowEncoder
from recmtl.data.statistics.past import PastState
from recmtl.errors import SourceLocation
from recmtl.schema import Categorical, EncodedFeature, ListOf, Numeric, Schema, Vector

__all__ = ["EncoderFit"]


class EncoderFit:
    """Collects counts and moments batch by batch, then gives the `RowEncoder`."""

    def __init__(
        self,
        schema: Schema,
        types: Mapping[str, LogicalType] | None = None,
        *,
        past: PastState | None = None,
    ) -> None:
        """Start without rows.

        Args:
            schema: says which features there are.
            types: the logical types of the log's columns, which the encoder keeps.
            past: the statistics of the past, whose numbers the batches then have.
        """
        self.schema = schema
        self._types, self._past = types, past
        self._vocabularies: dict[str, VocabularyFit] = {}
        self._numeric: dict[str, NumericFit] = {}
        self._vectors: dict[str, VectorFit] = {}
        self._of_values: dict[str, ValueVectors] = {}
        self._rows = 0
        for feature in schema.encoded_features:
            if isinstance(feature, Numeric):
                self._numeric[feature.name] = NumericFit(feature)
            elif isinstance(feature, Vector):
                if feature in schema.features:
                    self._vectors[feature.name] = VectorFit(feature)
                if feature.of is not None:
                    self._of_values[feature.name] = ValueVectors()
            elif not _shares(feature):
                self._vocabularies[feature.name] = VocabularyFit(
                    feature.name, min_count=feature.min_count, buckets=feature.hash_buckets
                )

    def add(
        self,
        batch: pa.RecordBatch,
        train: npt.NDArray[np.bool_],
        place: SourceLocation,
        *,
        weight: npt.NDArray[np.float64] | None = None,
        first: int | None = None,
    ) -> None:
        """Count the train rows of one batch; numbers count with their weight.

        Args:
            batch: a record batch with the feature columns in canonical form.
            train: bool [rows].
            place: where the rows come from, for messages.
            weight: of the rows, above 0; None counts each once.
            first: number of the first row in the log; None goes on from the batch before.

        Raises:
            DataError: a column holds values that its feature cannot have.
        """
        first = self._rows if first is None else first
        self._rows = first + batch.num_rows
        is_sampled = any(fit.is_sampled for fit in self._numeric.values())
        hashes = row_hashes(first, batch.num_rows)[train] if is_sampled else None
        kept = None if train.all() else pa.array(train)
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        columns = with_derived(columns, self.schema, place)
        for feature in self.schema.encoded_features:
            if _shares(feature) or (
                isinstance(feature, Vector) and feature.name not in self._vectors
            ):
                continue
            column = columns[feature.column]
            column = column if kept is None else column.filter(kept)
            if isinstance(feature, Categorical | Numeric):
                column = filled(column, feature, place)
            if isinstance(feature, Numeric):
                values = finite_numbers(column, feature.column, place)
                of_rows = None if weight is None else weight[train]
                self._numeric[feature.name].add(values, of_rows, hashes=hashes)
            elif isinstance(feature, Vector):
                self._vectors[feature.name].add(column, place)
                self._add_of_values(feature, column, columns, kept=kept, place=place)
            else:
                self._count(feature, column, place)

    def _add_of_values(
        self,
        feature: Vector,
        column: AnyArray,
        columns: Mapping[str, AnyArray],
        *,
        kept: AnyArray | None,
        place: SourceLocation,
    ) -> None:
        """Take the vectors of train rows for the values of the feature that has them."""
        size = self._vectors[feature.name].size
        owner = None if feature.of is None else self.schema.feature(feature.of)
        if size and isinstance(owner, Categorical):
            values = columns[owner.column]
            values = values if kept is None else values.filter(kept)
            self._of_values[feature.name].add_rows(
                values, column, owner=owner, feature=feature, size=size, place=place
            )

    def _count(
        self, feature: Categorical | ListOf, column: AnyArray, place: SourceLocation
    ) -> None:
        keys = feature_keys(column, feature, place)
        self._vocabularies[feature.name].add(keys, feature.column, place)

    def merge(self, later: "EncoderFit") -> None:
        """Take what was counted of rows that follow."""
        for name, vocabulary in self._vocabularies.items():
            vocabulary.merge(later._vocabularies[name])
        for name, number in self._numeric.items():
            number.merge(later._numeric[name])
        for name, vector in self._vectors.items():
            vector.merge(later._vectors[name])
        for name, of_values in self._of_values.items():
            of_values.merge(later._of_values[name])

    def finish(self) -> RowEncoder:
        """The encoder; the vocabularies' blocks of the table stand in the order of the features."""
        vocabularies: dict[str, Vocabulary] = {}
        first = 1
        for name, fit in self._vocabularies.items():
            vocabularies[name] = fit.finish(first)
            first += vocabularies[name].rows
        scalers = {name: fit.finish() for name, fit in self._numeric.items()}
        sizes = {name: fit.finish() for name, fit in self._vectors.items()}
        tables = {}
        for name, of_values in self._of_values.items():
            vector = self._vectors[name].feature
            owner = self.schema.feature(str(vector.of))
            if isinstance(owner, Categorical):
                vocabulary = vocabularies[owner.vocabulary]
                tables[name] = of_values.finish(vocabulary, sizes[name], vector)
        return RowEncoder(
            self.schema,
            vocabularies,
            scalers=scalers,
            types=self._types,
            past=self._past,
            sizes=sizes,
            tables=tables,
        )


def _shares(feature: EncodedFeature) -> bool:
    """Whether another feature has the vocabulary that this one reads."""
    return isinstance(feature, Categorical | ListOf) and feature.table is not None

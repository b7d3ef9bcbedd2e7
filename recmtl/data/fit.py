"""Fits an encoder on the train rows of a stream: one pass, memory bounded by the vocabularies."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.data.encoder import Encoder, finite
from recmtl.data.keys import category_keys
from recmtl.data.lists import kept_values
from recmtl.data.numeric import NumericFit
from recmtl.data.places import Place
from recmtl.data.vocabulary import Vocabulary, VocabularyFit
from recmtl.schema import Categorical, ListOf, Numeric, Schema

__all__ = ["EncoderFit"]


class EncoderFit:
    """Collects counts and moments batch by batch, then gives the `Encoder`."""

    def __init__(self, schema: Schema) -> None:
        """Args: schema: says which features there are."""
        self.schema = schema
        self._vocabularies: dict[str, VocabularyFit] = {}
        self._numeric: dict[str, NumericFit] = {}
        for i, feature in enumerate(schema.features):
            if isinstance(feature, Numeric):
                self._numeric[feature.name] = NumericFit(feature, seed=i)
            elif not (isinstance(feature, ListOf) and feature.table is not None):
                self._vocabularies[feature.name] = VocabularyFit(
                    feature.name, min_count=feature.min_count, buckets=feature.hash_buckets
                )

    def add(self, batch: Any, train: npt.NDArray[np.bool_], place: Place) -> None:
        """Count the train rows of one batch.

        Args:
            batch: a record batch with the feature columns.
            train: bool [rows].
            place: where the rows come from, for messages.
        """
        kept = None if train.all() else pa.array(train)
        for feature in self.schema.features:
            if isinstance(feature, ListOf) and feature.table is not None:
                continue
            column = batch.column(feature.column)
            column = column if kept is None else column.filter(kept)
            if isinstance(feature, Numeric):
                self._numeric[feature.name].add(finite(column, feature.column, place))
            else:
                self._count(feature, column, place)

    def _count(self, feature: Categorical | ListOf, column: Any, place: Place) -> None:
        if isinstance(feature, ListOf):
            keys = kept_values(column, feature, place).keys
        else:
            keys = category_keys(column, feature.column, place)
        self._vocabularies[feature.name].add(keys, feature.column, place)

    def finish(self) -> Encoder:
        """The encoder; blocks of the table stand in the order of the features."""
        vocabularies: dict[str, Vocabulary] = {}
        first = 1
        for name, fit in self._vocabularies.items():
            vocabularies[name] = fit.finish(first)
            first += vocabularies[name].rows
        scalers = {name: fit.finish() for name, fit in self._numeric.items()}
        return Encoder(self.schema, vocabularies, scalers=scalers)

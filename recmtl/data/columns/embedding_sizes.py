"""Embeddings of a size that the schema states, or that follows from the number of values."""

import math
from collections.abc import Iterator, Mapping

from recmtl.data.columns.vocabulary import Vocabulary
from recmtl.data.encoding import OwnSize
from recmtl.schema import Categorical, EncodedFeature, ListOf, Schema, Vector

__all__ = ["own_sizes", "size_by_rule", "vocabulary_sizes"]

LEAST, MOST = 2, 64


def size_by_rule(values: int) -> int:
    """The power of two nearest to the fourth root of a number of values, from 2 to 64.

    That the size grows with the fourth root is the rule of Deep & Cross (Wang et al., ADKDD 2017,
    section 4.1). Reading: without its factor of 6, which fits larger networks; powers of two, since
    each size has a table of its own, and few tables are read faster.

    >>> [size_by_rule(values) for values in (3, 100, 4_000, 100_000, 10_000_000)]
    [2, 4, 8, 16, 64]
    """
    power = round(math.log2(max(values, 1)) / 4)
    return min(max(1 << power, LEAST), MOST)


def vocabulary_sizes(schema: Schema, vocabularies: Mapping[str, Vocabulary]) -> dict[str, int]:
    """By name of a vocabulary the size of its embeddings, where it is not that of the network."""
    sizes = {}
    for feature in _owners(schema):
        if feature.dim == "auto":
            sizes[feature.name] = size_by_rule(vocabularies[feature.name].rows - 1)
        elif feature.dim is not None:
            sizes[feature.name] = feature.dim
    for feature in _owners(schema):
        history = _history_of(schema, feature)
        if history is not None and history.vocabulary in sizes:
            sizes[feature.name] = sizes[history.vocabulary]
    return sizes


def own_sizes(
    schema: Schema, vocabularies: Mapping[str, Vocabulary], sizes: Mapping[str, int]
) -> tuple[OwnSize, ...]:
    """The fields of a schema, and the blocks of the table, that have sizes of their own.

    Args:
        schema: perhaps a part of that for which the vocabularies were fitted.
        vocabularies: all of them.
        sizes: those of `vocabulary_sizes`, perhaps among others.
    """
    fields: dict[int, list[str]] = {}
    for feature in _in_order(schema):
        size = feature.dim
        if isinstance(feature, Categorical | ListOf):
            size = sizes.get(feature.vocabulary)
        if isinstance(size, int):
            fields.setdefault(size, []).append(feature.name)
    blocks: dict[int, list[tuple[int, int]]] = {}
    for name, vocabulary in vocabularies.items():
        if name in sizes:
            blocks.setdefault(sizes[name], []).append((vocabulary.first, vocabulary.rows))
    return tuple(
        OwnSize(size, tuple(fields.get(size, ())), tuple(sorted(blocks.get(size, ()))))
        for size in sorted({*fields, *blocks})
    )


def _owners(schema: Schema) -> Iterator[Categorical | ListOf]:
    """The features that have a vocabulary of their own."""
    for feature in schema.encoded_features:
        if isinstance(feature, Categorical | ListOf) and feature.table is None:
            yield feature


def _history_of(schema: Schema, feature: EncodedFeature) -> ListOf | None:
    """The history with which a list is aligned."""
    if not isinstance(feature, ListOf) or feature.align is None:
        return None
    history = schema.feature(feature.align)
    return history if isinstance(history, ListOf) else None


def _in_order(schema: Schema) -> list[EncodedFeature]:
    """The features in the order of the fields of an encoding: ids, lists, numbers, vectors."""
    features = schema.encoded_features
    ids = [f for f in features if isinstance(f, Categorical)]
    lists = [f for f in features if isinstance(f, ListOf)]
    others = [f for f in features if not isinstance(f, Categorical | ListOf)]
    return [*ids, *lists, *sorted(others, key=lambda f: isinstance(f, Vector))]

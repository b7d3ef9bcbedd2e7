"""One row of plain Python values, encoded without what Arrow costs for every column."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from recmtl.data.encoder import Encoded, Encoder
from recmtl.data.vocabulary import Vocabulary
from recmtl.schema import Categorical, ListOf, Numeric

__all__ = ["encode_plain_row"]

WHOLE = 2**63


def encode_plain_row(encoder: Encoder, row: Mapping[str, Any]) -> Encoded | None:
    """What `encoder.encode` makes of a table of one row, or None if a value is not plain.

    Plain are values of the very type that a column was fitted on: str or int for categories, lists
    and tuples of these, finite int or float for numbers, and None or NaN where one is missing.

    Args:
        encoder: the fitted preprocessing.
        row: a value for every input column.
    """
    encoding, unknown = encoder.encoding, dict[str, int]()
    ids = np.zeros((1, encoding.id_columns), np.int32)
    numeric = np.empty((1, len(encoding.numeric)), np.float32)
    numbers, singles, lists = 0, 0, iter(encoding.lists)
    for feature in encoder.schema.features:
        value = row[feature.column]
        if isinstance(feature, Numeric):
            number = _number(value)
            if number is None:
                return None
            numeric[0, numbers] = encoder.scalers[feature.name].transform(np.array([number]))[0]
            numbers += 1
            continue
        name = feature.table or feature.name if isinstance(feature, ListOf) else feature.name
        values = _values(feature, value)
        rows = None if values is None else _rows(encoder.vocabularies[name], values)
        if values is None or rows is None:
            return None
        first = encoder.vocabularies[name].first
        missing = sum(map(_is_missing, values))
        unknown[feature.name] = rows.count(first) - missing
        at = singles
        if isinstance(feature, ListOf):
            at = next(lists).first
        else:
            singles += 1
        ids[0, at : at + len(rows)] = rows
    return Encoded(ids, numeric, unknown)


def _values(feature: Categorical | ListOf, value: Any) -> list[Any] | None:
    """The values kept of a cell; None if it is no plain list where one is due."""
    if isinstance(feature, Categorical):
        return [value]
    if value is None:
        return []
    if type(value) not in (list, tuple):
        return None
    kept = value[-feature.max_length :] if feature.keep == "last" else value[: feature.max_length]
    return list(kept)


def _rows(vocabulary: Vocabulary, values: list[Any]) -> list[int] | None:
    rows = []
    for value in values:
        row = vocabulary.first if _is_missing(value) else vocabulary.row_of(value)
        if row is None:
            return None
        rows.append(row)
    return rows


def _is_missing(value: Any) -> bool:
    return value is None or (type(value) is float and value != value)


def _number(value: Any) -> float | None:
    if _is_missing(value):
        return np.nan
    plain = type(value) is float or (type(value) is int and -WHOLE <= value < WHOLE)
    return float(value) if plain and abs(value) < np.inf else None

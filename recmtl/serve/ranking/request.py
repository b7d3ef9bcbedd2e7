"""One request: a user, given once, and many candidates, which are scored together.

The user's values are plain Python values and are encoded once, without the cost that Arrow has for
every column. If ONNX Runtime scores, a network for requests computes the user's part once too.
torch gets the joined rows, whose scores are those of `Scorer`, bit for bit.
"""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.data.columns.vocabulary import Vocabulary
from recmtl.data.content.vectors import vector_block
from recmtl.data.derived.ages import age_buckets
from recmtl.data.derived.columns import exact_keys
from recmtl.data.derived.ngrams import ngram_lists
from recmtl.data.row_encoder import Encoded, RowEncoder
from recmtl.errors import DataError, SourceLocation
from recmtl.schema import Categorical, ListOf, Numeric, Text, Vector
from recmtl.serve.scoring.onnx import OnnxNetwork
from recmtl.serve.scoring.scorer import Scorer

__all__ = ["RequestScorer", "encode_plain_row", "one_value"]

USER = SourceLocation("user")
ROWS_AT_ONCE = 4096
INT64_BOUND = 2**63


class RequestScorer:
    """Scores the candidates of one user; safe to call from several threads.

    Args:
        scorer: scores the rows.
        user: input columns that the user brings.
        network: an ONNX network for requests with this user's features; if None, the scorer's
            networks score the joined rows.

    Attributes:
        candidates: input columns that the candidates bring.
    """

    def __init__(
        self, scorer: Scorer, user: Collection[str], *, network: OnnxNetwork | None = None
    ) -> None:
        self._scorer, self._network = scorer, network
        encoder = scorer.bundle.encoder
        self.candidates = tuple(name for name in encoder.input_columns if name not in user)
        self._encoder = encoder
        self._encoders = encoder.part(user), encoder.part(self.candidates)
        whole, of_user = encoder.encoding, self._encoders[0].encoding
        others = whole.part(set(whole.fields) - set(of_user.fields))
        self._columns = [whole.columns_of(part) for part in (of_user, others)]
        self._widths = whole.id_columns, whole.numeric_columns
        of_candidates = self._encoders[1].encoding
        # What neither side can compute alone, such as ages until a time that candidates bring.
        needs_both = set(others.fields) - set(of_candidates.fields)
        self._joins_first = encoder.past is not None or bool(needs_both)

    def scores(
        self, user: Mapping[str, Any], candidates: pa.Table, *, rows: int
    ) -> npt.NDArray[np.float32]:
        """Map the user's values, and the candidates' columns, to scores `[rows, C]`.

        Raises:
            DataError: a value or a column has a type that cannot be encoded.
        """
        if self._joins_first:
            parts = self._parts_of_joined(user, candidates, rows)
        else:
            parts = [self._user_row(user), self._encoders[1].encode(candidates)]
        for encoded in parts:
            self._scorer.count(encoded.unknown)
        bundle = self._scorer.bundle
        if self._network is None or rows == 0:
            return self._scorer.encoded_scores(*self._joined(parts, rows))
        if bundle.forests is not None:
            parts = self._with_trees(parts, rows)
        scores = _network_scores(self._network, *parts)
        if bundle.calibrators is None:
            return scores
        return bundle.calibrated(scores, self._joined(parts, rows)[0])

    def _user_row(self, user: Mapping[str, Any]) -> Encoded:
        encoder = self._encoders[0]
        row = encode_plain_row(encoder, user)
        if row is None:
            columns = {name: one_value(name, user[name]) for name in encoder.input_columns}
            row = encoder.encode(pa.table(columns), place=USER)
        return row

    def _parts_of_joined(
        self, user: Mapping[str, Any], candidates: pa.Table, rows: int
    ) -> list[Encoded]:
        """The user's row and the candidates' rows, where a feature of a pair needs both."""
        columns = {name: candidates[name] for name in candidates.column_names}
        every = pa.array(np.zeros(rows, np.int64))
        for name in self._encoder.columns_to_read(user):
            if name in user:
                columns[name] = one_value(name, user[name]).take(every)
        joined = self._encoder.encode(pa.table(columns))
        (ids, numeric), (other_ids, other_numeric) = self._columns
        return [
            Encoded(joined.ids[:1, ids], joined.numeric[:1, numeric], joined.unknown),
            Encoded(joined.ids[:, other_ids], joined.numeric[:, other_numeric], {}),
        ]

    def _with_trees(self, parts: list[Encoded], rows: int) -> list[Encoded]:
        """The user's row and the candidates' rows as the network reads them: trees need both."""
        bundle = self._scorer.bundle
        ids, numeric = bundle.network_input(*self._joined(parts, rows))
        heard, of_user = bundle.model.encoder.encoding, self._encoders[0].encoding.fields
        others = heard.part(set(heard.fields) - set(of_user))
        (user_ids, user_numeric), columns = map(heard.columns_of, (heard.part(of_user), others))
        return [
            Encoded(ids[:1, user_ids], numeric[:1, user_numeric], {}),
            Encoded(ids[:, columns[0]], numeric[:, columns[1]], {}),
        ]

    def _joined(
        self, parts: list[Encoded], rows: int
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
        """The encoded rows `[rows, I]` and `[rows, N]` that the whole encoder would give."""
        ids = np.empty((rows, self._widths[0]), np.int32)
        numeric = np.empty((rows, self._widths[1]), np.float32)
        for part, (id_columns, numeric_columns) in zip(parts, self._columns, strict=True):
            # A part without features has no rows to assign.
            if id_columns:
                ids[:, id_columns] = part.ids
            if numeric_columns:
                numeric[:, numeric_columns] = part.numeric
        return ids, numeric


def encode_plain_row(encoder: RowEncoder, row: Mapping[str, Any]) -> Encoded | None:
    """Encode one row as `encoder.encode` encodes a table of it; None if a value is not plain.

    A plain value has exactly the type on which its column was fitted: str or int for a category, a
    list or tuple of these for a list, a finite int or float for a number, a list or tuple of
    these for a vector. None and NaN are plain too, and mean that the value is missing. Times and
    booleans have units or words of their own.

    Args:
        encoder: the fitted preprocessing.
        row: a value for every input column.
    """
    if not encoder.takes_plain_values or encoder.past is not None:
        return None
    if any(_length(row[column]) != _length(row[history]) for column, history in encoder.aligned):
        return None
    encoding, unknown = encoder.encoding, dict[str, int]()
    ids = np.zeros((1, encoding.id_columns), np.int32)
    numeric = np.empty((1, encoding.numeric_columns), np.float32)
    numbers, singles, lists = 0, 0, iter(encoding.lists)
    vectors, computed = encoding.vector_columns(), encoder.schema.computed
    read_through = {d.feature.name for d in computed if isinstance(d.source, Vector)}
    values_of = {**row, **_derived_values(encoder, row)}
    for feature in encoder.schema.encoded_features:
        if feature.name in read_through:
            continue
        value = values_of[feature.column]
        if _is_missing(value) and isinstance(feature, Categorical | Numeric):
            if feature.missing == "refuse":
                return None
            value = feature.default
        if isinstance(feature, Numeric):
            number = _number(value)
            if number is None:
                return None
            numeric[0, numbers] = encoder.scalers[feature.name].transform(np.array([number]))[0]
            numbers += 1
            continue
        if isinstance(feature, Vector):
            vector = _vector(value)
            if vector is None:
                return None
            size = encoder.sizes[feature.name]
            numeric[0, vectors[feature.name]] = vector_block(vector, feature, size, USER)
            continue
        name = feature.vocabulary
        values = _values(feature, value)
        rows = None if values is None else _rows(encoder.vocabularies[name], values)
        if values is None or rows is None:
            return None
        first = encoder.vocabularies[name].first
        missing = sum(map(_is_missing, values))
        unknown[feature.name] = rows.count(first) - missing
        column = singles
        if isinstance(feature, ListOf):
            column = next(lists).first
        else:
            singles += 1
        ids[0, column : column + len(rows)] = rows
    encoder.read_through(ids, numeric, USER)
    return Encoded(ids, numeric, unknown)


def _derived_values(encoder: RowEncoder, row: Mapping[str, Any]) -> dict[str, Any]:
    """What `recmtl.data.derived.columns` computes, of one row of plain values."""
    values: dict[str, Any] = {}
    for column in encoder.schema.formulas_of_features:
        operands = {name: _number(row[name]) for name in column.parsed.names}
        if None in operands.values():
            values[column.name] = False  # no plain number, which the caller sees
            continue
        cells = {name: np.array([number]) for name, number in operands.items()}
        values[column.name] = float(column.parsed.where_finite(cells, rows=1)[0])
    row = {**row, **values}
    for derived in encoder.schema.computed:
        value, computed = row[derived.columns[0]], None
        if isinstance(derived.source, Text):
            computed = _ngrams(value, derived.source)
        elif isinstance(derived.feature, ListOf):
            computed = _ages(value, row[derived.columns[1]])
        elif isinstance(derived.source, ListOf):
            computed = len(value) if type(value) in (list, tuple) else None
        else:
            default = derived.source.default if isinstance(derived.source, Numeric) else None
            value = default if _is_missing(value) else value
            if not _is_missing(value) and (number := _number(value)) is not None:
                computed = int(exact_keys(np.array([number]))[0])
        values[derived.feature.column] = computed
    return values


def _length(value: Any) -> int:
    return len(value) if type(value) in (list, tuple) else 0


def _ngrams(value: Any, feature: Text) -> Any:
    """The n-grams of a cell of text, as `ngram_lists` gives them; False if it is not plain."""
    if _is_missing(value):
        return None
    if type(value) is not str:
        return False
    return ngram_lists(pa.array([value]), feature, USER)[0].as_py()


def _ages(times: Any, now: Any) -> Any:
    """Age buckets of a cell of times, as `event_ages` gives them; False if a value is not plain."""
    if times is None:
        return None
    numbers = [_number(value) for value in (now, *times)] if type(times) in (list, tuple) else None
    if numbers is None or None in numbers:
        return False
    ages = np.array(numbers[:1], np.float64) - np.array(numbers[1:], np.float64)
    missing = np.isnan(ages)
    buckets = age_buckets(np.where(missing, 0.0, ages)).tolist()
    return [None if gap else bucket for gap, bucket in zip(missing, buckets, strict=True)]


def one_value(name: str, value: Any) -> pa.Array:
    """A user's value as an Arrow column of one row, or a DataError."""
    try:
        return pa.array([value], from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(
            f"user: column {name!r} holds no value of a column ({reason}); give one of the type "
            "that training had"
        ) from None


def _network_scores(
    network: OnnxNetwork, user: Encoded, candidates: Encoded
) -> npt.NDArray[np.float32]:
    """The scores of the candidates, at most 4,096 rows at a time."""
    scores = []
    for first in range(0, len(candidates.ids), ROWS_AT_ONCE):
        chunk = slice(first, first + ROWS_AT_ONCE)
        ids, numeric = candidates.ids[chunk], candidates.numeric[chunk]
        scores.append(network.scores(user.ids, user.numeric, ids, numeric))
    return scores[0] if len(scores) == 1 else np.concatenate(scores)


def _values(feature: Categorical | ListOf, value: Any) -> list[Any] | None:
    """The values of a cell that its feature keeps; None if a list feature has no plain list."""
    if isinstance(feature, Categorical):
        return [value]
    if value is None:
        return []
    if type(value) not in (list, tuple):
        return None
    kept = value[-feature.max_length :] if feature.keep == "last" else value[: feature.max_length]
    return list(kept)


def _rows(vocabulary: Vocabulary, values: list[Any]) -> list[int] | None:
    """The embedding rows of values; None if one of them is not plain."""
    rows = []
    for value in values:
        row = vocabulary.first if _is_missing(value) else vocabulary.row_of(value)
        if row is None:
            return None
        rows.append(row)
    return rows


def _vector(value: Any) -> Any:
    """A cell of a vector as an Arrow column of one row; None if it is not plain."""
    if value is not None and type(value) not in (list, tuple):
        return None
    numbers = None if value is None else [_number(number) for number in value]
    if numbers is not None and None in numbers:
        return None
    return pa.array([numbers], pa.list_(pa.float64()))


def _is_missing(value: Any) -> bool:
    return value is None or (type(value) is float and value != value)


def _number(value: Any) -> float | None:
    """A number as float, NaN if it is missing; None if it is not plain."""
    if _is_missing(value):
        return np.nan
    plain = type(value) is float or (type(value) is int and -INT64_BOUND <= value < INT64_BOUND)
    return float(value) if plain and abs(value) < np.inf else None

"""The matrix of logical types and Arrow forms: who may stand in for whom, at every door.

A `TypeCase` has values, the Arrow forms that hold them, and the uses that a schema may give them.
A *cell* is a case and use that were fitted, a form that comes later, and a surface that takes it.
Its outcome is equal scores or one line; `outcome` decides which are right:

- forms of the same case must give equal scores;
- forms of another case must give the scores that their values have in the fitted case's plain form,
  or one line; where their values mean something else (another *family*), one line.

A surface is a function of a `Fitted` model and a table to scores, in the order of the rows; add one
to `SURFACES` in a test module to send the whole matrix through another door.
"""

import datetime
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from recmtl.data.columns.canonical import normalised
from recmtl.data.columns.logical_type import logical_type
from recmtl.data.passes.encoder_fit import EncoderFit
from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import DataError, SourceLocation
from recmtl.grid import catalog
from recmtl.model import ModelSizes, TabularModel
from recmtl.model.heads import HeadSpec
from recmtl.schema import parse_schema
from recmtl.serve import Ranker, Scorer, save_bundle
from tests.unit.data import arrow_forms
from tests.unit.data.arrow_forms import (
    Form,
    as_bytes,
    as_decimals,
    as_extension,
    cast_to,
    dictionary_of,
    in_a_slice,
    in_chunks,
    run_ends,
    view_in_a_dictionary,
)

__all__ = ["CASES", "Fitted", "TypeCase", "cells", "fit", "fitted_ids", "outcome", "table_of"]

PATTERN = (1, None, 0, 1, 0, 1)
"""Of six rows the first or second value of a case, or none."""
PLACE = SourceLocation("matrix")
CATEGORICAL, NUMERIC, LIST = "categorical", "numeric", "list"
SCHEMA = """
version: 1
name: matrix
features: {{x: {{kind: {use}}}, z: {{kind: numeric, encoding: standard}}}}
tasks: {{click: {{kind: binary, label: y}}}}
split: {{by: random}}
"""


@dataclass(frozen=True)
class TypeCase:
    """Values of one logical type.

    Attributes:
        name: the type, as the documentation names it.
        family: what the values mean; values of one family can be compared.
        values: six of them, None where missing.
        plain: the simplest Arrow form.
        uses: kinds of features that may read them.
        forms: Arrow forms by name.
        also: what the values mean where another family reads them, by family.
    """

    name: str
    family: str
    values: list[Any]
    plain: Form
    uses: tuple[str, ...]
    forms: Mapping[str, Form]
    also: Mapping[str, list[Any]] = field(default_factory=dict)

    def arrays(self) -> Iterator[tuple[str, Any]]:
        """Every form of the values."""
        for name, form in self.forms.items():
            yield name, form(self.values)


def pattern(low: Any, high: Any) -> list[Any]:
    return [None if i is None else (low, high)[i] for i in PATTERN]


def spread(kind: Any) -> dict[str, Form]:
    """A type as it is, behind codes, as runs, in chunks and in a slice."""
    return {
        str(kind): cast_to(kind),
        f"{kind} in codes": dictionary_of(kind),
        f"{kind} in runs": run_ends(kind),
        f"{kind} in chunks": in_chunks(kind),
        f"{kind} in a slice": in_a_slice(kind),
    }


def with_nan(kind: Any) -> Form:
    """Floats as pandas makes them of integers: NaN where one is missing."""
    return lambda values: pa.array([float("nan") if v is None else float(v) for v in values], kind)


def cast_from(first: Any, last: Any) -> Form:
    return lambda values: pa.array(values, first).cast(last)


def booleans(values: list[Any]) -> Any:
    return pa.array([None if v is None else bool(v) for v in values])


def numbers(values: list[Any]) -> Any:
    """Whole numbers as int64, others as float64."""
    whole = all(v is None or float(v).is_integer() for v in values)
    return pa.array([v if v is None or not whole else int(v) for v in values],
                    pa.int64() if whole else pa.float64())  # fmt: skip


def midnights(days: list[Any]) -> list[Any]:
    return [d and datetime.datetime(d.year, d.month, d.day) for d in days]


def lists_of(form: Form, kind: Any = pa.ListArray) -> Form:
    """Lists of two values, the second missing in the second row."""

    def make(rows: list[Any]) -> Any:
        flat = [value for row in rows for value in (row if row is not None else [])]
        offsets = np.append(0, np.cumsum([0 if row is None else len(row) for row in rows]))
        items = form(flat)
        items = items.combine_chunks() if isinstance(items, pa.ChunkedArray) else items
        index = pa.int64() if kind is pa.LargeListArray else pa.int32()
        return kind.from_arrays(pa.array(offsets, index), items)

    return make


DAYS = pattern(datetime.date(2024, 5, 1), datetime.date(2024, 5, 2))
TIMES = pattern(datetime.time(0), datetime.time(1))
GAPS = pattern(datetime.timedelta(0), datetime.timedelta(hours=1))
INSTANTS = [d and d.replace(tzinfo=datetime.UTC) for d in midnights(DAYS)]
UNITS = ("s", "ms", "us", "ns")
SMALL = {
    **arrow_forms.INTEGERS,
    "bool8": as_extension,
    "float16": cast_from(pa.float32(), pa.float16()),
    "float32 with NaN": with_nan(pa.float32()),
    "float64 with NaN": with_nan(pa.float64()),
    "decimal with a scale": as_decimals(pa.decimal128(10, 2)),
    "decimal256 with a scale": as_decimals(pa.decimal256(50, 3)),
}
WIDE = {
    **spread(pa.int64()),
    "uint64": cast_to(pa.uint64()),
    "decimal64": as_decimals(pa.decimal64(18, 0)),
    "decimal128": as_decimals(pa.decimal128(38, 0)),
    "decimal256": as_decimals(pa.decimal256(76, 0)),
    "decimal with a scale": as_decimals(pa.decimal128(38, 2)),
}
TIMESTAMPS = {
    **{f"timestamp[{unit}]": cast_to(pa.timestamp(unit)) for unit in UNITS},
    **{f"{name}": form for name, form in spread(pa.timestamp("ms")).items()},
}
ZONES = {
    **{f"timestamp[{unit}, UTC]": cast_to(pa.timestamp(unit, "UTC")) for unit in UNITS},
    "Tokyo": cast_to(pa.timestamp("us", "Asia/Tokyo")),
    "an offset": cast_to(pa.timestamp("ms", "+02:00")),
    **spread(pa.timestamp("us", "UTC")),
}
CLOCKS = {
    **{f"time32[{unit}]": cast_to(pa.time32(unit)) for unit in ("s", "ms")},
    **{f"time64[{unit}]": cast_to(pa.time64(unit)) for unit in ("us", "ns")},
    **spread(pa.time64("us")),
}
DATES = {**spread(pa.date32()), "date64": cast_to(pa.date64())}
TEXTS = {**arrow_forms.TEXTS, "large in runs": run_ends(pa.large_string())}
LISTS_OF_NUMBERS = {
    **arrow_forms.LISTS,
    "of codes": lists_of(dictionary_of(pa.int64())),
    "of runs": lists_of(run_ends(pa.int64())),
    "large, of decimals": lists_of(as_decimals(pa.decimal128(20, 0)), pa.LargeListArray),
    "of floats with NaN": lists_of(with_nan(pa.float64())),
}
LISTS_OF_TEXT = {
    "list": cast_to(pa.list_(pa.string())),
    "large list": cast_to(pa.large_list(pa.large_string())),
    "fixed size": cast_to(pa.list_(pa.string(), 2)),
    "list view": cast_to(pa.list_view(pa.string())),
    "of views": lists_of(cast_to(pa.string_view())),
    "of codes": lists_of(dictionary_of(pa.string())),
    "of codes of views": lists_of(view_in_a_dictionary),
    "large, of bytes": lists_of(as_bytes(pa.binary()), pa.LargeListArray),
    "chunks": in_chunks(pa.list_(pa.string())),
    "slice": in_a_slice(pa.list_(pa.string())),
}
ISO = [day and str(day) for day in DAYS]
PAIRS = [[0, 1], [1, 1], [0, 0], [1, None], [0, 1], [1, 0]]
WORDS = [[None if i is None else "ab"[i] for i in pair] for pair in PAIRS]
CASES = [
    TypeCase("integer", "number", pattern(0, 1), numbers, (CATEGORICAL, NUMERIC), SMALL),
    TypeCase("integer beyond 2^53", "number", pattern(2**55, 2**55 + 1), numbers,
             (CATEGORICAL,), WIDE),
    TypeCase("float", "number", pattern(0.25, 0.5), cast_to(pa.float64()), (NUMERIC,),
             {**arrow_forms.FLOATS, "NaN": with_nan(pa.float64())}),
    TypeCase("boolean", "number", pattern(0, 1), booleans, (CATEGORICAL, NUMERIC),
             {name: lambda v, form=form: form([None if x is None else bool(x) for x in v])
              for name, form in arrow_forms.BOOLEANS.items()}),
    TypeCase("text", "text", pattern("a", "b"), cast_to(pa.string()), (CATEGORICAL,), TEXTS),
    TypeCase("text that writes days", "text", ISO, cast_to(pa.string()), (CATEGORICAL,), TEXTS,
             {"day": midnights(DAYS)}),
    TypeCase("binary", "text", pattern("a", "b"), as_bytes(pa.binary()), (CATEGORICAL,),
             arrow_forms.BYTES),
    TypeCase("date", "day", midnights(DAYS), lambda v: pa.array([d and d.date() for d in v]),
             (CATEGORICAL,),
             {n: lambda v, f=f: f([d and d.date() for d in v]) for n, f in DATES.items()}),
    TypeCase("timestamp", "day", midnights(DAYS), cast_to(pa.timestamp("us")), (CATEGORICAL,),
             TIMESTAMPS),
    TypeCase("timestamp with a zone", "instant", INSTANTS, cast_to(pa.timestamp("us", "UTC")),
             (CATEGORICAL,), ZONES),
    TypeCase("time of day", "clock", TIMES, cast_to(pa.time64("us")), (CATEGORICAL,), CLOCKS),
    TypeCase("duration", "gap", GAPS, cast_to(pa.duration("s")), (CATEGORICAL,),
             {**{f"duration[{u}]": cast_to(pa.duration(u)) for u in UNITS},
              **spread(pa.duration("ms"))}),
    TypeCase("list of integer", "numbers", PAIRS, cast_to(pa.list_(pa.int64())), (LIST,),
             LISTS_OF_NUMBERS),
    TypeCase("list of text", "words", WORDS, cast_to(pa.list_(pa.string())), (LIST,),
             LISTS_OF_TEXT),
]  # fmt: skip


def strange(name: str, column: Any, values: list[Any] | None = None) -> tuple[TypeCase, Any]:
    """A column that no feature can be fitted on, or only some can."""
    family = "none" if values is None else "number"
    return TypeCase(name, family, values or [], cast_to(None), (), {}), column


STRANGE = [
    strange("struct", pa.array([{"a": 1}] * 6)),
    strange("map", pa.array([[("a", 1)]] * 6, pa.map_(pa.string(), pa.int64()))),
    strange("list of lists", pa.array([[[1]]] * 6)),
    strange("union", pa.UnionArray.from_dense(
        pa.array([0] * 6, pa.int8()), pa.array(range(6), pa.int32()), [pa.array([1] * 6)])),
    strange("bytes that are no text", pa.array([b"\xff"] * 6)),
    strange("uint64 beyond int64", pa.array([2**63] * 6, pa.uint64()), [2**63] * 6),
    strange("decimal beyond 64 bits", pa.array([Decimal(10**30)] * 6), [10**30] * 6),
    strange("infinite", pa.array([float("inf")] * 6)),
    strange("times far away", pa.array([2**62] * 6, pa.timestamp("s"))),
    strange("uuid", pa.array([b"\x80" * 16] * 6, pa.uuid())),
]  # fmt: skip


@dataclass(frozen=True)
class Fitted:
    """A model that was fitted on a case and saved.

    Attributes:
        case: of the column x.
        use: the kind of the feature that reads it.
        scorer: of the bundle.
        ranker: of the same.
    """

    case: TypeCase
    use: str
    scorer: Scorer
    ranker: Ranker


def schema_of(use: str) -> Any:
    return parse_schema(SCHEMA.format(use=use), source="matrix.yaml")


def fit(column: Any, use: str) -> RowEncoder:
    """The encoder of a column and a number beside it, as `prepare` fits it on one file."""
    table = table_of(column)
    types = {field.name: logical_type(field.type) for field in table.schema}
    fitting = EncoderFit(schema_of(use), types)
    arrays = {name: normalised(table[name], types[name], name, PLACE) for name in types}
    fitting.add(pa.record_batch(arrays), np.ones(len(column), np.bool_), PLACE)
    return fitting.finish()


def table_of(column: Any) -> pa.Table:
    """A frame whose column x is what is tried."""
    return pa.table({"x": column, "z": np.full(len(column), 0.5), "row": np.arange(len(column))})


def fitted_model(case: TypeCase, use: str, folder: Path) -> Fitted:
    """A small network on a case's plain form, by way of a saved bundle."""
    plain = case.plain(case.values)
    encoder = fit(plain, use)
    torch.manual_seed(0)
    layout = catalog.mmoe(1, experts=2, widths=(8, 4))
    heads = (HeadSpec("click", "binary", mean=0.3),)
    model = TabularModel(encoder.encoding, heads, layout=layout,
                         sizes=ModelSizes(embedding=4, tower=(4,)))  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    rows = table_of(plain).select(["x", "z"])
    save_bundle(folder, model=model.eval(), encoder=encoder, rows=rows, metrics={})
    scorer = Scorer(Scorer.load(folder, record=False).bundle, chunk_rows=8, record=False)
    return Fitted(case, use, scorer, Ranker(scorer))


def cells() -> Iterator[tuple[TypeCase, str, Any]]:
    """The columns that come later: of every case every form, columns without values, and others."""
    for case in CASES:
        for name, array in case.arrays():
            yield case, name, array
    empty = [
        ("null", pa.nulls(6)),
        ("float64 of NaN", pa.array([float("nan")] * 6)),
        ("text of null", pa.array([None] * 6, pa.string())),
        ("list of null", pa.array([None] * 6, pa.list_(pa.int8()))),
    ]
    for name, array in empty:
        yield NOTHING, name, array
    for case, array in STRANGE:
        yield case, case.name, array


NOTHING = TypeCase("nothing", "any", [None] * 6, pa.nulls, (), {})


def meaning(case: TypeCase, family: str) -> list[Any] | None:
    """The values of a case as another family reads them, None where it cannot."""
    if case is NOTHING:
        return [None] * 6
    return case.values if case.family == family else case.also.get(family)


def outcome(
    fitted_case: TypeCase,
    use: str,
    later: TypeCase,
    *,
    result: Callable[[], Any],
    expected: Callable[[Any], Any],
) -> str:
    """Run a cell; `equal` or `refused`, and an AssertionError where neither is right.

    Args:
        fitted_case: what was fitted.
        use: the kind of the feature that reads it.
        later: what comes.
        result: what the surface gives for it.
        expected: what it gives for a column in the plain form of the fitted case.
    """
    values = meaning(later, fitted_case.family)
    try:
        given = result()
    except DataError as fault:
        line = str(fault)
        assert "\n" not in line and "; " in line and "'x'" in line, line
        # Of integers that no float holds a caller's pandas may have made floats.
        own = later in (fitted_case, NOTHING) and "holds double beyond" not in line
        assert not own, f"own form refused: {line}"
        return "refused"
    assert values is not None, "accepted, though it means something else"
    if use == NUMERIC:
        column = pa.array([None if v is None else float(v) for v in values])
    else:
        column = fitted_case.plain(values)
    np.testing.assert_array_equal(given, expected(column))
    return "equal"


def fitted_ids(encoder: RowEncoder, column: Any) -> Any:
    """Ids and numbers of a column side by side."""
    encoded = encoder.encode(table_of(column), place=PLACE)
    return np.concatenate([encoded.ids, encoded.numeric], axis=1)


__all__ += ["fitted_model"]

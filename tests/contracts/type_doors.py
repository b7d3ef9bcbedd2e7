"""The doors of the type matrix, and the tally of their cells."""

import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from recmtl.data.columns.logical_type import logical_type
from recmtl.errors import DataError
from recmtl.serve.mlflow_model import Refusal, ScorerModel
from tests.contracts.type_matrix import (
    CASES,
    Fitted,
    TypeCase,
    cells,
    outcome,
    table_of,
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "types.md"
USES = [(case, use) for case in CASES for use in case.uses]
LATER = list(cells())
Surface = Callable[[Fitted, pa.Table], Any]


class Unfit(Exception):
    """The caller's own library cannot make the frame, so there is no such cell."""


def loses_values(arrow: Any) -> bool:
    """Whether Arrow itself makes other values of a type in pandas (version 25).

    It loses zones in dictionaries and values of sliced views, makes numbers of unions, and ends the
    process on some runs.
    """
    zoned = pa.types.is_dictionary(arrow) and getattr(arrow.value_type, "tz", None) is not None
    views = pa.types.is_list_view(arrow) or pa.types.is_large_list_view(arrow)
    return zoned or views or pa.types.is_union(arrow) or pa.types.is_run_end_encoded(arrow)


def as_pandas(table: pa.Table, **options: Any) -> pd.DataFrame:
    if loses_values(table.schema.field("x").type):
        raise Unfit
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return table.to_pandas(**options)
    except Exception as fault:
        raise Unfit from fault


def by_score(fitted: Fitted, table: pa.Table) -> Any:
    return fitted.scorer.score(table)["p_click"].to_numpy()


def by_batch(fitted: Fitted, table: pa.Table) -> Any:
    return fitted.scorer.score(table.combine_chunks().to_batches()[0])["p_click"].to_numpy()


def by_pandas(fitted: Fitted, table: pa.Table) -> Any:
    return fitted.scorer.score(as_pandas(table))["p_click"].to_numpy()


def by_arrow_in_pandas(fitted: Fitted, table: pa.Table) -> Any:
    return fitted.scorer.score(as_pandas(table, types_mapper=pd.ArrowDtype))["p_click"].to_numpy()


def by_arrays(fitted: Fitted, table: pa.Table) -> Any:
    frame = as_pandas(table)
    arrays = {name: frame[name].to_numpy() for name in frame}
    return fitted.scorer.score(arrays)["p_click"]


def by_rank(fitted: Fitted, table: pa.Table) -> Any:
    ranked = fitted.ranker.rank(table, "p_click", keep=["row"])
    return ranked.sort_by("row")["p_click"].to_numpy()


def by_request(fitted: Fitted, table: pa.Table) -> Any:
    """Each row as a request: x is the user's, in Python values; z is the candidate's."""
    if pa.types.is_union(table.schema.field("x").type):
        raise Unfit  # its Python values are those of another type
    scores: dict[str, float] = {}
    rows = []
    for row in range(table.num_rows):
        value = table["x"][row]
        try:
            user = {"x": value.as_py()}
        except Exception as fault:
            raise Unfit from fault
        candidates = table.slice(0, 1).select(["z"])
        if str(user) not in scores:
            ranked = fitted.ranker.rank_request(user, candidates, "p_click")
            scores[str(user)] = ranked["p_click"][0].as_py()
        rows.append(scores[str(user)])
    return np.array(rows, np.float32)


def by_pyfunc(fitted: Fitted, table: pa.Table) -> Any:
    model, context = ScorerModel(), SimpleNamespace(artifacts={})
    model.scorer = fitted.scorer
    try:
        return model.predict(context, as_pandas(table))["p_click"].to_numpy()
    except Refusal as fault:
        raise DataError(str(fault)) from fault


def as_spark(arrow: Any) -> Any:
    """The Arrow type in which Spark hands a column of Parquet to its Python workers."""
    simple = {
        pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64(),
        pa.uint64(): pa.decimal128(20, 0), pa.float16(): pa.float32(), pa.date64(): pa.date32(),
        pa.large_string(): pa.string(), pa.string_view(): pa.string(), pa.null(): pa.null(),
        pa.large_binary(): pa.binary(), pa.binary_view(): pa.binary(),
    }  # fmt: skip
    if arrow in simple:
        return simple[arrow]
    if pa.types.is_timestamp(arrow):
        return pa.timestamp("us", arrow.tz and "Europe/Berlin")
    if pa.types.is_duration(arrow):
        return pa.duration("us")
    if pa.types.is_dictionary(arrow) or pa.types.is_run_end_encoded(arrow):
        return as_spark(arrow.value_type)
    if pa.types.is_list(arrow) or pa.types.is_large_list(arrow):
        return pa.list_(as_spark(arrow.value_type))
    plain = pa.types.is_integer(arrow) or pa.types.is_floating(arrow) or pa.types.is_string(arrow)
    if plain or pa.types.is_boolean(arrow) or pa.types.is_binary(arrow) or arrow == pa.date32():
        return arrow
    if pa.types.is_decimal128(arrow) and arrow.scale >= 0:
        return arrow
    raise Unfit


def by_spark(fitted: Fitted, table: pa.Table) -> Any:
    """What Spark's workers do, in the types that Spark gives them."""
    form = as_spark(table.schema.field("x").type)
    try:
        column = table["x"].cast(form)
    except pa.ArrowException as fault:
        raise Unfit from fault
    return fitted.scorer.scores(table_of(column))[:, 0]


SURFACES: dict[str, Surface] = {
    "score, Arrow table": by_score,
    "score, record batch": by_batch,
    "score, pandas": by_pandas,
    "score, pandas of Arrow": by_arrow_in_pandas,
    "score, dict of arrays": by_arrays,
    "rank": by_rank,
    "rank_request, the user's value": by_request,
    "pyfunc": by_pyfunc,
    "score, in Spark's types": by_spark,
}
"""Doors through which every column goes, fitted in the plain form of every case."""


Column = tuple[TypeCase, str, Any]


def own_forms(model: Fitted) -> list[Column]:
    """For slow doors: all forms of the fitted case, and the plain one of the case before."""
    other = CASES[CASES.index(model.case) - 1]
    forms = [(model.case, name, array) for name, array in model.case.arrays()]
    return [*forms, (other, "plain", other.plain(other.values))]


def write(table: pa.Table, path: Path) -> None:
    """Write a Parquet file; no cell where Arrow cannot, or reads another type of it."""
    try:
        pq.write_table(table, path)
        again = pq.read_table(path).schema.field("x").type
    except (pa.ArrowException, TypeError) as fault:
        raise Unfit from fault
    if logical_type(again).kind != logical_type(table.schema.field("x").type).kind:
        raise Unfit


class Tally:
    """Counts the cells of a door, and collects what is wrong with them."""

    def __init__(self, door: str) -> None:
        self.door, self.wrong = door, list[str]()
        self.counts: Counter[str] = Counter()
        self._expected: dict[tuple[str, str], Any] = {}

    def cell(
        self, fitted: tuple[TypeCase, str], later: tuple[TypeCase, str], result: Any, scores: Any
    ) -> None:
        """Judge one cell, see `outcome`; `scores` is what a column of the plain form gives."""

        def expected(column: Any) -> Any:
            key = fitted[0].name, f"{fitted[1]} {column.to_pylist()}"
            if key not in self._expected:
                self._expected[key] = scores(column)
            return self._expected[key]

        try:
            self.counts[outcome(*fitted, later[0], result=result, expected=expected)] += 1
        except Unfit:
            pass
        except Exception as fault:
            names = f"{fitted[0].name} ({fitted[1]}) <- {later[0].name}, {later[1]}"
            self.wrong.append(f"{names}: {type(fault).__name__}: {str(fault)[:150]}")

    def check(self) -> None:
        """No cell is wrong, and the documentation has their number."""
        assert not self.wrong, "\n".join(self.wrong)
        line = f"| {self.door} | {self.counts['equal']:,} | {self.counts['refused']:,} |"
        assert line in PAGE.read_text(encoding="utf-8"), f"{PAGE.name} lacks {line}"

"""Every logical type in every Arrow form at every door: equal scores or one line, nothing else."""

import re
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmtl.data.columns.logical_type import logical_type
from recmtl.data.describe import describe
from recmtl.data.reader import open_log
from recmtl.data.row_encoder import EncoderFit
from recmtl.errors import DataError
from recmtl.serve.batch.parquet import score_parquet
from recmtl.serve.mlflow_model import Refusal, ScorerModel
from tests.contracts.type_matrix import (
    CASES,
    Fitted,
    TypeCase,
    cells,
    fit,
    fitted_ids,
    fitted_model,
    meaning,
    numbers,
    outcome,
    schema_of,
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


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Fitted]:
    """A model of every case and use."""
    folder = tmp_path_factory.mktemp("bundles")
    return [fitted_model(case, use, folder / f"{case.name} {use}") for case, use in USES]


@pytest.mark.parametrize("door", SURFACES)
def test_a_fitted_type_meets_every_form(door: str, models: list[Fitted]) -> None:
    tally = Tally(door)
    for model in models:
        for later, form, array in LATER:
            tally.cell(
                (model.case, model.use),
                (later, form),
                lambda a=array, m=model: SURFACES[door](m, table_of(a)),
                lambda column, m=model: by_score(m, table_of(column)),
            )
    tally.check()


def test_a_batch_job_scores_every_form_that_parquet_stores(
    models: list[Fitted], tmp_path: Path
) -> None:
    """A job takes longest, so that each case meets its own forms and the plain one of the next."""
    tally, number = Tally("score, Parquet file"), 0

    def job(model: Fitted, column: Any) -> Any:
        nonlocal number
        number += 1
        source = tmp_path / f"{number}.parquet"
        write(table_of(column), source)
        score_parquet(model.scorer, source, tmp_path / str(number), drift="off")
        return pq.read_table(tmp_path / str(number))["p_click"].to_numpy()

    for model in models:
        after = CASES[CASES.index(model.case) - 1]
        forms = [(model.case, name, array) for name, array in model.case.arrays()]
        for later, form, array in [*forms, (after, "plain", after.plain(after.values))]:
            tally.cell(
                (model.case, model.use),
                (later, form),
                lambda a=array, m=model: job(m, a),
                lambda column, m=model: by_score(m, table_of(column)),
            )
    tally.check()


def test_every_form_that_was_fitted_meets_every_other() -> None:
    tally = Tally("encode, fitted in any form")
    for case, use in USES:
        plain = fit(case.plain(case.values), use)
        for name, array in case.arrays():
            try:
                encoder = fit(array, use)
            except DataError:
                tally.counts["refused"] += 1
                continue
            for form, later in case.arrays():
                tally.cell(
                    (case, use),
                    (case, f"{form} after {name}"),
                    lambda a=later, e=encoder: fitted_ids(e, a),
                    lambda column, e=plain: fitted_ids(e, column),
                )
    tally.check()


def read_ids(folder: Path, use: str) -> Any:
    """A log as `prepare` reads, fits and encodes it."""
    log = open_log(str(folder))
    fitting = EncoderFit(schema_of(use), log.logical_types(["x", "z"]))
    batches = list(log.batches(["x", "z"]))
    for batch in batches:
        fitting.add(batch.columns, np.ones(batch.rows, np.bool_), batch.place)
    encoder = fitting.finish()
    encoded = [
        encoder.encode_canonical(
            {name: batch.columns[name] for name in ("x", "z")}, batch.rows, batch.place
        )
        for batch in batches
    ]
    return np.concatenate([np.concatenate([e.ids, e.numeric], 1) for e in encoded])


def test_two_files_of_any_forms_are_one_log(tmp_path: Path) -> None:
    """Each form beside the plain one, after it and before it, and beside the next form."""
    tally, number = Tally("prepare, two files"), 0

    def two(use: str, first: Any, second: Any) -> Any:
        nonlocal number
        number += 1
        folder = tmp_path / str(number)
        folder.mkdir()
        write(table_of(first).slice(0, 3), folder / "0.parquet")
        write(table_of(second).slice(3), folder / "1.parquet")
        return read_ids(folder, use)

    for case, use in USES:
        plain, forms = case.plain(case.values), list(case.arrays())
        pairs = [
            pair
            for (name, array), (after, other) in zip(forms, forms[1:] + forms[:1], strict=True)
            for pair in ((name, array, plain), (name, plain, array), (after, array, other))
        ]
        for name, first, second in pairs:
            tally.cell(
                (case, use),
                (case, name),
                lambda a=first, b=second, u=use: two(u, a, b),
                lambda column, u=use: fitted_ids(fit(column, u), column),
            )
    tally.check()


def test_files_of_two_types_are_one_log_or_named(tmp_path: Path) -> None:
    tally, number = Tally("prepare, files of two types"), 0

    def mixed(use: str, cases: tuple[TypeCase, TypeCase]) -> Any:
        nonlocal number
        number += 1
        folder = tmp_path / str(number)
        folder.mkdir()
        for i, case in enumerate(cases):
            write(table_of(case.plain(case.values)), folder / f"{i}.parquet")
        return read_ids(folder, use)[:, :-1]

    for case, use in USES:
        for later in CASES:
            if later is case:
                continue
            plain = numbers if case.family == "number" else case.plain
            other = meaning(later, case.family)
            values = [] if other is None else [*case.values, *other]
            family = "none" if other is None else case.family
            tally.cell(
                (replace(case, plain=plain), use),
                (replace(later, values=values, family=family, also={}), "plain"),
                lambda c=(case, later), u=use: mixed(u, c),
                lambda column, u=use: fitted_ids(fit(column, u), column)[:, :-1],
            )
    tally.check()


def test_describe_reads_every_form(tmp_path: Path) -> None:
    tally = Tally("describe")
    for number, (later, _, array) in enumerate(LATER):
        source = tmp_path / f"{number}.parquet"
        try:
            write(table_of(array), source)
            assert "z" in describe(str(source)), later.name
            tally.counts["equal"] += 1
        except Unfit:
            pass
        except DataError as fault:
            assert "\n" not in str(fault)
            tally.counts["refused"] += 1
    tally.check()


def test_the_page_adds_up() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| [^|]+ \| ([\d,]+) \| ([\d,]+) \|$", text, re.MULTILINE)
    cells = sum(int(number.replace(",", "")) for row in rows for number in row)
    assert len(rows) == len(SURFACES) + 5
    assert f"{cells:,} cells" in text


FORMS = {case.name: dict(case.arrays()) for case in CASES}


@st.composite
def logs(draw: Any) -> tuple[TypeCase, list[Any]]:
    """A case, and its rows cut into files, each in another form, some of them repeated."""
    case = draw(st.sampled_from(CASES))
    cuts = sorted(draw(st.lists(st.integers(1, 5), max_size=3, unique=True)))
    forms = st.sampled_from(list(FORMS[case.name].values()))
    bounds = zip([0, *cuts], [*cuts, 6], strict=True)
    return case, [draw(forms).slice(low, high - low) for low, high in bounds]


@settings(max_examples=40, deadline=None)
@given(logs())
def test_a_log_cut_into_files_of_any_forms_is_encoded_as_one(
    tmp_path_factory: pytest.TempPathFactory, log: tuple[TypeCase, list[Any]]
) -> None:
    case, parts = log
    folder = tmp_path_factory.mktemp("log")
    try:
        for number, part in enumerate(parts):
            write(table_of(part), folder / f"{number}.parquet")
    except Unfit:
        return
    plain = case.plain(case.values)
    for use in case.uses:
        try:
            ids = read_ids(folder, use)
        except DataError as fault:
            # Beside decimals with a scale these are floats, which do not hold them.
            assert case.name == "integer beyond 2^53" and "beyond" in str(fault)
            continue
        np.testing.assert_array_equal(ids, fitted_ids(fit(plain, use), plain))

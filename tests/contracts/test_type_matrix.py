"""Every logical type in every Arrow form at every door: equal scores or one line, nothing else."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recmtl.data.describe import describe
from recmtl.data.passes.encoder_fit import EncoderFit
from recmtl.data.reader import open_log
from recmtl.errors import DataError
from recmtl.serve.batch.parquet import score_parquet
from tests.contracts.type_doors import (
    LATER,
    PAGE,
    SURFACES,
    USES,
    Tally,
    Unfit,
    by_score,
    own_forms,
    write,
)
from tests.contracts.type_matrix import (
    CASES,
    Fitted,
    TypeCase,
    fit,
    fitted_ids,
    meaning,
    numbers,
    schema_of,
    table_of,
)


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
    tally, number = Tally("score, Parquet file"), 0

    def job(model: Fitted, column: Any) -> Any:
        nonlocal number
        number += 1
        source = tmp_path / f"{number}.parquet"
        write(table_of(column), source)
        score_parquet(model.scorer, source, tmp_path / str(number), drift="off")
        return pq.read_table(tmp_path / str(number))["p_click"].to_numpy()

    for model in models:
        for later, form, array in own_forms(model):
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
    assert len(rows) == len(SURFACES) + 7
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

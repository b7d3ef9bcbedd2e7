"""A frame of any kind becomes the same log."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import recmtl
from recmtl.errors import DataError
from recmtl.run.inputs import log_file

polars = pytest.importorskip("polars")

ROWS = 300
TABLE = pa.table(
    {
        "user": [f"u{i % 7}" for i in range(ROWS)],
        "click": [int(i % 3 == 0) for i in range(ROWS)],
        "price": [None if i % 11 == 0 else i / 8 for i in range(ROWS)],
        "tags": [[f"t{i % 5}", "all"] for i in range(ROWS)],
        "when": pa.array(np.datetime64("2024-05-01") + np.arange(ROWS), pa.timestamp("us")),
    }
)


class Stream:
    """What hands on Arrow data once, as a cursor of a data base does."""

    def __init__(self, table: pa.Table) -> None:
        self.reader = table.to_reader(max_chunksize=64)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.reader.__arrow_c_stream__(requested_schema)


KINDS: dict[str, Callable[[pa.Table], Any]] = {
    "arrow": lambda table: table,
    "batch": lambda table: table.to_batches()[0],
    "batches": lambda table: table.to_reader(),
    "pandas": lambda table: table.to_pandas(),
    "pandas with an index": lambda table: table.to_pandas().set_index(np.arange(ROWS)[::-1]),
    "polars": lambda table: polars.from_arrow(table),
    "dict": lambda table: table.to_pydict(),
    "stream": Stream,
}


def read(frame: Any, folder: Path) -> pa.Table:
    with log_file(frame, folder) as path:
        return pq.read_table(path)


@pytest.mark.parametrize("kind", KINDS)
def test_the_log_holds_the_rows_of_the_frame(kind: str, tmp_path: Path) -> None:
    stored = read(KINDS[kind](TABLE), tmp_path)
    assert stored.column_names == TABLE.column_names
    assert stored.to_pydict() == TABLE.to_pydict()


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_is_drafted_like_its_file(kind: str, tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "log.parquet")
    from_file = recmtl.describe(tmp_path / "log.parquet").text.splitlines()[1:]
    assert recmtl.describe(KINDS[kind](TABLE)).text.splitlines()[1:] == from_file


def test_equal_frames_are_one_file_and_others_are_beside_it(tmp_path: Path) -> None:
    pandas = TABLE.to_pandas()
    for frame in (pandas, pandas.copy(), pandas.head(99)):
        read(frame, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_categories_and_missing_values_of_pandas_arrive(tmp_path: Path) -> None:
    frame = pd.DataFrame({"city": pd.Categorical(["b", None, "a"]), "x": [1.0, np.nan, 3.0]})
    assert read(frame, tmp_path).to_pydict() == {"city": ["b", None, "a"], "x": [1.0, None, 3.0]}


def test_polars_categories_arrive(tmp_path: Path) -> None:
    frame = polars.DataFrame({"city": polars.Series(["b", None], dtype=polars.Categorical)})
    assert read(frame, tmp_path)["city"].to_pylist() == ["b", None]


def test_a_file_whose_job_fails_is_removed_and_one_that_was_there_stays(tmp_path: Path) -> None:
    read(TABLE, tmp_path)
    for frame in (TABLE, TABLE.slice(9)):
        with pytest.raises(ValueError), log_file(frame, tmp_path):
            raise ValueError
    assert [pq.read_table(path).num_rows for path in tmp_path.iterdir()] == [ROWS]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        ([1, 2], "cannot read rows from a list: give a pandas or polars"),
        (polars.LazyFrame({"a": [1]}), "cannot read rows from a LazyFrame: collect it first"),
        (pd.DataFrame({"a": [1, "x"]}), "column 'a' mixes types"),
        (pd.DataFrame({1: [1]}), "the name of column 1 is of type int"),
        (TABLE.slice(0, 0), "holds no rows"),
        ({"a": [1, 2], "b": [1]}, "differ in length"),
    ],
    ids=["list", "lazy", "mixed", "name", "empty", "lengths"],
)
def test_what_is_no_log_is_refused_and_leaves_nothing(
    frame: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        read(frame, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_notebook_shows_a_draft_with_a_profile_and_save_writes_both(tmp_path: Path) -> None:
    draft = recmtl.describe(TABLE.to_pandas())
    assert draft._repr_html_().startswith('<iframe srcdoc="&lt;!')
    assert "a DataFrame" in draft.page and "click" in draft.page
    draft.save(tmp_path / "shop.yaml")
    assert (tmp_path / "shop.yaml").read_text() == draft.text
    assert (tmp_path / "shop_profile.html").read_text() == draft.page

"""Frames of polars, and what hands on Arrow data once, are scored and ranked like Arrow tables."""

from pathlib import Path

import pyarrow as pa
import pytest

from recmtl import Ranker, Scorer
from recmtl.errors import DataError
from recmtl.serve.frames import column_names

BUNDLE = Path(__file__).resolve().parents[2] / "data" / "bundles" / "0.1" / "grid"
ADDED = ("rank_score", "rank")


class Stream:
    """What hands on Arrow data once."""

    def __init__(self, table: pa.Table) -> None:
        self.reader = table.to_reader()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.reader.__arrow_c_stream__(requested_schema)


def test_polars_comes_back_as_polars_with_the_scores_of_arrow() -> None:
    polars = pytest.importorskip("polars")
    scorer = Scorer.load(BUNDLE, record=False)
    rows = scorer.bundle.golden
    frame = polars.from_arrow(rows)
    scores, expected = scorer.score(frame), scorer.score(rows)
    assert isinstance(scores, polars.DataFrame)
    assert scores.to_dict(as_series=False) == expected.to_pydict()
    ranker = Ranker(scorer)
    ranked = ranker.rank(frame, by="p_click", k=3)
    assert isinstance(ranked, polars.DataFrame)
    assert ranked.to_dict(as_series=False) == ranker.rank(rows, by="p_click", k=3).to_pydict()
    assert ranker.rank(frame, by="p_click", k=2, keep=[]).columns == [
        *expected.schema.names,
        *ADDED,
    ]


def test_what_hands_on_arrow_data_once_is_scored_as_a_table() -> None:
    scorer = Scorer.load(BUNDLE, record=False)
    rows = scorer.bundle.golden
    assert scorer.score(Stream(rows)).equals(scorer.score(rows))
    ranked = Ranker(scorer).rank(Stream(rows), by="p_click", k=2)
    assert ranked.num_rows == 2


def test_a_lazy_frame_is_to_be_collected() -> None:
    polars = pytest.importorskip("polars")
    with pytest.raises(DataError, match="collect it first"):
        column_names(polars.LazyFrame({"a": [1]}))

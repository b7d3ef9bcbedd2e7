"""Statistics of the past behind a bundle: scored, ranked, explained as training saw them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recmtl.data.encoded_log import EncodedLog
from recmtl.errors import BundleError
from recmtl.serve import Ranker, Scorer, save_bundle
from recmtl.serve.batch.parquet import score_parquet
from recmtl.serve.batch.spark import score_spark
from tests.chaos.local_spark import local_spark
from tests.unit.serve.forest_shop import encoded_log
from tests.unit.serve.shop import SCHEMA, as_request, make_log, make_model

STATISTICS = """
statistics:
  - {name: u, key: user_id, of: [click, {column: watch_s}], windows: [all, 3], grain: 1}
  - {name: i, key: item, of: [click, buy], values: [rate, count, last], grain: 1}
  - {name: pair, key: [user_id, item], values: [count], grain: 1}
  - {name: h, key: history, of: [click], grain: 1}
"""
TEXT = SCHEMA.replace("{group: request}", "{group: request, time: day}") + STATISTICS
USER = ["user_id", "history", "age", "day"]
ITEMS = ["item", "price"]
BY = "p_click * value_watch"


def days_log(rows: int) -> pa.Table:
    """The shop's log over ten days."""
    days = np.sort(np.random.default_rng(1).integers(0, 10, rows))
    return make_log(rows).append_column("day", pa.array(days))


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> EncodedLog:
    """The encoded log of 600 rows."""
    return encoded_log(tmp_path_factory.mktemp("past"), days_log(600), TEXT)


@pytest.fixture(scope="module")
def bundle(log: EncodedLog, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose user brings the time too."""
    folder = tmp_path_factory.mktemp("bundle") / "bundle"
    encoder = log.encoder()
    options = {"model": make_model(encoder), "encoder": encoder, "metrics": {}, "user": USER}
    return save_bundle(folder, rows=days_log(600), **options)


@pytest.fixture(scope="module")
def scorer(bundle: Path) -> Scorer:
    """The scorer of that bundle."""
    return Scorer.load(bundle, record=False)


def test_a_bundle_scores_the_rows_of_the_log_as_they_were_encoded(
    log: EncodedLog, scorer: Scorer
) -> None:
    assert set(scorer.input_columns) == {*USER, *ITEMS}
    table = days_log(600)
    scores = scorer.scores(table)
    for part in ("train", "validation", "test"):
        rows = log.split(part)
        expected = scorer.encoded_scores(np.array(rows.ids), np.array(rows.numeric))
        np.testing.assert_array_equal(scores[rows.row], expected)
    before = scorer.unknown["u"]
    scorer.score(table.slice(0, 2).to_pandas().assign(user_id=[7, 8]))
    assert scorer.unknown["u"] == before + 2


@pytest.mark.parametrize("user", [USER, USER[:3], [*USER, "u.count.all"]])
def test_a_request_is_ranked_as_its_joined_rows(user: list[str], scorer: Scorer) -> None:
    rows = days_log(600).slice(500, 40)
    rows = rows.append_column("u.count.all", pa.array(np.full(40, 3.0)))
    first = rows.slice(0, 1).to_pylist()[0]
    values = {name: first[name] for name in user}
    candidates = rows.drop_columns([name for name in rows.column_names if name in user])
    for name in user:
        at = rows.column_names.index(name)
        repeated = rows[name].take(pa.array([0] * 40))
        rows = rows.set_column(at, name, repeated)
    if "u.count.all" not in user:
        candidates, rows = (t.drop_columns(["u.count.all"]) for t in (candidates, rows))
    ranker = Ranker(scorer)
    joined = ranker.rank(rows, BY, keep=ITEMS)
    assert ranker.rank_request(values, candidates, BY, keep=ITEMS).equals(joined)


def test_a_request_in_onnx_is_ranked_as_its_joined_rows(bundle: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    ranker = Ranker.load(bundle, engine="onnx")
    rows = days_log(600).slice(500, 30)
    values, candidates, joined = as_request(rows.select([*ITEMS, *USER]), USER)
    ranked = ranker.rank_request(values, candidates, BY, keep=ITEMS)
    expected = Ranker.load(bundle, engine="torch").rank(joined, BY, keep=ITEMS)
    np.testing.assert_allclose(
        ranked["rank_score"].to_numpy(), expected["rank_score"].to_numpy(), rtol=1e-4
    )


def test_numbers_that_rows_bring_are_used(scorer: Scorer, tmp_path: Path) -> None:
    rows = days_log(600).slice(300, 50)
    with_past = scorer.bundle.encoder.with_numbers(rows)
    np.testing.assert_array_equal(scorer.scores(with_past), scorer.scores(rows))
    brought = rows.append_column("u.click.rate.3", pa.array(np.linspace(0, 1, 50)))
    changed = scorer.score(brought)
    assert not changed.equals(scorer.score(rows))
    pq.write_table(brought, tmp_path / "rows.parquet")
    score_parquet(scorer, tmp_path / "rows.parquet", tmp_path / "out", keep=["u.click.rate.3"])
    (part,) = (tmp_path / "out").glob("part-*.parquet")
    assert pq.read_table(part).select(changed.column_names).equals(changed)


def test_rows_without_a_time_are_scored_right_after_the_state(scorer: Scorer) -> None:
    rows = days_log(600).slice(0, 50)
    at = rows.column_names.index("day")
    missing = rows.set_column(at, "day", pa.nulls(50, pa.int64()))
    after = rows.set_column(at, "day", pa.array([10] * 50))
    assert scorer.score(missing).equals(scorer.score(after))
    assert not scorer.score(missing).equals(scorer.score(rows))


def test_an_explanation_names_every_number_with_its_value(scorer: Scorer) -> None:
    rows = days_log(600).slice(590, 2)
    explanation = Ranker(scorer).explain(rows, "click", steps=4)
    assert explanation.features == scorer.bundle.encoder.encoding.fields
    numbers = scorer.bundle.encoder.with_numbers(rows)
    assert explanation.values["u.count.all"].equals(numbers["u.count.all"])
    assert "u.count.all" in explanation.table()["feature"].to_pylist()


def test_a_state_that_was_altered_is_refused(bundle: Path) -> None:
    file = bundle / "encoder" / "statistics" / "0.arrow"
    content = file.read_bytes()
    try:
        file.write_bytes(content[:-9] + bytes(9))
        with pytest.raises(BundleError, match=r"0\.arrow was altered"):
            Scorer.load(bundle)
    finally:
        file.write_bytes(content)


@pytest.mark.slow
def test_spark_looks_the_past_up_too(scorer: Scorer, bundle: Path, tmp_path: Path) -> None:
    rows = days_log(600).append_column("row", pa.array(np.arange(600)))
    pq.write_table(rows, tmp_path / "log.parquet", row_group_size=100)
    with local_spark():
        score_spark(scorer.bundle, str(tmp_path / "log.parquet"), str(tmp_path / "s"), keep=["row"])
    spark = pq.read_table(tmp_path / "s").sort_by("row")
    assert spark.select(list(scorer.columns)).to_pydict() == scorer.score(rows).to_pydict()

"""Histories read against the candidate behind a bundle: scored, ranked, explained, exported."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from mlflow.pyfunc import load_model

from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import DataError
from recmtl.grid.catalog import CATALOG
from recmtl.mlflow_store import without_warnings
from recmtl.model import ModelSizes, TabularModel
from recmtl.serve import Ranker, Scorer, save_bundle
from recmtl.serve.batch.parquet import score_parquet
from recmtl.serve.batch.spark import score_spark
from recmtl.serve.bundle.bundle import load_bundle
from recmtl.serve.bundle.request_network import RequestNetwork
from recmtl.serve.ranking.request import encode_plain_row
from recmtl.serve.request_rows import json_rows, request_rows
from recmtl.serve.scoring.onnx import equal_to_rounding
from tests.chaos.local_spark import local_spark
from tests.unit.serve.served import Server, save_model
from tests.unit.serve.shop import HEADS, SCHEMA, as_request, make_encoder, make_log, make_model

HISTORY = """
  author: {kind: categorical}
  history: {kind: list, pooling: attention, target: item, max_length: 4, times: seen_at}
  seen_authors: {kind: list, pooling: attention, target: author, align: history, max_length: 4}
"""
OLD = "\n  history: {kind: list, table: item, max_length: 4}\n"
TEXT = SCHEMA.replace(OLD, HISTORY).replace("{group: request}", "{group: request, time: now}")
LISTS = ["history", "seen_authors", "seen_at"]
USER = ["user_id", *LISTS, "age", "now"]
ITEMS = ["item", "author", "price"]
BY = "p_click * value_watch"


def history_log(rows: int, seed: int = 0) -> pa.Table:
    """The shop's log with the author of every item and the time of every event."""
    log, dice = make_log(rows, seed), np.random.default_rng(seed + 1)
    authors = [None if item is None else len(item) % 3 for item in log["item"].to_pylist()]
    lists = log["history"].to_pylist()
    by = [[int(item[5:]) % 3 for item in items] for items in lists]
    at = [np.sort(dice.integers(0, 5000, len(items))).tolist() for items in lists]
    columns = {"author": authors, "seen_authors": by, "seen_at": at, "now": [5000] * rows}
    for name, values in columns.items():
        log = log.append_column(name, pa.array(values))
    return log


@pytest.fixture(scope="module")
def encoder() -> RowEncoder:
    """Fitted on 700 rows."""
    return make_encoder(history_log(700), TEXT)


@pytest.fixture(scope="module")
def bundle(encoder: RowEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of which the user brings the history."""
    folder = tmp_path_factory.mktemp("bundle") / "bundle"
    options: dict[str, Any] = {"model": make_model(encoder), "encoder": encoder, "metrics": {}}
    return save_bundle(folder, rows=history_log(700), user=USER, **options)


@pytest.fixture(scope="module")
def exported(encoder: RowEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of a small network with both of its ONNX files, which take long to write."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(3)
    layout = CATALOG["shared_bottom"].layout(1, cells=1, widths=(8,), depth=1)
    sizes = ModelSizes(embedding=8, tower=(4,))
    model = TabularModel(encoder.encoding, HEADS[:1], layout=layout, sizes=sizes).eval()
    folder = tmp_path_factory.mktemp("onnx") / "bundle"
    options: dict[str, Any] = {"model": model, "encoder": encoder, "metrics": {}}
    return save_bundle(folder, rows=history_log(700), user=USER, onnx=True, **options)


@pytest.fixture(scope="module")
def scorer(bundle: Path) -> Scorer:
    """The scorer of that bundle."""
    return Scorer.load(bundle, record=False)


def request(user: list[str], rows: int = 40) -> tuple[dict[str, Any], pa.Table, pa.Table]:
    """A user's values, candidates, and the two joined."""
    log = history_log(100, seed=5)
    row = next(i for i, events in enumerate(log["history"].to_pylist()) if len(events) > 4)
    return as_request(log.slice(0, rows), user, of=row)


def test_rows_of_a_file_have_the_scores_of_the_table(scorer: Scorer, tmp_path: Path) -> None:
    rows = history_log(90, seed=2)
    pq.write_table(rows, tmp_path / "rows.parquet", row_group_size=17)
    score_parquet(scorer, tmp_path / "rows.parquet", tmp_path / "out")
    written = pq.read_table(tmp_path / "out")
    expected = scorer.score(rows)
    for name in expected.column_names:
        np.testing.assert_array_equal(written[name].to_numpy(), expected[name].to_numpy())


def test_a_scorer_gives_rows_alone_the_scores_they_have_together(scorer: Scorer) -> None:
    rows = history_log(30, seed=3)
    alone = [scorer.scores(rows.slice(row, 1)) for row in range(rows.num_rows)]
    np.testing.assert_array_equal(np.concatenate(alone), scorer.scores(rows))


def test_scores_follow_the_events_and_their_ages(scorer: Scorer) -> None:
    _, _, joined = request(USER)
    before = scorer.scores(joined)
    for name, value in (("now", 9000), ("seen_at", None)):
        changed = joined.drop_columns([name])
        values = [value] * 40 if name == "now" else [[0] * 5] * 40
        if name == "seen_at":
            values = [[0] * len(events) for events in joined["history"].to_pylist()]
        changed = changed.append_column(name, pa.array(values))
        assert not np.allclose(scorer.scores(changed), before)


@pytest.mark.parametrize(
    "user",
    [
        USER,
        [name for name in USER if name != "now"],
        ["user_id", "age", "item", "author"],
        ["user_id", "item"],
    ],
)
def test_a_request_is_ranked_as_its_joined_rows(user: list[str], scorer: Scorer) -> None:
    values, candidates, joined = request(user)
    ranker = Ranker(scorer)
    keep = [name for name in ("price", "author") if name not in user]
    ranked = ranker.rank_request(values, candidates, BY, keep=keep)
    assert ranked.equals(ranker.rank(joined, BY, keep=keep))


def test_a_request_in_onnx_is_ranked_as_its_joined_rows(exported: Path) -> None:
    values, candidates, joined = request(USER)
    ranker = Ranker.load(exported, engine="onnx")
    fast = ranker.rank_request(values, candidates, "p_click", keep=["price"])
    plain = Ranker.load(exported, engine="torch").rank(joined, "p_click", keep=["price"])
    np.testing.assert_allclose(
        fast["rank_score"].to_numpy(), plain["rank_score"].to_numpy(), rtol=1e-4
    )


@pytest.mark.parametrize("rows", [1, 7, 300])
def test_the_onnx_network_gives_the_scores_of_torch(exported: Path, rows: int) -> None:
    table = history_log(300, seed=8).slice(0, rows)
    fast, plain = (Scorer.load(exported, engine=engine) for engine in ("onnx", "torch"))
    assert equal_to_rounding(fast.scores(table), plain.scores(table))


@pytest.mark.parametrize("name", ["shared_bottom", "ple", "recmtl_grid", "adashare", "stem"])
@pytest.mark.parametrize(
    "user",
    [
        {"user_id", "age", "history", "seen_authors", "history.age", "history.count"},
        {"user_id", "item", "author"},
        {"user_id", "author"},
        {"item", "author", "history", "seen_authors", "history.age"},
        {"history", "seen_authors", "history.age"},
    ],
)
def test_both_sides_may_bring_the_history_or_its_targets(
    encoder: RowEncoder, name: str, user: set[str]
) -> None:
    """In float64, so that nothing left out of the two parts could hide in rounding."""
    if name not in CATALOG:
        pytest.skip("not in the catalog")
    layout = CATALOG[name].layout(len(HEADS), cells=6, widths=(16, 8), depth=2)
    sizes = ModelSizes(embedding=8, tower=(8,))
    torch.manual_seed(1)
    model = TabularModel(encoder.encoding, HEADS, layout=layout, sizes=sizes).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        model.encoder.table.weight[0] = 0.0
    whole = encoder.encoding
    mine, theirs = whole.part(user), whole.part(set(whole.fields) - user)
    encoded = encoder.encode(history_log(30, seed=6))
    ids, numeric = torch.from_numpy(encoded.ids), torch.from_numpy(encoded.numeric).double()
    columns = [whole.columns_of(part) for part in (mine, theirs)]
    ids[:, columns[0][0]] = ids[4, columns[0][0]]
    numeric[:, columns[0][1]] = numeric[4, columns[0][1]]
    expected = model.predict(ids, numeric)
    parts = [ids[:1, columns[0][0]], numeric[:1, columns[0][1]]]
    parts += [ids[:, columns[1][0]], numeric[:, columns[1][1]]]
    with torch.no_grad():
        got = RequestNetwork(model, mine.fields).eval()(*parts)
    torch.testing.assert_close(got, expected, rtol=1e-10, atol=1e-12)


def test_a_plain_row_is_encoded_as_a_table_of_it(encoder: RowEncoder) -> None:
    rows = history_log(60, seed=9)
    table = rows.select(list(encoder.input_columns))
    for row, values in enumerate(table.to_pylist()):
        got, want = encode_plain_row(encoder, values), encoder.encode(table.slice(row, 1))
        assert got is not None
        np.testing.assert_array_equal(got.ids, want.ids)
        np.testing.assert_array_equal(got.numeric, want.numeric)
        assert got.unknown == want.unknown


@pytest.mark.parametrize(
    "change",
    [{"seen_at": [1]}, {"seen_at": ["noon"] * 2}, {"now": "noon"}, {"seen_authors": None}],
)
def test_what_is_not_plain_or_not_aligned_goes_the_long_way(
    encoder: RowEncoder, change: dict[str, Any]
) -> None:
    row = {"user_id": 7, "item": "item-1", "author": 1, "price": 2.0, "age": 30, "now": 50}
    row |= {"history": ["item-1", "item-2"], "seen_authors": [1, 2], "seen_at": [3, None]}
    assert encode_plain_row(encoder, row) is not None
    assert encode_plain_row(encoder, row | change) is None


def test_a_request_names_the_list_that_is_not_aligned(scorer: Scorer) -> None:
    values, candidates, _ = request(USER)
    with pytest.raises(DataError, match="column 'seen_authors': has 1 values in row 0"):
        Ranker(scorer).rank_request(values | {"seen_authors": [1]}, candidates, BY)


def test_contributions_of_a_history_add_up_with_the_others(bundle: Path) -> None:
    ranker = Ranker.load(bundle)
    explanation = ranker.explain(history_log(6, seed=4), task="click")
    assert {"history", "seen_authors", "history.age"} <= set(explanation.features)


def test_rows_as_json_have_the_scores_of_the_table(encoder: RowEncoder, scorer: Scorer) -> None:
    rows = history_log(20, seed=11).select(list(encoder.input_columns))
    again = request_rows(json_rows(rows), encoder.types)
    np.testing.assert_array_equal(scorer.scores(again), scorer.scores(rows))


def test_what_mlflow_serves_reads_histories_with_the_scorers_bits(
    bundle: Path, scorer: Scorer, tmp_path: Path
) -> None:
    """Of a frame with empty and absent histories, and of the same rows posted as JSON."""
    rows = history_log(30, seed=13).select(list(scorer.input_columns))
    lengths = [len(events) for events in rows["history"].to_pylist()]
    assert min(lengths) == 0 and max(lengths) > 4
    expected = scorer.scores(rows)
    with without_warnings():
        model = load_model(str(save_model(load_bundle(bundle), tmp_path / "model")))
        served = model.predict(rows.to_pandas())
        status, answer = Server(model).post(
            {"dataframe_records": json_rows(rows).to_dict("records")}
        )
        frame = rows.to_pandas().drop(columns=LISTS)
        without = model.predict(frame)[list(scorer.columns)].to_numpy()
    np.testing.assert_array_equal(served[list(scorer.columns)].to_numpy(), expected)
    assert status == 200, answer
    posted = pd.DataFrame(answer["predictions"])[list(scorer.columns)].to_numpy(np.float32)
    np.testing.assert_array_equal(posted, expected)
    missing = rows
    for name in LISTS:
        place, kind = rows.column_names.index(name), rows.schema.field(name).type
        missing = missing.set_column(place, name, pa.nulls(rows.num_rows, kind))
    np.testing.assert_array_equal(without, scorer.scores(missing))
    assert (without != expected).any(1).all()


@pytest.mark.slow
def test_spark_reads_histories_too(scorer: Scorer, tmp_path: Path) -> None:
    rows = history_log(40, seed=12).append_column("row", pa.array(np.arange(40)))
    pq.write_table(rows, tmp_path / "log.parquet")
    with local_spark():
        score_spark(scorer.bundle, str(tmp_path / "log.parquet"), str(tmp_path / "s"), keep=["row"])
    spark = pq.read_table(tmp_path / "s").sort_by("row")
    assert spark.select(list(scorer.columns)).to_pydict() == scorer.score(rows).to_pydict()

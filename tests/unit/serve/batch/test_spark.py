"""Spark gives the local engine's scores, with side tables, partitions, unknown ids and gaps."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import score as command
from recmtl.data.vocabulary_drift import unknown_shares
from recmtl.engines import spark as engine
from recmtl.errors import (
    BundleError,
    ConfigError,
    DataError,
    FormulaError,
    RecmtlError,
    SchemaError,
)
from recmtl.serve import Scorer, load_bundle, save_bundle, score_parquet
from recmtl.serve.batch import spark as batch_spark
from recmtl.serve.batch.spark import score_spark, scored_frame
from tests.chaos.local_spark import local_spark
from tests.unit.serve.shop import SCHEMA, make_bundle, make_encoder, make_log, make_model

slow = pytest.mark.slow


@pytest.fixture(scope="module")
def session() -> Iterator[Any]:
    with local_spark() as session:
        yield session


def strange(rows: int) -> pa.Table:
    """A log with row numbers, unknown users and missing ones."""
    log = make_log(rows, seed=21)
    users = log["user_id"].to_numpy().copy()
    users[::5] = 3
    users = pa.array(users, mask=np.arange(rows) % 11 == 0)
    log = log.set_column(log.column_names.index("user_id"), "user_id", users)
    return log.append_column("row", pa.array(np.arange(rows)))


@slow
def test_scores_are_those_of_the_local_engine(session: Any, bundle: Path, tmp_path: Path) -> None:
    pq.write_table(strange(3000), tmp_path / "log.parquet", row_group_size=500)
    keep = ["row", "item", "history"]
    scorer = Scorer.load(bundle)
    score_parquet(scorer, tmp_path / "log.parquet", tmp_path / "local", keep=keep)
    rows, warnings = score_spark(
        scorer.bundle, str(tmp_path / "log.parquet"), str(tmp_path / "spark"), keep=keep
    )
    assert (rows, warnings) == (3000, [])
    local, spark = (pq.read_table(tmp_path / name).sort_by("row") for name in ("local", "spark"))
    assert spark.column_names == local.column_names
    for name in local.column_names:
        assert spark[name].to_pylist() == local[name].to_pylist(), name


@slow
def test_side_tables_and_partitions_are_as_in_training(session: Any, tmp_path: Path) -> None:
    log = strange(400)
    prices = {f"item-{number}": number * 1.5 for number in range(30)}
    side = pa.table({"item": list(prices), "price": list(prices.values())})
    price = pa.array([prices.get(item) for item in log["item"].to_pylist()])
    joined = log.set_column(log.column_names.index("price"), "price", price)
    days = pa.array(["2024-05-01" if row < 200 else "2024-05-02" for row in range(400)])
    joined = joined.append_column("day", days)
    tables = "tables:\n  - {path: items.parquet, key: item}\nfeatures:\n  day: {kind: categorical}"
    encoder = make_encoder(joined, SCHEMA.replace("features:", tables))
    model = make_model(encoder)
    save_bundle(tmp_path / "b", model=model, encoder=encoder, rows=joined, metrics={})
    plain = joined.drop_columns(["price", "day"])
    for number, day in enumerate(("2024-05-01", "2024-05-02")):
        folder = tmp_path / "log" / f"day={day}" / f"hour={number}"
        folder.mkdir(parents=True)
        pq.write_table(plain.slice(200 * number, 200), folder / "x.parquet")
    pq.write_table(side, tmp_path / "log" / "items.parquet")
    scorer = Scorer.load(tmp_path / "b")
    keep = ["row", "day", "hour", "price"]
    score_parquet(scorer, tmp_path / "log", tmp_path / "local", keep=keep)
    score_spark(scorer.bundle, str(tmp_path / "log"), str(tmp_path / "spark"), keep=keep)
    local, spark = (pq.read_table(tmp_path / name).sort_by("row") for name in ("local", "spark"))
    for name in local.column_names:
        assert spark[name].to_pylist() == local[name].to_pylist(), name
    assert len(set(local["p_click"].to_pylist())) > 300


@slow
def test_drift_is_noticed_by_all_workers_together(session: Any, tmp_path: Path) -> None:
    log = make_log(700)
    encoder = make_encoder(log)
    usual = unknown_shares(encoder, encoder.encode(log).ids)
    options = {"model": make_model(encoder), "encoder": encoder, "rows": log, "metrics": {}}
    bundle = load_bundle(save_bundle(tmp_path / "b", unknown=usual, **options))
    users = pa.array(np.arange(700))
    far = log.set_column(log.column_names.index("user_id"), "user_id", users)
    pq.write_table(far, tmp_path / "far.parquet", row_group_size=100)
    _, warnings = score_spark(bundle, str(tmp_path / "far.parquet"), str(tmp_path / "out"))
    assert warnings == [
        "column 'user_id': 100.0% of its 700 values have no known id, 0.0% in training"
    ]
    with pytest.raises(DataError, match=r"^input: column 'user_id': 100\.0% of its"):
        score_spark(bundle, str(tmp_path / "far.parquet"), str(tmp_path / "2"), drift="error")


@slow
def test_faults_get_one_line(session: Any, bundle: Path, tmp_path: Path) -> None:
    loaded, log = load_bundle(bundle), strange(50)
    (tmp_path / "out").mkdir()

    def score(table: pa.Table, output: str = "new", **options: Any) -> None:
        pq.write_table(table, tmp_path / "log.parquet")
        score_spark(loaded, str(tmp_path / "log.parquet"), str(tmp_path / output), **options)

    with pytest.raises(DataError, match="out: exists already; choose a new folder"):
        score(log, "out")
    with pytest.raises(DataError, match="column 'price': is missing"):
        score(log.drop_columns("price"))
    price = log["price"].to_numpy(zero_copy_only=False).copy()
    price[7] = np.inf
    at = log.column_names.index("price")
    with pytest.raises(DataError, match=r"^input: column 'price': 1 values are infinite"):
        score(log.set_column(at, "price", pa.array(price)))
    with pytest.raises(DataError, match="'row': is to be kept twice"):
        score(log, keep=["row", "row"])
    frame = session.createDataFrame([(1,)], "x int").selectExpr("current_timestamp() as user_id")
    for name in ("item", "history", "price", "age"):
        frame = frame.selectExpr("*", f"null as {name}")
    with pytest.raises(DataError, match="column 'user_id': holds times, which Spark counts"):
        scored_frame(frame, loaded)
    assert not (tmp_path / "new" / "_SUCCESS").exists()


@slow
def test_the_command_runs_on_spark(
    session: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_bundle(tmp_path / "bundle")
    pq.write_table(make_log(100), tmp_path / "log.parquet")
    options = ["--bundle", str(tmp_path / "bundle"), "--input", str(tmp_path / "log.parquet")]
    options += ["--output", str(tmp_path / "out"), "--keep", "user_id", "--engine", "spark"]
    assert command.main(options) == 0
    assert "100 rows, scored by Spark" in capsys.readouterr().err
    assert command.main([*options, "--resume"]) == 2
    assert "--resume and --quarantine are for --engine local" in capsys.readouterr().err


def test_without_pyspark_one_line_says_what_to_install(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pyspark is not installed: pip install 'recmtl\[spark"):
        score_spark(load_bundle(bundle), "log.parquet", "out")


def foreign_error(module: str, text: str) -> Exception:
    return type("Py4JJavaError", (Exception,), {"__module__": module})(text)


@pytest.mark.parametrize("kind", [ConfigError, DataError, BundleError, FormulaError, SchemaError])
def test_an_error_of_a_worker_is_raised_as_the_error_that_it_was(kind: type[RecmtlError]) -> None:
    trace = (
        f"Job aborted:\n  File ...\nrecmtl.errors.{kind.__name__}: input: is wrong; mend it\n at"
    )
    with pytest.raises(kind) as raised, engine.one_line_errors("out"):
        raise foreign_error("py4j.protocol", trace)
    assert str(raised.value) == "input: is wrong; mend it"
    assert type(raised.value) is kind


def test_errors_of_spark_get_one_line_and_others_pass() -> None:
    with (
        pytest.raises(DataError, match=r"^Spark failed: no memory$"),
        engine.one_line_errors("out"),
    ):
        raise foreign_error("pyspark.errors", "no memory\n at java.lang")
    with (
        pytest.raises(DataError, match=r"^out: exists already; choose a new folder$"),
        engine.one_line_errors("out"),
    ):
        raise foreign_error("pyspark.errors", "[PATH_ALREADY_EXISTS] Path file:/out")
    error = foreign_error("py4j.protocol", "An error occurred while calling o12.parquet")
    error.java_exception = "java.io.IOException: refused\n at x"
    with pytest.raises(DataError, match="refused"), engine.one_line_errors("out"):
        raise error
    with pytest.raises(KeyError), engine.one_line_errors("out"):
        raise KeyError("a mistake of ours")
    kept = DataError("input: is wrong; mend it")
    with pytest.raises(DataError) as raised, engine.one_line_errors("out"):
        raise kept
    assert raised.value is kept


def test_an_error_without_text_is_named_by_its_kind() -> None:
    with (
        pytest.raises(DataError, match=r"^Spark failed: Py4JJavaError$"),
        engine.one_line_errors("out"),
    ):
        raise foreign_error("py4j.protocol", "")


def test_counts_of_tasks_add_up_in_any_order() -> None:
    total, sums = np.zeros((2, 3), np.int64), batch_spark._Sum()
    counts = [np.arange(6).reshape(2, 3) * factor for factor in (1, 10, 100)]
    for order in ((0, 1, 2), (2, 0, 1)):
        added = sums.zero(total)
        for task in order:
            added = sums.addInPlace(added, counts[task])
        np.testing.assert_array_equal(added, 111 * np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(total, 0)


def test_side_tables_that_the_schema_does_not_name_are_refused(bundle: Path) -> None:
    with pytest.raises(ConfigError, match="the bundle joins 0 side tables, 1 are given"):
        batch_spark._side_tables(load_bundle(bundle), [Path("items.parquet")])

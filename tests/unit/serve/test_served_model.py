"""What MLflow serves takes every type that a log has, and answers with the scorer's bits."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pytest
from mlflow.exceptions import MlflowException

from recmtl.mlflow_store import without_warnings
from recmtl.serve import Scorer, load_bundle
from recmtl.serve.mlflow_signature import input_example
from recmtl.serve.request_rows import json_rows, request_rows
from tests.chaos.local_spark import local_spark
from tests.unit.serve.every_type import COLUMNS, LISTS, every_type_bundle, every_type_log
from tests.unit.serve.served import Server, save_model

MODEL = Path(__file__).parents[3] / "recmtl" / "serve" / "mlflow_model.py"
LARGE = ("integer", "unsigned")
"""Whole numbers beyond 2^53, of which pandas makes floats where one is missing."""
Scores = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    return Scorer.load(every_type_bundle(tmp_path_factory.mktemp("types")))


@pytest.fixture(scope="module")
def rows(scorer: Scorer) -> pa.Table:
    return every_type_log().select(list(scorer.input_columns))


@pytest.fixture(scope="module")
def logged(scorer: Scorer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle as a model of MLflow's."""
    return save_model(scorer.bundle, tmp_path_factory.mktemp("mlflow") / "model")


@pytest.fixture(scope="module")
def model(logged: Path) -> Any:
    """The model as MLflow loads it."""
    with without_warnings():
        return mlflow.pyfunc.load_model(str(logged))


@pytest.fixture(scope="module")
def post(model: Any) -> Callable[..., tuple[int, Any]]:
    """Sends a body to MLflow's scoring server, in this process; returns status and answer."""
    return Server(model).post


def alone(scorer: Scorer, rows: pa.Table, name: str) -> Scores:
    """The scores of rows of which only one column is not missing."""
    columns = {other: pa.nulls(rows.num_rows) for other in scorer.input_columns}
    return scorer.scores(pa.table({**columns, name: rows[name]}))


def answered(answer: tuple[int, Any], scorer: Scorer) -> Scores:
    status, body = answer
    assert status == 200, body
    scores: Scores = pd.DataFrame(body["predictions"])[list(scorer.columns)].to_numpy(np.float32)
    return scores


def refused(answer: tuple[int, Any]) -> str:
    """The one line of an answer with status 400."""
    status, body = answer
    assert status == 400 and "stack_trace" not in body
    assert "\n" not in body["message"]
    return str(body["message"])


@pytest.mark.parametrize("name", COLUMNS)
def test_every_type_moves_the_scores(name: str, scorer: Scorer, rows: pa.Table) -> None:
    assert len(np.unique(alone(scorer, rows, name)[:, 0])) > 1


@pytest.mark.parametrize("name", COLUMNS)
def test_pandas_frames_of_every_type_get_the_scorers_bits(
    name: str, model: Any, scorer: Scorer, rows: pa.Table
) -> None:
    column, expected = rows.select([name]), alone(scorer, rows, name)
    exact = {
        pa.int64(): pd.Int64Dtype(), pa.uint64(): pd.UInt64Dtype(), pa.bool_(): pd.BooleanDtype(),
        pa.string(): pd.StringDtype(), pa.float64(): pd.Float64Dtype(),
    }  # fmt: skip
    frames = [
        column.to_pandas(types_mapper=exact.get),
        column.to_pandas(types_mapper=pd.ArrowDtype),
    ]
    frames += [column.slice(0, 3).to_pandas()] if name in LARGE else [column.to_pandas()]
    for frame in frames:
        np.testing.assert_array_equal(model.predict(frame).to_numpy(), expected[: len(frame)])


@pytest.mark.parametrize("name", COLUMNS)
def test_json_of_every_type_gets_the_scorers_bits(
    name: str, post: Callable[..., tuple[int, Any]], scorer: Scorer, rows: pa.Table
) -> None:
    expected, values = alone(scorer, rows, name), list(json_rows(rows.select([name]))[name])
    records = [{name: value} for value in values]
    bodies = [
        {"dataframe_records": records},
        {"dataframe_split": {"columns": [name], "data": [[value] for value in values]}},
        {"inputs": {name: values}},
        {"inputs": records},
    ]
    if name not in LISTS:  # MLflow makes arrays of them, of which rows must have equal lengths
        bodies.append({"instances": records})
    for body in bodies:
        np.testing.assert_array_equal(answered(post(body), scorer), expected)


def test_all_columns_together_and_each_row_alone(
    post: Callable[..., tuple[int, Any]], model: Any, scorer: Scorer, rows: pa.Table
) -> None:
    expected, frame = scorer.scores(rows), json_rows(rows)
    np.testing.assert_array_equal(model.predict(frame).to_numpy(), expected)
    records = frame.to_dict("records")
    np.testing.assert_array_equal(answered(post({"dataframe_records": records}), scorer), expected)
    for row in (0, 3, 7):
        without_null = {name: value for name, value in records[row].items() if value is not None}
        for record in (records[row], without_null):
            scores = answered(post({"dataframe_records": [record]}), scorer)
            np.testing.assert_array_equal(scores, expected[row : row + 1])


def test_parquet_is_read_as_it_is(
    post: Callable[..., tuple[int, Any]], scorer: Scorer, rows: pa.Table
) -> None:
    rows = rows.slice(0, 4)  # without a missing value, pandas keeps whole numbers
    sink = io.BytesIO()
    pa.parquet.write_table(rows, sink)
    answer = post(sink.getvalue(), "application/vnd.apache.parquet")
    np.testing.assert_array_equal(answered(answer, scorer), scorer.scores(rows))


def test_inputs_of_texts_alone_are_rows_and_not_lists(
    post: Callable[..., tuple[int, Any]], scorer: Scorer, rows: pa.Table
) -> None:
    texts = {"text": ["a", "0012", ""], "codes": ["x", "z", "y"]}
    columns = {name: pa.nulls(3) for name in scorer.input_columns}
    expected = scorer.scores(pa.table({**columns, **texts}))
    np.testing.assert_array_equal(answered(post({"inputs": texts}), scorer), expected)
    short = {"text": ["a", "b"], "codes": ["x"]}
    assert "differ in length" in refused(post({"inputs": short}))


def test_ints_booleans_and_decimals_stand_for_numbers_as_they_do_for_the_scorer(
    model: Any, scorer: Scorer
) -> None:
    for values in ([3, 4], [True, False], [3.0, 4.0], [np.float32(3), 4]):
        columns = {name: pa.nulls(2) for name in scorer.input_columns}
        expected = scorer.scores(pa.table({**columns, "float": pa.array(pd.Series(values))}))
        predicted = model.predict(pd.DataFrame({"float": values}))
        np.testing.assert_array_equal(predicted.to_numpy(), expected)


WRONG = {
    "date": ("yesterday", "column 'date'"),
    "instant": ("2024-05-01T12:00:00", "column 'instant'.*zone"),
    "stamp": ("2024-05-01T12:00:00Z", "column 'stamp'.*zone"),
    "clock": ("25:00:00", "column 'clock'.*12:30:00"),
    "span": ("long", "column 'span'.*PT90S"),
    "binary": ("a", "column 'binary'.*base64"),
    "integer": ("12a", "column 'integer'.*digits"),
    "float": ("dear", "column 'float'.*digits"),
    "boolean": ("yes", "column 'boolean'"),
    "texts": ("a", "column 'texts'"),
    "text": (5.5, "column 'text'"),
    "integers": ([["a"]], "column 'integers'"),
    "spans": (["x"], "column 'spans'.*PT90S"),
    "binaries": (["x"], "column 'binaries'.*base64"),
    "small": ({"a": 1}, "column 'small'"),
    "count": (float("inf"), "column 'count'"),
    "absent": (1, "has none of the model's columns; give at least one of"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_scored_is_refused_with_status_400_and_one_line(
    name: str, post: Callable[..., tuple[int, Any]], model: Any
) -> None:
    value, message = WRONG[name]
    line = refused(post({"dataframe_records": [{name: value}]}))
    assert pd.Series([line]).str.contains(message).all(), line
    with pytest.raises(MlflowException, match=message):
        model.predict(pd.DataFrame({name: [value]}))


def test_whole_numbers_that_pandas_has_rounded_are_refused_and_their_digits_are_not(
    post: Callable[..., tuple[int, Any]], scorer: Scorer, rows: pa.Table
) -> None:
    rounded = [{"integer": 2**60 + 1}, {"integer": None}]
    assert "stand for several ids" in refused(post({"dataframe_records": rounded}))
    digits = [{"integer": str(2**60 + 1)}, {"integer": None}]
    scores = answered(post({"dataframe_records": digits}), scorer)
    np.testing.assert_array_equal(scores[:1], alone(scorer, rows, "integer")[:1])


@pytest.mark.parametrize("body", [{"dataframe_records": []}, {"dataframe_split": {"data": []}}])
def test_a_request_without_columns_is_refused(
    body: dict[str, Any], post: Callable[..., tuple[int, Any]]
) -> None:
    assert "none of the model's columns" in refused(post(body))


def test_no_rows_get_no_scores(post: Callable[..., tuple[int, Any]]) -> None:
    split = {"columns": ["text"], "data": []}
    assert post({"dataframe_split": split}) == (200, {"predictions": []})


def test_the_signature_names_every_input_as_optional_and_the_metadata_its_type(
    model: Any, scorer: Scorer
) -> None:
    inputs = model.metadata.get_input_schema()
    assert inputs.input_names() == inputs.optional_input_names() == list(scorer.input_columns)
    kinds = model.metadata.metadata["recmtl.input_types"]
    assert kinds["instant"] == "timestamp (ms, Europe/Berlin)"
    assert (kinds["integers"], kinds["decimal"]) == ("list of integer", "float")


def test_the_example_is_json_and_scores_as_its_rows(model: Any, scorer: Scorer) -> None:
    golden, example = scorer.bundle.golden.slice(0, 5), input_example(scorer.bundle)
    assert json.loads(json.dumps(example.to_dict("list"))) == example.to_dict("list")
    np.testing.assert_array_equal(model.predict(example).to_numpy(), scorer.scores(golden))
    read = request_rows(example, scorer.bundle.input_types)
    np.testing.assert_array_equal(scorer.scores(read), scorer.scores(golden))


def test_a_bundle_of_the_first_release_is_served_too() -> None:
    folder = Path(__file__).parents[2] / "data" / "bundles" / "0.1"
    for name in ("grid", "mmoe"):
        bundle = load_bundle(folder / name)
        assert not bundle.encoder.types
        rows = pa.ipc.open_file(folder / f"{name}.arrow").read_all().slice(0, 50)
        rows = rows.select(list(bundle.encoder.input_columns))
        scorer = Scorer(bundle)
        read = request_rows(json_rows(rows), bundle.input_types)
        np.testing.assert_array_equal(scorer.scores(read), scorer.scores(rows))


SPARK = ("integer", "small", "boolean", "text", "binary", "date", "stamp", "float", "decimal",
         "integers", "texts", "dates")  # fmt: skip
"""Columns whose types Spark has; it hands times with a zone on without it, which is refused."""


@pytest.mark.slow
def test_sparks_function_of_the_model_gives_the_scorers_bits(
    logged: Path, scorer: Scorer, rows: pa.Table, tmp_path: Path
) -> None:
    functions = pytest.importorskip("pyspark.sql.functions")
    pa.parquet.write_table(rows.select(list(SPARK)), tmp_path / "rows.parquet")
    columns = {name: pa.nulls(rows.num_rows) for name in scorer.input_columns}
    expected = scorer.scores(pa.table({**columns, **{n: rows[n] for n in SPARK}}))
    with local_spark() as session, without_warnings():
        score = mlflow.pyfunc.spark_udf(session, str(logged), env_manager="local")
        frame = session.read.parquet(str(tmp_path / "rows.parquet"))
        inputs = functions.struct(*(frame[name] for name in SPARK))
        scored = frame.select(score(inputs).alias("scores")).select("scores.*").toPandas()
    np.testing.assert_array_equal(scored[list(scorer.columns)].to_numpy(np.float32), expected)

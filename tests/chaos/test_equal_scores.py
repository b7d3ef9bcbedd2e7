"""One bundle, 100,000 rows, six ways to score them: equal to float32 rounding at most."""

import json
import os
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import mlflow
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recmtl.serve import Ranker, Scorer, save_bundle
from recmtl.serve.batch.spark import score_spark
from recmtl.serve.scoring.onnx import equal_to_rounding
from recmtl.tracking import Tracker
from tests.chaos.local_spark import local_spark
from tests.unit.serve.shop import make_encoder, make_log, make_model
from tests.unit.test_tracking import NAMES, served

pytestmark = pytest.mark.chaos
ROWS = 100_000
STEP = 10_000


def log_with_gaps(rows: int, seed: int) -> pa.Table:
    """Missing values in every feature, and ids that training may not have seen."""
    log, dice = make_log(rows, seed=seed), np.random.default_rng(seed)
    users = log["user_id"].to_numpy().copy()
    users[dice.random(rows) < 0.2] = dice.integers(0, 1000)
    ages = log["age"].to_numpy()
    for name, values in {"user_id": users, "age": ages}.items():
        column = pa.array(values, mask=dice.random(rows) < 0.1)
        log = log.set_column(log.column_names.index(name), name, column)
    items = log["item"].to_pylist()
    items[::9] = [f"new-{row}" for row in range(0, rows, 9)]
    return log.set_column(log.column_names.index("item"), "item", pa.array(items))


@pytest.fixture(scope="module")
def rows() -> pa.Table:
    return log_with_gaps(ROWS, seed=4).append_column("row", pa.array(np.arange(ROWS)))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    log = log_with_gaps(3000, seed=1)
    encoder = make_encoder(log)
    folder = tmp_path_factory.mktemp("equal") / "bundle"
    model = make_model(encoder)
    return save_bundle(folder, model=model, encoder=encoder, rows=log, metrics={})


@pytest.fixture(scope="module")
def scorer(bundle: Path) -> Scorer:
    return Scorer.load(bundle)


@pytest.fixture(scope="module")
def expected(scorer: Scorer, rows: pa.Table) -> npt.NDArray[np.float32]:
    scores = scorer.scores(rows)
    assert scorer.unknown["user_id"] > 5000 and scorer.unknown["item"] > 5000
    assert len(np.unique(scores[:, 0])) > ROWS // 2
    return scores


@pytest.fixture(scope="module")
def uri(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bundle as a registered MLflow model."""
    saved = {name: os.environ.pop(name) for name in NAMES if name in os.environ}
    tracker = Tracker(bundle.parent, root=tmp_path_factory.mktemp("store"), warn=pytest.fail)
    with tracker.run("model") as run:
        run.log_model(bundle, name="equal")
    yield tracker.models[0].uri
    mlflow.set_tracking_uri(None)
    for name in NAMES:
        os.environ.pop(name, None)
    os.environ.update(saved)


def test_ranker(scorer: Scorer, rows: pa.Table, expected: npt.NDArray[np.float32]) -> None:
    options = {"by": "p_click * p_buy_given_click", "group": "request", "keep": ["row"]}
    ranked = Ranker(scorer).rank(rows, **options).sort_by("row")
    scores = np.stack([ranked[name].to_numpy() for name in scorer.columns], 1)
    np.testing.assert_array_equal(scores, expected)


def test_pandas_and_dicts(
    scorer: Scorer, rows: pa.Table, expected: npt.NDArray[np.float32]
) -> None:
    frame = rows.to_pandas()
    scores = scorer.score(frame)
    np.testing.assert_array_equal(scores.to_numpy(), expected)
    scores = scorer.score({name: frame[name].to_numpy() for name in scorer.input_columns})
    np.testing.assert_array_equal(np.stack(list(scores.values()), 1), expected)


def test_onnx(bundle: Path, rows: pa.Table, expected: npt.NDArray[np.float32]) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    scorer = Scorer.load(bundle, engine="onnx")
    scores = np.concatenate([scorer.scores(rows.slice(at, 500)) for at in range(0, ROWS, 500)])
    assert not np.array_equal(scores, expected)
    assert equal_to_rounding(scores, expected)


def test_mlflow_model(uri: str, rows: pa.Table, expected: npt.NDArray[np.float32]) -> None:
    model, inputs = mlflow.pyfunc.load_model(uri), ["user_id", "item", "history", "price", "age"]
    frame = rows.select(inputs).to_pandas()
    scores = [model.predict(frame.iloc[at : at + STEP]) for at in range(0, ROWS, STEP)]
    np.testing.assert_array_equal(pd.concat(scores).to_numpy(), expected)


def test_rest(
    uri: str, scorer: Scorer, rows: pa.Table, expected: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    frame, scores = rows.select(list(scorer.input_columns)).to_pandas(), []
    with served(uri, tmp_path) as address:
        for at in range(0, ROWS, STEP):
            body = json.loads(
                frame.iloc[at : at + STEP].to_json(orient="split", double_precision=15)
            )
            split = {"columns": body["columns"], "data": body["data"]}
            request = urllib.request.Request(
                address,
                json.dumps({"dataframe_split": split}).encode(),
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=300) as answer:
                predictions = pd.DataFrame(json.load(answer)["predictions"])
            scores.append(predictions[list(scorer.columns)].to_numpy(np.float32))
    np.testing.assert_array_equal(np.concatenate(scores), expected)


def test_spark(
    scorer: Scorer, rows: pa.Table, expected: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    pq.write_table(rows, tmp_path / "log.parquet", row_group_size=STEP)
    with local_spark() as session:
        score_spark(
            scorer.bundle,
            str(tmp_path / "log.parquet"),
            str(tmp_path / "out"),
            keep=["row"],
            session=session,
        )
    scored = pq.read_table(tmp_path / "out").sort_by("row")
    assert scored["row"].to_pylist() == list(range(ROWS))
    scores = np.stack([scored[name].to_numpy() for name in scorer.columns], 1)
    np.testing.assert_array_equal(scores, expected)

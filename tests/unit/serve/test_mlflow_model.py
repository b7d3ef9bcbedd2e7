"""The model that MLflow loads gives the scorer's columns, bit for bit, and fills absent ones."""

from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pyarrow as pa
import pytest

from recmtl.errors import BundleError
from recmtl.serve import Scorer
from recmtl.serve.mlflow_model import BUNDLE, Refusal, ScorerModel


def context(folder: Path) -> SimpleNamespace:
    return SimpleNamespace(artifacts={BUNDLE: str(folder)})


@pytest.fixture(scope="module")
def model(bundle: Path) -> ScorerModel:
    model = ScorerModel()
    model.load_context(context(bundle))
    return model


@pytest.fixture
def frame(scorer: Scorer, log: pa.Table) -> pd.DataFrame:
    return log.select(list(scorer.input_columns)).slice(0, 90).to_pandas()


def test_predictions_are_the_scorers_columns(
    model: ScorerModel, scorer: Scorer, bundle: Path, frame: pd.DataFrame
) -> None:
    predicted = model.predict(context(bundle), frame)
    pd.testing.assert_frame_equal(predicted, scorer.score(frame))
    assert list(predicted) == list(scorer.columns)


@pytest.mark.parametrize("absent", [["price"], ["item", "history"]])
def test_a_column_that_is_left_out_counts_as_missing(
    model: ScorerModel, scorer: Scorer, bundle: Path, frame: pd.DataFrame, absent: list[str]
) -> None:
    before = frame.copy()
    predicted = model.predict(context(bundle), frame.drop(columns=absent))
    missing = frame.assign(**dict.fromkeys(absent))
    pd.testing.assert_frame_equal(predicted, scorer.score(missing))
    assert not predicted.equals(scorer.score(frame))
    pd.testing.assert_frame_equal(frame, before)


def test_columns_that_the_model_does_not_read_and_their_order_do_not_count(
    model: ScorerModel, bundle: Path, frame: pd.DataFrame
) -> None:
    wider = frame[frame.columns[::-1]].assign(note="x")
    pd.testing.assert_frame_equal(
        model.predict(context(bundle), wider), model.predict(context(bundle), frame)
    )


def test_what_is_wrong_is_said_in_one_line(
    model: ScorerModel, bundle: Path, frame: pd.DataFrame, tmp_path: Path
) -> None:
    with pytest.raises(Refusal, match="column 'price'"):
        model.predict(context(bundle), frame.assign(price="dear"))
    with pytest.raises(BundleError):
        ScorerModel().load_context(context(tmp_path))

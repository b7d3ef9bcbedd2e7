"""The type matrix at the doors of other programs: MLflow's server and Spark."""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recmtl.data.columns.logical_type import logical_type
from recmtl.errors import DataError
from recmtl.mlflow_store import without_warnings
from recmtl.serve import Scorer
from recmtl.serve.batch.spark import score_spark
from recmtl.serve.request_rows import json_rows
from tests.chaos.local_spark import local_spark
from tests.contracts.type_doors import Tally, Unfit, as_spark, own_forms, write
from tests.contracts.type_matrix import (
    Fitted,
    table_of,
)
from tests.unit.serve.served import Server, save_model


def test_json_of_every_form_is_served(models: list[Fitted], tmp_path: Path) -> None:
    """JSON has no types, so each case meets its own forms; bytes are base64 where bytes were."""
    tally = Tally("REST, JSON")

    def send(server: Server, column: Any) -> Any:
        if logical_type(column.type) == logical_type(pa.list_(pa.binary())):
            raise Unfit  # the case is that of lists of text
        try:
            frame = json_rows(table_of(column).select(["x", "z"]))
        except Exception as fault:
            raise Unfit from fault
        status, answer = server.post({"dataframe_records": frame.to_dict("records")})
        if status == 400 and "stack_trace" not in answer:
            raise DataError(answer["message"])
        return np.array([row["p_click"] for row in answer["predictions"]], np.float32)

    for number, model in enumerate(models):
        folder = save_model(model.scorer.bundle, tmp_path / str(number))
        scorer = Scorer.load(model.scorer.bundle.folder, record=False)
        with without_warnings():
            server = Server(mlflow.pyfunc.load_model(str(folder)))
        for later, form, array in own_forms(model)[:-1]:
            tally.cell(
                (model.case, model.use),
                (later, form),
                lambda a=array, s=server: send(s, a),
                lambda column, s=scorer: s.score(table_of(column))["p_click"].to_numpy(),
            )
    tally.check()


@pytest.mark.slow
def test_spark_scores_every_form_that_it_reads(models: list[Fitted], tmp_path: Path) -> None:
    tally, number = Tally("score, Spark"), 0

    def job(model: Fitted, column: Any, session: Any) -> Any:
        nonlocal number
        number += 1
        table = table_of(column)
        arrow = table.schema.field("x").type
        as_spark(arrow)  # no cell where Spark has no such type
        nanoseconds = pa.types.is_timestamp(arrow) and arrow.unit == "ns"
        if nanoseconds or pa.types.is_float16(arrow) or pa.types.is_duration(arrow):
            raise Unfit  # Spark refuses such files, or reads durations as integers
        write(table, tmp_path / f"{number}.parquet")
        out = tmp_path / str(number)
        source = str(tmp_path / f"{number}.parquet")
        bundle = model.scorer.bundle
        score_spark(bundle, source, str(out), keep=["row"], drift="off", session=session)
        return pq.read_table(out).sort_by("row")["p_click"].to_numpy()

    with local_spark() as session:
        for model in models:
            scorer = Scorer.load(model.scorer.bundle.folder, record=False)
            for later, form, array in own_forms(model):
                tally.cell(
                    (model.case, model.use),
                    (later, form),
                    lambda a=array, m=model: job(m, a, session),
                    lambda column, s=scorer: s.score(table_of(column))["p_click"].to_numpy(),
                )
    tally.check()

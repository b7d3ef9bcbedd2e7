"""The shop with forests of a few trees, and what every door must do with a bundle that has them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from mlflow.pyfunc import load_model

from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
from recmtl.forest.grown import GrownForests, grow_forests
from recmtl.forest.settings import Trees
from recmtl.grid import catalog
from recmtl.mlflow_store import without_warnings
from recmtl.model import ModelSizes, TabularModel
from recmtl.schema import parse_schema
from recmtl.serve import Ranker, Scorer, save_bundle
from recmtl.serve.batch.parquet import score_parquet
from recmtl.serve.batch.spark import score_spark
from recmtl.serve.bundle import load_bundle
from recmtl.train.tabular_problem import TabularProblem
from tests.chaos.local_spark import local_spark
from tests.unit.serve.served import save_model
from tests.unit.serve.shop import SCHEMA, USER, as_request, make_log

FEW = Trees(enabled=True, rounds=8, leaves=5, smallest_leaf=5, folds=3, tune=False)
ITEMS = ["item", "price"]
BY = "p_click * value_watch"


def encoded_log(folder: Path, rows: pa.Table | None = None, schema: str = SCHEMA) -> EncodedLog:
    """The encoded log of these rows, 600 by default."""
    pq.write_table(make_log(600) if rows is None else rows, folder / "log.parquet")
    return prepare(
        str(folder / "log.parquet"), parse_schema(schema, source="shop.yaml"), folder / "log"
    )


def forests_of(log: EncodedLog) -> GrownForests:
    """Its forests, beside it."""
    return grow_forests(log, log.folder.parent / "forest", FEW, threads=1, seed=0)


def network(problem: TabularProblem, seed: int = 0) -> TabularModel:
    """An untrained network with weights that are large enough for scores to differ."""
    torch.manual_seed(seed)
    layout = catalog.mmoe(len(problem.tasks), experts=3 - seed, widths=(16, 8))
    model = problem.network(layout, ModelSizes(embedding=4, tower=(8,)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    return model.eval()


def saved(folder: Path, log: EncodedLog, grown: GrownForests, model: TabularModel) -> Path:
    """The bundle of a model and the forests that it hears."""
    options = {"model": model, "encoder": log.encoder(), "forests": grown.forests}
    return save_bundle(folder, rows=make_log(600), metrics={}, user=USER, **options)


def require_that_rows_stand_alone(scorer: Scorer, other: Scorer) -> None:
    """A row's scores depend on that row alone, with another number of threads, too."""
    rows = make_log(600, seed=3)
    together = scorer.scores(rows)
    for row in (0, 77, 599):
        np.testing.assert_array_equal(scorer.scores(rows.slice(row, 1))[0], together[row])
    np.testing.assert_array_equal(other.scores(rows), together)


def require_equal_files_and_mlflow(scorer: Scorer, bundle: Path, folder: Path) -> None:
    """Files and MLflow's model get the scorer's bits."""
    rows = make_log(90, seed=4)
    expected = scorer.scores(rows)
    pq.write_table(rows, folder / "rows.parquet")
    score_parquet(scorer, folder / "rows.parquet", folder / "scored")
    from_files = pq.read_table(folder / "scored").select(list(scorer.columns))
    np.testing.assert_array_equal(np.stack([c.to_numpy() for c in from_files.columns], 1), expected)
    with without_warnings():
        model = load_model(str(save_model(load_bundle(bundle), folder / "model")))
        served = model.predict(rows.select(list(scorer.input_columns)).to_pandas())
    np.testing.assert_array_equal(served[list(scorer.columns)].to_numpy(), expected)


def require_equal_requests(scorer: Scorer, user: list[str]) -> None:
    """A request is ranked as its joined rows."""
    rows = make_log(600).slice(100, 40).select([*ITEMS, *USER])
    values, candidates, joined = as_request(rows, user, of=3)
    ranker = Ranker(scorer)
    expected = ranker.rank(joined, BY, keep=ITEMS)
    assert ranker.rank_request(values, candidates, BY, keep=ITEMS).equals(expected)


def require_equal_spark(scorer: Scorer, folder: Path) -> None:
    """Spark gets the scorer's bits."""
    rows = make_log(90, seed=4).append_column("row", pa.array(np.arange(90)))
    pq.write_table(rows, folder / "rows.parquet", row_group_size=30)
    with local_spark():
        score_spark(scorer.bundle, str(folder / "rows.parquet"), str(folder / "s"), keep=["row"])
    scored = pq.read_table(folder / "s").sort_by("row")
    assert scored.select(list(scorer.columns)).to_pydict() == scorer.score(rows).to_pydict()

"""A small shop whose truth is known: days of rows, and bundles that were trained on the first."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from recmtl.data.prepare import prepare
from recmtl.data.vocabulary_drift import unknown_shares
from recmtl.grid import shared_bottom
from recmtl.model import ModelSizes
from recmtl.schema import Schema, parse_schema
from recmtl.serve import save_bundle
from recmtl.serve.bundle.reference import Reference
from recmtl.serve.fixed_shape import FixedShapeModel
from recmtl.train.config import Training
from recmtl.train.loop import train
from recmtl.train.tabular_problem import TabularProblem
from tests.late_logs import write_log

SCHEMA = """
version: 1
name: shop
features:
  place: {kind: categorical}
  age: {kind: numeric}
  seen: {kind: list, max_length: 4}
tasks:
  click: {kind: binary, label: clicked}
  buy: {kind: binary, label: bought, parent: click}
  watch: {kind: regression, label: watched}
  stars: {kind: multiclass, label: stars, missing: ignore}
roles: {group: request, row_id: row}
split: {by: random, validation: 0.2, test: 0.3}
"""


def shop_schema() -> Schema:
    """The schema of the days."""
    return parse_schema(SCHEMA, source="shop.yaml")


def day(rows: int, seed: int, *, age: float = 0.0, bought: float = 1.0) -> dict[str, Any]:
    """Columns of a day: ages around `age`, and `bought` times as many purchases."""
    random = np.random.default_rng(seed)
    place, years = random.integers(0, 8, rows), random.normal(age, 1.0, rows)
    odds = 0.6 * np.sin(place) + 0.8 * years - 0.3
    clicked = random.random(rows) < 1 / (1 + np.exp(-odds))
    buys = clicked & (random.random(rows) < bought * 0.7 / (1 + np.exp(-years)))
    return {
        "place": [f"place {p}" for p in place],
        "age": years,
        "seen": [random.integers(0, 9, n).tolist() for n in random.integers(0, 5, rows)],
        "clicked": clicked.astype(np.int64),
        "bought": buys.astype(np.int64),
        "watched": 3 + years + random.normal(size=rows),
        "stars": np.digitize(years + random.normal(size=rows), (-0.5, 1.0)) + 1,
        "request": np.sort(random.integers(0, rows // 6, rows)),
        "row": np.arange(rows),
    }


def shop_bundle(
    folder: Path, *, rows: int = 8000, seed: int = 0, epochs: int = 4, schema: Schema | None = None
) -> Path:
    """A bundle trained on a day of its own, with its reference."""
    folder.mkdir(parents=True, exist_ok=True)
    columns = day(rows, 1000 + seed)
    log = prepare(
        write_log(columns, folder / "log.parquet"), schema or shop_schema(), folder / "log"
    )
    problem, encoder = TabularProblem.of(log), log.encoder()
    sizes = ModelSizes(embedding=4, tower=(8,))
    model = problem.network(shared_bottom(len(problem.tasks), widths=(16,)), sizes)
    settings = Training(batch_size=256, epochs=epochs, checks=1, learning_rate=1e-2)
    train(model, problem, settings, seed=seed)
    model.eval()
    test = log.split("test")
    scores = FixedShapeModel(model).scores(test.ids, test.numeric)
    return save_bundle(
        folder / "bundle",
        model=model,
        encoder=encoder,
        rows=pa.table(columns).slice(0, 100),
        metrics={},
        unknown=unknown_shares(encoder, log.split("validation").ids),
        reference=Reference.of(test, encoder, scores=scores, columns=model.columns),
    )

"""A small shop: a log with every kind of feature and task, and an untrained model's bundle."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from recmtl.data.columns.logical_type import logical_type
from recmtl.data.passes.encoder_fit import EncoderFit
from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import SourceLocation
from recmtl.grid import catalog
from recmtl.model import ModelSizes, TabularModel
from recmtl.model.heads import HeadSpec
from recmtl.schema import parse_schema
from recmtl.serve import save_bundle

SCHEMA = """
version: 1
name: shop
features:
  user_id: {kind: categorical}
  item: {kind: categorical}
  history: {kind: list, table: item, max_length: 4}
  price: {kind: numeric, encoding: standard}
  age: {kind: numeric}
tasks:
  click: {kind: binary, label: clicked}
  buy: {kind: binary, label: bought, parent: click}
  watch: {kind: regression, label: watch_s, transform: log1p}
  rating: {kind: multiclass, label: stars}
roles: {group: request}
split: {by: random, validation: 0.2, test: 0.2, seed: 1}
"""

USER = ["user_id", "history", "age"]

ROWS = 1000
"""Rows of the log that is scored from files."""
HEADS = (
    HeadSpec("click", "binary", mean=0.3),
    HeadSpec("buy", "binary", parent="click", mean=0.1),
    HeadSpec("watch", "regression", transform="log1p", mean=2.0, std=1.5),
    HeadSpec("rating", "multiclass", classes=("1", "2", "3")),
)


def make_log(rows: int, seed: int = 0) -> pa.Table:
    """Rows with nulls in every nullable feature, and labels that obey the funnel."""
    random = np.random.default_rng(seed)
    items = np.array([f"item-{number}" for number in range(40)])
    price = np.round(random.exponential(20.0, rows), 2)
    clicked = random.random(rows) < 0.4
    clicked[:2] = True, False
    history = [list(random.choice(items, size)) for size in random.integers(0, 7, rows)]
    missing = random.random(rows) < 0.1
    return pa.table(
        {
            "request": pa.array(np.sort(random.integers(0, max(1, rows // 8), rows))),
            "user_id": pa.array(random.integers(0, 50, rows) + 2**40),
            "item": pa.array(
                [
                    None if m else v
                    for m, v in zip(missing, random.choice(items, rows), strict=True)
                ],
                pa.string(),
            ),
            "history": pa.array(history, pa.list_(pa.string())),
            "price": pa.array(price, mask=random.random(rows) < 0.1),
            "age": pa.array(random.integers(18, 80, rows)),
            "clicked": pa.array(clicked.astype(np.int64)),
            "bought": pa.array((clicked & (random.random(rows) < 0.5)).astype(np.int64)),
            "watch_s": pa.array(random.exponential(30.0, rows)),
            "stars": pa.array(random.integers(1, 4, rows)),
        }
    )


def as_request(
    rows: pa.Table, user: Sequence[str], *, of: int = 0
) -> tuple[dict[str, Any], pa.Table, pa.Table]:
    """The values of a row's user, all rows as its candidates, and both joined."""
    values = {name: rows[name][of].as_py() for name in user}
    candidates = joined = rows.drop_columns(list(user))
    for name in user:
        joined = joined.append_column(name, rows[name].take(pa.array([of] * len(rows))))
    return values, candidates, joined


def make_model(encoder: RowEncoder, *, width: int = 16, seed: int = 0) -> TabularModel:
    """An untrained network whose weights are large enough for scores to differ."""
    torch.manual_seed(seed)
    layout = catalog.mmoe(len(HEADS), experts=3, widths=(2 * width, width))
    model = TabularModel(
        encoder.encoding, HEADS, layout=layout, sizes=ModelSizes(embedding=width, tower=(width,))
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    return model.eval()


def make_encoder(log: pa.Table, schema: str = SCHEMA) -> RowEncoder:
    """The preprocessing fitted on all rows of a log."""
    types = {field.name: logical_type(field.type) for field in log.schema}
    fit = EncoderFit(parse_schema(schema, source="shop.yaml"), types)
    for batch in log.to_batches():
        fit.add(batch, np.ones(batch.num_rows, dtype=bool), SourceLocation())
    return fit.finish()


def make_bundle(folder: Path, *, rows: int = 700, user: Sequence[str] = ()) -> Path:
    """Save an untrained model's bundle at `folder`."""
    log = make_log(rows)
    encoder = make_encoder(log)
    return save_bundle(
        folder,
        model=make_model(encoder),
        encoder=encoder,
        rows=log,
        metrics={"fingerprint": "abc", "tasks": {"click": {"verdict": "helped"}}},
        user=user,
    )

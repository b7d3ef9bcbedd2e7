"""Input of latency and soak: bundles on the simulated shop log, and requests to them."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from recmtl.data.prepare import prepare
from recmtl.data.row_encoder import RowEncoder
from recmtl.grid import catalog
from recmtl.model import ModelSizes, TabularModel
from recmtl.schema import ListOf, Schema, load_schema
from recmtl.serve import save_bundle
from recmtl.simulate import simulate
from recmtl.train.tabular_problem import TabularProblem

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "serving"
ROWS, REQUESTS, EXPERTS, TOWER = 300, 200, 8, 32
BY = "p_click_and_purchase * max(price, 1)"
USER = (
    "user_id", "segment", "age_band", "city", "device", "membership", "history", "spend_30d",
    "tenure_days", "hour", "session_depth", "minutes_since_visit",
)  # fmt: skip


class Size(NamedTuple):
    """Widths of an MMoE with eight experts and a tower of 32 a task."""

    widths: tuple[int, ...]
    embedding: int


SIZES = {"64-32": Size((64, 32), 8), "256-128": Size((256, 128), 16)}


def make(folder: Path, sizes: Sequence[str]) -> None:
    """Write the log, bundles, requests as raw columns, and the same requests for the peer."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.parquet"
    simulate(log, 60_000, seed=1)
    schema = load_schema(ROOT / "datasets" / "simulated" / "schema.yaml")
    # The peer counts no lists, and both are to compute the same.
    features = [replace(f, count=False) if isinstance(f, ListOf) else f for f in schema.features]
    schema = replace(schema, features=tuple(features))
    encoded = prepare(str(log), schema, folder / "log")
    problem, encoder = TabularProblem.of(encoded), encoded.encoder()
    rows = pq.read_table(log)
    for name in sizes:
        torch.manual_seed(0)
        size, tasks = SIZES[name], len(problem.tasks)
        layout = catalog.mmoe(tasks, experts=EXPERTS, widths=size.widths)
        shape = ModelSizes(embedding=size.embedding, tower=(TOWER,))
        model = TabularModel(problem.encoding, problem.heads, layout=layout, sizes=shape).eval()
        options: dict[str, Any] = {"metrics": {}, "user": USER, "onnx": True}
        save_bundle(folder / name, model=model, encoder=encoder, rows=rows.slice(0, 64), **options)
    requests = write_requests(folder, rows, schema)
    _for_peer(folder, encoder, requests)
    raw = requests.select(encoder.input_columns).to_pydict()
    (folder / "peer_raw.json").write_text(json.dumps(raw))


def write_requests(folder: Path, log: pa.Table, schema: Schema) -> pa.Table:
    """Random candidates of a log, 300 a request; all candidates of a request have one user."""
    rows = log.drop_columns([task.label.column for task in schema.tasks])
    dice = np.random.default_rng(2)
    picked = rows.take(pa.array(dice.integers(0, rows.num_rows, REQUESTS * ROWS)))
    users = rows.take(pa.array(np.repeat(dice.integers(0, rows.num_rows, REQUESTS), ROWS)))
    for name in USER:
        picked = picked.set_column(picked.column_names.index(name), name, users[name])
    pq.write_table(picked, folder / "requests.parquet")
    return picked


def read(folder: Path) -> list[tuple[dict[str, Any], pa.Table]]:
    """The requests as a service gets them: the user's values and the candidates' columns."""
    table, requests = pq.read_table(folder / "requests.parquet"), []
    for first in range(0, table.num_rows, ROWS):
        rows = table.slice(first, ROWS)
        user = {name: rows[name][0].as_py() for name in USER}
        # Copied: a service gets columns of one request, not a slice of all requests.
        candidates = rows.drop_columns(USER).take(pa.array(range(ROWS))).combine_chunks()
        requests.append((user, candidates))
    return requests


def _for_peer(folder: Path, encoder: RowEncoder, requests: pa.Table) -> None:
    """Write ids counted from 1 in each table, 0 for padding; a missing number is 0."""
    encoding, columns, features = encoder.encoding, {}, []
    encoded = encoder.encode(requests)

    def shifted(ids: np.ndarray, table: str) -> np.ndarray:
        first = encoder.vocabularies[table].first
        return np.where(ids == 0, 0, ids - first + 1).astype(np.int64)

    for at, name in enumerate(encoding.single):
        columns[name] = shifted(encoded.ids[:, at], name)
        column = encoder.schema.feature(name).column
        rows = encoder.vocabularies[name].rows + 1
        features.append({"name": name, "column": column, "rows": rows})
    for field in encoding.lists:
        table = encoder.schema.feature(field.name).table or field.name
        ids = encoded.ids[:, field.first : field.first + field.length]
        columns[field.name] = shifted(ids, table)
        shared = table if table != field.name else None
        size = encoder.vocabularies[table].rows + 1
        column = encoder.schema.feature(field.name).column
        description = {"name": field.name, "column": column, "rows": size}
        features.append({**description, "list": field.length, "shared": shared})
    for at, number in enumerate(encoding.numeric):
        columns[number.name] = np.nan_to_num(encoded.numeric[:, at])
        features.append({"name": number.name, "column": encoder.schema.feature(number.name).column})
    np.savez(folder / "peer.npz", **columns)
    (folder / "peer.json").write_text(json.dumps({"rows": ROWS, "features": features}))

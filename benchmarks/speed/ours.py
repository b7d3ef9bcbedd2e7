"""recmtl's arms, with its encoded log, batches, networks, optimiser and scorer: `... FOLDER ARM`.

`recmtl_pruned` keeps one expert of four, a quarter of the multiply-adds. `recmtl_onnx` and
`recmtl_pruned_onnx` score with ONNX Runtime within recmtl; `recmtl_2048` and `recmtl_pruned_2048`
score more rows at once than the default. `onnx` is the same network in ONNX Runtime alone; the
arm's own code reads, scores and writes.
"""

import os
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.speed.arm import Columns, Ready, log, serve
from benchmarks.speed.shape import (
    BATCH,
    EMBEDDING,
    NETWORKS,
    RATE,
    TASKS,
    TOWER,
    VOCABULARIES,
    Network,
)
from recmtl.data.columns.vocabulary import Vocabulary
from recmtl.data.encoded_log import LogSplit
from recmtl.data.row_encoder import RowEncoder
from recmtl.grid import LayerRoutes, Routes, catalog
from recmtl.memory import keep_freed_memory
from recmtl.model import ModelSizes, TabularModel, predict, prune_model
from recmtl.model.heads import HeadSpec
from recmtl.schema import Schema, parse_schema
from recmtl.serve import Scorer, load_bundle, save_bundle, score_parquet
from recmtl.serve.bundle.onnx_export import NETWORK_FILE
from recmtl.serve.fixed_shape import CHUNK_ROWS
from recmtl.serve.scoring.onnx import OnnxNetwork
from recmtl.train.config import Training
from recmtl.train.loop import take_step
from recmtl.train.optimizer import Optimizer

SETTINGS = Training(
    batch_size=BATCH,
    learning_rate=RATE,
    table_learning_rate=RATE,
    optimizer="adam",
    weight_decay=0.0,
    decay=False,
    balance=0.0,
)


def schema_of(name: str) -> Schema:
    """The schema of the log: categorical columns and binary tasks."""
    features = [f"  {column}: {{kind: categorical}}" for column in _sizes(name)]
    tasks = [f"  {task}: {{kind: binary, label: {task}}}" for task in TASKS]
    split = "split: {by: random, validation: 0.1, test: 0.1}"
    lines = ["version: 1", f"name: {name}", "features:", *features, "tasks:", *tasks, split]
    return parse_schema("\n".join(lines), source=name)


def _sizes(name: str) -> dict[str, int]:
    return {f"column_{number}": size for number, size in enumerate(VOCABULARIES[name])}


def encoder_of(name: str) -> RowEncoder:
    """An encoder whose vocabularies hold every value of the columns."""
    vocabularies, first = {}, 1
    for column, size in _sizes(name).items():
        values = pa.array(np.arange(size))
        vocabularies[column] = Vocabulary(column, "int64", first, buckets=None, values=values)
        first += vocabularies[column].rows
    return RowEncoder(schema_of(name), vocabularies, scalers={})


def zeros_rows(encoder: RowEncoder) -> np.ndarray:
    """The table row of value 0 of each column; a column's first row is for unknown values."""
    return np.array([vocabulary.first + 1 for vocabulary in encoder.vocabularies.values()])


def split_of(folder: Path) -> LogSplit:
    """All rows as `prepare` writes them: rows of one common table, on disk and memory-mapped."""
    path, (ids, labels) = folder / "table_rows.npy", log(folder)
    if not path.is_file() or path.stat().st_mtime < (folder / "ids.npy").stat().st_mtime:
        np.save(path, (ids + zeros_rows(encoder_of(folder.name))).astype(np.int32))
    return _split(np.load(path, mmap_mode="r"), labels)


def _split(ids: np.ndarray, labels: np.ndarray) -> LogSplit:
    rows = len(ids)
    nothing, ones = np.empty((rows, 0), np.float32), np.ones(rows, np.float32)
    numbers = np.zeros(rows, np.int64)
    return LogSplit(ids, nothing, labels, ones, numbers, numbers)


def network(folder: Path, labels: np.ndarray, shape: Network = NETWORKS["mmoe"]) -> TabularModel:
    """The catalog's MMoE or PLE."""
    torch.manual_seed(0)
    heads = [
        HeadSpec(name, "binary", mean=float(rate))
        for name, rate in zip(TASKS, np.mean(labels[: 100 * BATCH], 0), strict=True)
    ]
    experts, widths = shape.experts, shape.widths
    layout = catalog.mmoe(len(TASKS), experts=experts, widths=widths)
    if shape.levels:
        levels = (widths,) * shape.levels
        layout = catalog.ple(len(TASKS), own=1, shared=experts, levels=levels)
    sizes = ModelSizes(EMBEDDING, tower=(TOWER,))
    return TabularModel(encoder_of(folder.name).encoding, heads, layout=layout, sizes=sizes)


def pruned(model: TabularModel) -> TabularModel:
    """The model in which every task reads the first expert alone."""
    layers = [
        LayerRoutes(
            tuple(edges[:1] for edges in layer.edges),
            tuple(sources[0] for sources in layer.queries),
            tuple(True for _ in layer.shortcut),
        )
        for layer in model.grid.layout.layers
    ]
    return prune_model(model, Routes(tuple(layers)))


def bundle_of(model: TabularModel, folder: Path, arm: str) -> Path:
    """Save the model as it is; returns the folder of the bundle."""
    rows = pq.read_table(folder / "test.parquet").slice(0, 64)
    facts = {"metrics": {}, "onnx": "onnx" in arm}
    encoder = encoder_of(folder.name)
    return save_bundle(folder / f"bundle_{arm}", model=model, encoder=encoder, rows=rows, **facts)


def in_onnx_runtime(bundle: Path, source: Path, target: Path) -> None:
    """Score a file row group by row group: add the offsets, run the network, write the scores."""
    loaded = load_bundle(bundle)
    network = OnnxNetwork(bundle / NETWORK_FILE, loaded.model.columns)
    zeros, file = zeros_rows(loaded.encoder), pq.ParquetFile(source)
    nothing = np.empty((BATCH, 0), np.float32)
    schema = pa.schema([(name, pa.float32()) for name in network.columns])
    with pq.ParquetWriter(target, schema) as writer:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            ids = np.stack([table[name].to_numpy() for name in table.column_names], 1) + zeros
            parts = np.split(ids.astype(np.int32), range(BATCH, len(ids), BATCH))
            scores = np.concatenate([network.scores(part, nothing[: len(part)]) for part in parts])
            writer.write_table(pa.table([*map(pa.array, scores.T)], schema=schema))


def main(folder: Path, arm: str, shape: Network) -> None:
    """Build the network, then carry out orders."""
    threads = int(os.environ["OMP_NUM_THREADS"])
    torch.set_num_threads(threads)
    keep_freed_memory()
    split = split_of(folder)
    model = network(folder, split.labels, shape)
    model = pruned(model) if "pruned" in arm else model
    optimizer = Optimizer(model, SETTINGS, total_steps=1)
    zeros = zeros_rows(encoder_of(folder.name))

    def train(rows: range) -> Ready:
        def run() -> None:
            model.train()
            chosen = np.arange(rows.start, rows.stop)
            for batch in split.batches(batch_size=BATCH, seed=rows.start, rows=chosen):
                take_step(model, optimizer, batch)

        return run

    def score(columns: Columns) -> np.ndarray:
        ids = (np.stack([*columns.values()], 1) + zeros).astype(np.int32)
        part = _split(ids, np.empty((len(ids), 0), np.float32))
        model.eval()
        return np.stack([*predict(model, part, batch_size=BATCH).values()], 1)

    def parquet(source: Path, target: Path) -> Ready:
        bundle = bundle_of(model, folder, arm)
        if arm == "onnx":
            return lambda: in_onnx_runtime(bundle, source, target)
        how = {"engine": "onnx" if "onnx" in arm else "torch", "threads": threads}
        chunk_rows = BATCH if "2048" in arm else CHUNK_ROWS
        scorer = Scorer.load(bundle, chunk_rows=chunk_rows, **how)
        return lambda: score_parquet(scorer, source, target)

    serve(model.cost().parameters, train=train, score=score, parquet=parquet)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], NETWORKS[sys.argv[3]])

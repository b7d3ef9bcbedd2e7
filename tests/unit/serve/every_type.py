"""A log with a feature of every logical type, and an untrained model's bundle of it."""

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from recmtl.data.passes.encoder_fit import EncoderFit
from recmtl.data.reader import open_log
from recmtl.grid import catalog
from recmtl.model import ModelSizes, TabularModel
from recmtl.model.heads import HeadSpec
from recmtl.schema import parse_schema
from recmtl.serve import save_bundle

START = dt.datetime(2024, 5, 1, 12, 30, 15, 250_000)
DAY = dt.timedelta(days=1)


def column(values: list[Any], arrow: Any) -> pa.Array:
    """A column of 24 rows in which every value repeats, and every fifth is missing."""
    return pa.array(
        [None if row % 5 == 4 else values[row % len(values)] for row in range(24)], arrow
    )


CATEGORIES = {
    "integer": column([2**60 + 1, 2**60 + 2, -7], pa.int64()),
    "unsigned": column([2**62 + 1, 2**62 + 3, 0], pa.uint64()),
    "small": column([1, 2, 200], pa.uint8()),
    "whole_decimal": column([Decimal(10**17 + 1), Decimal(10**17 + 2)], pa.decimal128(20, 0)),
    "whole_float": column([1.0, 2.0, 3.0], pa.float64()),
    "boolean": column([True, False, True], pa.bool_()),
    "text": column(["a", "", "0012", "ü\n|"], pa.string()),
    "codes": column(["x", "y", "z"], pa.string()).dictionary_encode(),
    "binary": column([b"a", b"", b"key=="], pa.binary()),
    "date": column([START.date(), START.date() + DAY], pa.date32()),
    "stamp": column([START, START + DAY, START + 2 * DAY], pa.timestamp("us")),
    "nanoseconds": column([10**18 + 1, 10**18 + 2, 10**18 + 1000], pa.timestamp("ns")),
    "instant": column([START, START + DAY], pa.timestamp("ms", "Europe/Berlin")),
    "clock": column([dt.time(1, 2, 3, 4), dt.time(23, 59, 59)], pa.time64("us")),
    "span": column([dt.timedelta(seconds=90), 400 * DAY, -DAY], pa.duration("ms")),
}
NUMBERS = {
    "float": column([0.1, -2.5, float("nan"), 1e12], pa.float64()),
    "single": column([0.1, 3.25, -7.0], pa.float32()),
    "decimal": column([Decimal("12.34"), Decimal("-0.05")], pa.decimal128(10, 2)),
    "count": column([3, 40_000, -2], pa.int32()),
    "flag": column([True, False], pa.bool_()),
}
LISTS = {
    "integers": column([[2**53 - 1, 7], [], [7, None, 8]], pa.list_(pa.int64())),
    "texts": column([["a", "b"], [], ["b", None], ["c"]], pa.list_(pa.string())),
    "binaries": column([[b"a", None], [], [b"bb"]], pa.list_(pa.binary())),
    "dates": column([[START.date()], [], [START.date() + DAY, None]], pa.list_(pa.date32())),
    "spans": column([[DAY], [], [2 * DAY, None]], pa.large_list(pa.duration("s"))),
}
COLUMNS = {**CATEGORIES, **NUMBERS, **LISTS}
HEADS = (HeadSpec("click", "binary", mean=0.4), HeadSpec("watch", "regression", mean=1.0, std=2.0))


def every_type_log() -> pa.Table:
    """All columns, and the labels of two tasks."""
    labels = {"clicked": np.arange(24) % 3 == 0, "watched": np.arange(24.0)}
    return pa.table({**COLUMNS, **labels})


def every_type_bundle(folder: Path) -> Path:
    """Fit, build and save; the log is read from a file, as a job does."""
    kinds = [
        *((name, "categorical") for name in CATEGORIES),
        *((name, "numeric") for name in NUMBERS),
    ]
    kinds += [(name, "list") for name in LISTS]
    features = "\n".join(f"  {name}: {{kind: {kind}}}" for name, kind in kinds)
    schema = parse_schema(
        f"version: 1\nname: every_type\nfeatures:\n{features}\ntasks:\n"
        "  click: {kind: binary, label: clicked}\n  watch: {kind: regression, label: watched}\n"
        "split: {by: random}\n",
        source="types.yaml",
    )
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(every_type_log(), folder / "log.parquet")
    log = open_log(str(folder / "log.parquet"))
    fit = EncoderFit(schema, log.logical_types(schema.columns()))
    for batch in log.batches(schema.columns()):
        fit.add(batch.columns, np.ones(batch.rows, dtype=bool), batch.place)
    encoder = fit.finish()
    torch.manual_seed(0)
    layout = catalog.mmoe(len(HEADS), experts=2, widths=(32, 8))
    sizes = ModelSizes(embedding=8, tower=(8,))
    model = TabularModel(encoder.encoding, HEADS, layout=layout, sizes=sizes)
    with torch.no_grad():
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.4)
    rows = pa.table(next(iter(log.batches(encoder.input_columns))).columns)
    parts: dict[str, Any] = {"model": model.eval(), "encoder": encoder, "rows": rows}
    return save_bundle(folder / "bundle", metrics={}, **parts)

"""Values that only float64 holds: a stated rule or an error that names them, never infinity."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from recmtl.baselines import constant
from recmtl.data.prepare import prepare
from recmtl.errors import DataError, RecmtlError
from recmtl.grid.catalog import CATALOG
from recmtl.model import ModelSizes
from recmtl.model.heads import HeadSpec
from recmtl.model.heads.heads import TabularHeads
from recmtl.schema import Condition, Numeric, Schema, TaskSpec
from recmtl.train.tabular_problem import TabularProblem

Write = Callable[..., str]
Columns = dict[str, Any]
LARGEST = float(np.finfo(np.float32).max)


def one_regression(schema: Schema, **options: Any) -> Schema:
    label = options.pop("label", "watch_s")
    return replace(schema, tasks=(TaskSpec("watch", "regression", Condition(label), **options),))


LABELS = {
    "1e39": (lambda x: np.where(np.arange(400) == 300, 1e39, x), "holds the label 1e+39"),
    "-1e39": (lambda x: np.where(np.arange(400) == 300, -1e39, x), "no label may be beyond 1e+30"),
    "1e308": (lambda x: x * 1e306, "give labels in another unit"),
    "1e-60": (lambda x: x * 1e-60, "float32 would move each by"),
    "2^24": (lambda x: 2.0**24 + np.arange(400) % 4, "subtract a constant from them"),
    "int64": (lambda x: 2**53 + np.arange(400) % 5, "on every train row"),
    "uint64": (lambda x: np.uint64(2**63) + np.arange(400, dtype=np.uint64), "on every train row"),
    "nanoseconds": (lambda x: 1_700_000_000_000_000_000 + np.arange(400) * 10**6, "subtract"),
}


@pytest.mark.parametrize("transform", ["none", "log1p"])
@pytest.mark.parametrize("name", LABELS)
def test_labels_that_float32_cannot_hold_or_tell_apart_are_named(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path, name: str, transform: str
) -> None:
    change, message = LABELS[name]
    columns["watch_s"] = change(np.random.default_rng(0).exponential(10, 400))
    if name == "int64" and transform == "none":
        message = "float32 would move each by"
    with pytest.raises(DataError) as fault:
        prepare(write(columns), one_regression(schema, transform=transform), tmp_path / "log")
    assert message in str(fault.value) and "'watch_s'" in str(fault.value)
    assert "\n" not in str(fault.value) and not (tmp_path / "log").exists()


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e27])
def test_labels_of_any_unit_that_float32_holds_are_kept(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path, scale: float
) -> None:
    label = np.random.default_rng(0).exponential(10, 400)
    columns["watch_s"] = label * scale
    log = prepare(write(columns), one_regression(schema), tmp_path / "log")
    (statistics,) = log.label_statistics.values()
    weights = columns["w"][:240]
    mean = np.average(label[:240], weights=weights)
    assert statistics.mean == pytest.approx(mean * scale)
    std = np.average((label[:240] - mean) ** 2, weights=weights) ** 0.5
    assert statistics.std == pytest.approx(std * scale)
    problem = TabularProblem.of(log)
    model = problem.network(
        CATALOG["shared_bottom"].layout(1, cells=1, widths=(4,), depth=1), ModelSizes(embedding=2)
    )
    metrics = problem.evaluate(model)["watch"]
    assert np.isfinite([metrics[name] for name in ("rmse", "mae", "r2")]).all()
    fitted = constant.fit_predict(
        problem.train, problem.validation, problem.test, problem.tasks, problem.encoding
    )
    assert np.isfinite(fitted.predictions["value_watch"]).all()


@pytest.mark.parametrize("value", [1e200, -1e200, 1e308, 1e39])
@pytest.mark.parametrize("encoding", ["standard", "piecewise", "quantile"])
def test_one_huge_number_leaves_a_column_what_it_was(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path, encoding: str, value: float
) -> None:
    feature = Numeric("price", "price", encoding=encoding, bins=8)  # type: ignore[arg-type]
    schema = replace(schema, features=(feature,))
    columns["price"] = np.random.default_rng(0).lognormal(2, 1, 400)
    columns["price"][[3, 7]] = np.nan
    without = prepare(write(columns), schema, tmp_path / "without")
    columns["price"][3] = value
    log = prepare(write(columns), schema, tmp_path / "log")
    train, before = log.split("train").numeric[:, 0], without.split("train").numeric[:, 0]
    np.testing.assert_array_equal(np.delete(train, 3), np.delete(before, 3))
    farthest = {"standard": (-1e6, 1e6), "piecewise": (0, 8), "quantile": (0, 1)}[encoding]
    assert train[3] == farthest[value > 0]
    scored = log.encoder().encode(pa.table({"price": [value, -value, LARGEST, 1.0]})).numeric
    assert np.isfinite(scored).all() and scored[0, 0] == train[3]


@pytest.mark.parametrize("encoding", ["standard", "piecewise", "quantile"])
def test_numbers_that_are_all_huge_or_tiny_are_scaled(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path, encoding: str
) -> None:
    for log_first in (False, True):
        for scale in (1e-100, 1e35, 1e300):
            feature = Numeric("price", "price", encoding, 8, log_first)  # type: ignore[arg-type]
            columns["price"] = np.random.default_rng(0).uniform(1, 9, 400) * scale
            out = tmp_path / f"{scale}{log_first}"
            log = prepare(write(columns), replace(schema, features=(feature,)), out)
            assert np.isfinite(log.split("train").numeric).all()


def test_infinite_numbers_are_refused_in_training_and_in_scoring(
    schema: Schema, columns: Columns, write: Write, tmp_path: Path
) -> None:
    schema = replace(schema, features=(Numeric("price", "price"),))
    encoder = prepare(write(columns), schema, tmp_path / "log").encoder()
    columns["price"] = np.where(np.arange(400) == 5, np.inf, columns["price"])
    with pytest.raises(RecmtlError, match="1 values are infinite"):
        prepare(write(columns), schema, tmp_path / "other")
    with pytest.raises(RecmtlError, match="1 values are infinite"):
        encoder.encode(pa.table({"price": [1.0, -np.inf]}))


def test_the_exponential_of_a_stray_logit_stays_in_float32() -> None:
    spec = HeadSpec("watch", "regression", transform="log1p", mean=3.0, std=2.0)
    heads = TabularHeads([spec], width=4, tower=())
    scores = heads.scores([torch.tensor([[0.0], [100.0], [1e30], [-1e30]])])
    assert torch.isfinite(scores).all()
    assert scores[0, 0] == pytest.approx(np.expm1(3.0))
    assert scores[1, 0] == pytest.approx(1e30, rel=1e-4)

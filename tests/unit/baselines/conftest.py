"""A small encoded log: one id column, one list that shares its table, two numerics, four tasks."""

from types import SimpleNamespace

import numpy as np
import pytest

from recmtl.data.encoded_log import LogSplit
from recmtl.data.encoding import Encoding, ListField, NumericField
from recmtl.schema import Condition, TaskSpec

ITEMS = 30


def make_split(rows, seed):
    random = np.random.default_rng(seed)
    item = (ITEMS * random.random(rows) ** 2).astype(np.int32) + 1
    history = random.integers(1, ITEMS + 1, (rows, 3)).astype(np.int32)
    history[random.random((rows, 3)) < 0.4] = 0
    numeric = random.normal(size=(rows, 2)).astype(np.float32)
    strength = np.random.default_rng(99).normal(size=ITEMS + 1)
    margin = strength[item] + numeric[:, 0]
    numeric[random.random((rows, 2)) < 0.1] = np.nan
    click = random.random(rows) < 1 / (1 + np.exp(-margin))
    buy = click & (random.random(rows) < 1 / (1 + np.exp(1 - strength[item])))
    watch = np.expm1(np.clip(1 + 0.5 * margin + 0.2 * random.normal(size=rows), 0, None))
    rating = np.digitize(margin + random.normal(size=rows), [-0.7, 0.7])
    labels = np.stack([click, buy, np.where(click, watch, np.nan), rating], axis=1)
    return LogSplit(
        ids=np.column_stack([item, history]).astype(np.int32),
        numeric=numeric,
        labels=labels.astype(np.float32),
        weight=np.ones(rows, np.float32),
        group=np.zeros(rows, np.int64),
        row=np.arange(rows),
    )


@pytest.fixture(scope="session")
def small():
    return SimpleNamespace(
        train=make_split(3000, 0),
        validation=make_split(800, 1),
        test=make_split(1000, 2),
        tasks=(
            TaskSpec("click", "binary", Condition("click")),
            TaskSpec("buy", "binary", Condition("buy"), parent="click"),
            TaskSpec("watch", "regression", Condition("watch"), transform="log1p"),
            TaskSpec("rating", "multiclass", Condition("rating")),
        ),
        classes={"rating": (1, 2, 5)},
        encoding=Encoding(
            table_rows=ITEMS + 1,
            single=("item",),
            lists=(ListField("history", 1, 3, "mean"),),
            numeric=(NumericField("a", "standard", 1), NumericField("b", "standard", 1)),
        ),
    )

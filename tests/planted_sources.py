"""A small log of which it is known what each source is worth: the past much, noise nothing."""

from dataclasses import replace

import numpy as np

from recmtl.data.columns.labels import LabelStatistics
from recmtl.data.encoded_log import LogSplit
from recmtl.data.encoding import Encoding, NumericField
from recmtl.model import ModelSizes
from recmtl.model.heads import head_specs
from recmtl.train.config import Config, Evidence, Grid, Search, Training
from recmtl.train.tabular_problem import TabularProblem
from tests.tabular_problems import TASKS

PLANTED_TASKS = (TASKS[0], replace(TASKS[0], name="dislike"))
SOURCES = {"ids": ("user",), "counts": ("noise",), "statistics": ("past",)}
ENCODING = Encoding(
    table_rows=11,
    single=("user",),
    lists=(),
    numeric=tuple(NumericField(name, "standard", 1) for name in ("noise", "past")),
)
CONFIG = Config(
    sizes=ModelSizes(embedding=4, tower=()),
    grid=Grid(cells=3, depth=1, widths=(16,)),
    training=Training(batch_size=64, epochs=3, checks=1, health_rows=0, learning_rate=0.01),
    search=Search(epochs=1, candidates=2, source_seeds=3),
    evidence=Evidence(seeds=2, controls=("shared_bottom",), baselines=(), bootstrap=50),
    workers=1,
)


def make_rows(rows: int, seed: int) -> LogSplit:
    """The past decides clicks, the user dislikes; noise decides nothing."""
    random = np.random.default_rng(seed)
    user, numbers = random.integers(0, 10, rows), random.normal(size=(rows, 2))
    logits = np.stack([0.5 * np.sin(user) + 2.0 * numbers[:, 1], 2.0 * np.cos(user)], 1)
    labels = random.random((rows, 2)) < 1 / (1 + np.exp(-logits))
    return LogSplit(
        ids=(1 + user[:, np.newaxis]).astype(np.int32),
        numeric=numbers.astype(np.float32),
        labels=labels.astype(np.float32),
        weight=np.ones(rows, np.float32),
        group=np.zeros(rows, np.int64),
        row=np.arange(rows),
    )


def make_planted() -> TabularProblem:
    train, validation, test = (make_rows(n, seed) for seed, n in enumerate((1500, 800, 300)))
    statistics = {
        task.name: LabelStatistics(1500, int(label.sum()), float(label.mean()), 0.5, ())
        for task, label in zip(PLANTED_TASKS, train.labels.T, strict=True)
    }
    heads = head_specs(PLANTED_TASKS, statistics)
    return TabularProblem(train, validation, test, ENCODING, PLANTED_TASKS, heads, sources=SOURCES)

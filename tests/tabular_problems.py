"""A small study in memory: encoded rows with every kind of feature and task, no files."""

import numpy as np
import torch

from recmtl.data.columns.labels import LabelStatistics
from recmtl.data.encoded_log import LogSplit
from recmtl.data.encoding import Encoding, ListField, NumericField
from recmtl.grid import Layout, mmoe
from recmtl.model import ModelSizes, TabularModel
from recmtl.model.heads import HeadSpec, head_specs
from recmtl.schema import Condition, TaskSpec
from recmtl.train.tabular_problem import TabularProblem

TASKS = (
    TaskSpec("click", "binary", Condition("click")),
    TaskSpec("buy", "binary", Condition("buy"), parent="click", weight=2.0),
    TaskSpec("watch", "regression", Condition("watch"), transform="log1p"),
    TaskSpec("stars", "multiclass", Condition("stars"), missing="ignore"),
)
USERS, ITEMS, BINS = 30, 20, 4
ENCODING = Encoding(
    table_rows=1 + USERS + ITEMS,
    single=("user", "item"),
    lists=(ListField("history", 2, 3, "mean"),),
    numeric=(NumericField("age", "standard", 1), NumericField("price", "piecewise", BINS)),
)
NAN = np.float32(np.nan)


def make_split(rows: int, seed: int) -> LogSplit:
    """Rows whose labels follow from user, item and price; `watch` is defined on clicks only."""
    random = np.random.default_rng(seed)
    user, item = random.integers(0, USERS, rows), random.integers(0, ITEMS, rows)
    history = 1 + USERS + random.integers(0, ITEMS, (rows, 3))
    history[random.random((rows, 3)) < 0.4] = 0
    price = random.uniform(0, BINS, rows)
    taste = np.sin(user) + np.cos(item) + 0.5 * price - 1.0
    click = random.random(rows) < 1 / (1 + np.exp(-2 * taste))
    buy = click & (random.random(rows) < 1 / (1 + np.exp(-np.sin(user))))
    watch = np.where(click, np.exp(1 + np.cos(item) + 0.1 * random.normal(size=rows)), np.nan)
    stars = np.where(random.random(rows) < 0.2, np.nan, np.digitize(taste, (-0.5, 1.0)))
    numeric = np.stack([random.normal(size=rows), price], 1)
    numeric[random.random((rows, 2)) < 0.1] = np.nan
    ids = np.concatenate([np.stack([1 + user, 1 + USERS + item], 1), history], 1)
    return LogSplit(
        ids=ids.astype(np.int32),
        numeric=numeric.astype(np.float32),
        labels=np.stack([click, buy, watch, stars], 1).astype(np.float32),
        weight=random.uniform(0.5, 1.5, rows).astype(np.float32),
        group=np.zeros(rows, np.int64),
        row=np.arange(rows, dtype=np.int64),
    )


def rows_of(split: LogSplit, rows: slice | np.ndarray) -> LogSplit:
    """Some rows of a split."""
    return LogSplit(*(getattr(split, name)[rows] for name in LogSplit.__annotations__))


def make_heads(labels: np.ndarray, weight: np.ndarray | None = None) -> tuple[HeadSpec, ...]:
    """The heads that fit the labels `[R, T]` of rows of some weight `[R]`."""
    weight = np.ones(len(labels)) if weight is None else weight.astype(np.float64)
    statistics = {}
    for task, column in zip(TASKS, labels.astype(np.float64).T, strict=True):
        labels_of_task, of_rows = column[~np.isnan(column)], weight[~np.isnan(column)]
        if task.transform == "log1p":
            labels_of_task = np.log1p(labels_of_task)
        positives = int(labels_of_task.sum()) if task.kind == "binary" else 0
        classes = ("1", "2", "3") if task.kind == "multiclass" else ()
        mean = float(np.average(labels_of_task, weights=of_rows))
        variance = np.average((labels_of_task - mean) ** 2, weights=of_rows)
        facts = (len(labels_of_task), positives, mean, float(variance**0.5), classes)
        statistics[task.name] = LabelStatistics(*facts)
    return head_specs(TASKS, statistics)


def make_problem(rows: int = 257, seed: int = 0) -> TabularProblem:
    """Train, validation and test rows of one small log."""
    train, validation, test = (make_split(n, 3 * seed + i) for i, n in enumerate((rows, 120, 90)))
    return TabularProblem(
        train, validation, test, ENCODING, TASKS, make_heads(train.labels, train.weight)
    )


def make_model(
    layout: Layout | None = None, *, problem: TabularProblem | None = None, dropout: float = 0.0
) -> TabularModel:
    """A small network for the problem's tasks, MMoE by default."""
    problem = problem or make_problem()
    layout = layout or mmoe(len(problem.tasks), experts=3, widths=(8, 4))
    sizes = ModelSizes(embedding=4, tower=(6,), dropout=dropout, field_dropout=dropout)
    return TabularModel(problem.encoding, problem.heads, layout=layout, sizes=sizes)


def request_of(
    encoding: Encoding, rows: LogSplit, user: set[str]
) -> tuple[Encoding, list[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """Rows as the candidates of one of them: the user's part of the encoding, a request, joined.

    A request is the user's ids and numbers, one row, then those of the candidates.
    """
    mine, theirs = encoding.part(user), encoding.part(set(encoding.fields) - user)
    columns = [encoding.columns_of(part) for part in (mine, theirs)]
    ids, numeric = torch.from_numpy(rows.ids.copy()), torch.from_numpy(rows.numeric).double()
    ids[:, columns[0][0]] = ids[2, columns[0][0]].clone()
    numeric[:, columns[0][1]] = numeric[2, columns[0][1]].clone()
    parts = [ids[:1, columns[0][0]], numeric[:1, columns[0][1]]]
    parts += [ids[:, columns[1][0]], numeric[:, columns[1][1]]]
    return mine, parts, (ids, numeric)

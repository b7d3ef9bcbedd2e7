"""Two weeks whose sharing structure is known: a change is noticed, and its absence too."""

from pathlib import Path

import numpy as np
import pytest

from recmtl.daily.another_route import RouteTest, compare_wirings
from recmtl.data.columns.labels import LabelStatistics
from recmtl.data.encoded_log import LogSplit
from recmtl.data.encoding import Encoding
from recmtl.job.work.items import fixed_layout
from recmtl.model import ModelSizes
from recmtl.model.heads import head_specs
from recmtl.schema import Condition, TaskSpec
from recmtl.train.config import Config, Evidence, Grid, Training
from recmtl.train.loop import silent
from recmtl.train.tabular_problem import TabularProblem

TASKS = tuple(TaskSpec(name, "binary", Condition(name)) for name in ("a", "b", "c", "d"))
USERS, ITEMS = 40, 30
ENCODING = Encoding(table_rows=1 + USERS + ITEMS, single=("user", "item"), lists=(), numeric=())
CONFIG = Config(
    # Two numbers an id hold one taste, and not those of four tasks.
    sizes=ModelSizes(embedding=2, tower=()),
    grid=Grid(cells=5, depth=1, widths=(8,)),
    training=Training(
        batch_size=256,
        epochs=6,
        checks=1,
        health_rows=0,
        learning_rate=0.01,
        table_learning_rate=0.02,
    ),
    evidence=Evidence(bootstrap=100),
)


def week(seed: int, *, is_common: bool) -> TabularProblem:
    """A week in which all tasks follow one taste of users and items, or each its own."""
    random = np.random.default_rng([seed, is_common])
    tastes = random.normal(size=(USERS + ITEMS, 1 if is_common else len(TASKS)))

    def rows(count: int) -> LogSplit:
        user, item = random.integers(0, USERS, count), random.integers(0, ITEMS, count)
        logits = 1.2 * (tastes[user] + tastes[USERS + item]) - 0.5
        chance = 1 / (1 + np.exp(-np.broadcast_to(logits, (count, len(TASKS)))))
        return LogSplit(
            ids=np.stack([1 + user, 1 + USERS + item], 1).astype(np.int32),
            numeric=np.empty((count, 0), np.float32),
            labels=(random.random(chance.shape) < chance).astype(np.float32),
            weight=np.ones(count, np.float32),
            group=np.zeros(count, np.int64),
            row=np.arange(count),
        )

    train, validation, test = rows(3000), rows(2000), rows(10)
    statistics = {
        task.name: LabelStatistics(len(train), int(label.sum()), float(label.mean()), 0.5)
        for task, label in zip(TASKS, train.labels.T, strict=True)
    }
    return TabularProblem(train, validation, test, ENCODING, TASKS, head_specs(TASKS, statistics))


def route_test(folder: Path, seed: int, *, is_common: bool) -> RouteTest:
    """The test of a network whose tasks share all, as they should while they have one taste."""
    problem = week(seed, is_common=is_common)
    present = fixed_layout("shared_bottom", CONFIG, problem)
    return compare_wirings(problem, CONFIG, present, folder, on_progress=silent)


@pytest.mark.slow
def test_a_change_of_the_sharing_structure_is_noticed_and_its_absence_too(tmp_path: Path) -> None:
    noticed = {
        is_common: sum(
            route_test(tmp_path / f"{is_common}-{seed}", seed, is_common=is_common).is_proven
            for seed in range(10)
        )
        for is_common in (False, True)
    }
    assert noticed[False] >= 9 and noticed[True] <= 1, noticed

"""A lane of interactions is heard where labels hang on pairs of fields, and dropped elsewhere."""

import numpy as np
import pytest

from recmtl.data.columns.labels import LabelStatistics
from recmtl.data.encoded_log import LogSplit
from recmtl.data.encoding import Encoding
from recmtl.grid.layout import InteractionKind
from recmtl.model import ModelSizes
from recmtl.model.heads import head_specs
from recmtl.search.search import search
from recmtl.train.config import Config, Grid, Search, Training
from recmtl.train.tabular_problem import TabularProblem
from tests.planted_sources import PLANTED_TASKS

USERS = ITEMS = 30
ENCODING = Encoding(1 + USERS + ITEMS, ("user", "item"), (), ())


def make_rows(rows: int, seed: int, *, pairs: bool) -> LogSplit:
    """Logits are inner products of hidden vectors, or sums of what users and items are alone."""
    dice, hidden = np.random.default_rng(seed), np.random.default_rng(99)
    of_users, of_items = hidden.normal(size=(2, USERS, 3))
    user, item = dice.integers(0, USERS, rows), dice.integers(0, ITEMS, rows)
    product = 1.2 * (of_users[user] * of_items[item]).sum(1)
    alone = 1.5 * (of_users[user, :2] + of_items[item, :2])
    logits = np.stack([product, -product], 1) if pairs else alone
    return LogSplit(
        ids=np.stack([1 + user, 1 + USERS + item], 1).astype(np.int32),
        numeric=np.empty((rows, 0), np.float32),
        labels=(dice.random((rows, 2)) < 1 / (1 + np.exp(-logits))).astype(np.float32),
        weight=np.ones(rows, np.float32),
        group=np.zeros(rows, np.int64),
        row=np.arange(rows),
    )


@pytest.mark.slow
@pytest.mark.parametrize("pairs", [True, False])
@pytest.mark.parametrize("kind", ["fm", "fwfm"])
def test_the_search_keeps_what_pays_and_drops_what_does_not(
    kind: InteractionKind, pairs: bool
) -> None:
    parts = [make_rows(n, seed, pairs=pairs) for seed, n in enumerate((8000, 3000, 300))]
    statistics = {
        task.name: LabelStatistics(8000, int(label.sum()), float(label.mean()), 0.5, ())
        for task, label in zip(PLANTED_TASKS, parts[0].labels.T, strict=True)
    }
    heads = head_specs(PLANTED_TASKS, statistics)
    problem = TabularProblem(*parts, ENCODING, PLANTED_TASKS, heads)
    config = Config(
        sizes=ModelSizes(embedding=4, tower=()),
        grid=Grid(cells=3, depth=1, widths=(8,), interactions=(kind,)),
        training=Training(batch_size=128, epochs=6, learning_rate=0.01),
        search=Search(epochs=15, race=False),
        workers=1,
    )
    result = search(problem.layout("recmtl_grid", config.grid), problem, config, seed=0)
    heard = [entry["kind"] for entry in result.layout.get("interactions", [])]
    assert heard == ([kind] if pairs else [])

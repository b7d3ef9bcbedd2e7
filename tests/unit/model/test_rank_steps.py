"""A step of several ranks has the gradient of one process, whatever is missing, on any rank."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from recmtl.data.batches import Batch
from recmtl.grid import CATALOG, Routes
from recmtl.model import ModelSizes, TabularModel
from recmtl.model.heads import AITM, ESCM2_DR, ESCM2_IPS, ESMM, Chain
from recmtl.model.rank_steps import mean_gradients
from recmtl.model.rare_ids import RareIds
from recmtl.ranks import ALONE, Ranks, ranks, together
from recmtl.schema import GroupLoss
from recmtl.search.supernet import Supernet
from recmtl.train.config import Config, Grid, Training
from recmtl.train.loop import take_step
from recmtl.train.optimizer import Optimizer
from recmtl.train.tabular_problem import TabularProblem
from tests.grids import decided
from tests.rank_processes import of_first, on_ranks
from tests.tabular_problems import ENCODING, make_problem

Steps = dict[tuple[str, int], tuple[list[Tensor], list[bool], Tensor]]
"""(case, ranks) -> gradients, which of them are absent, and the loss."""
GRID = Grid(cells=5, depth=2, widths=(6, 4))
CHAINS = {"esmm": ESMM, "aitm": AITM, "ips": ESCM2_IPS, "dr": ESCM2_DR}
LOSSES = ("pairwise", "listwise", "jrc")
COUNTS = (1, 2, 3)
CLOSE = 1e-10


@dataclass(frozen=True)
class Case:
    """A step: its network, its rows, and whether anything is drawn.

    Attributes:
        layout: name in the catalog.
        chain: of the funnel.
        rows: `uneven` labels, `few` rows (fewer than three ranks), `one` row, or `none`:
            no label at all.
        draws: whether dropout, field dropout and rare ids draw numbers.
        batches: of the step.
        group_loss: of the binary tasks; none if empty.
    """

    layout: str = "mmoe"
    chain: str = "esmm"
    rows: str = "uneven"
    draws: bool = True
    batches: int = 1
    group_loss: str = ""

    def __str__(self) -> str:
        noise = "drawn" if self.draws else "plain"
        return f"{self.layout}-{self.chain}-{self.rows}-{noise}-{self.batches}{self.group_loss}"


CASES = [
    *(Case(name) for name in CATALOG),
    *(Case(chain=chain, rows=rows) for chain in CHAINS for rows in ("uneven", "few", "none")),
    *(Case("dynashare", rows=rows) for rows in ("few", "one", "none")),
    *(Case(batches=n, rows=rows, draws=False) for n in (2, 3) for rows in ("uneven", "few")),
    *(Case(group_loss=kind, rows=rows) for kind in LOSSES for rows in ("uneven", "few", "none")),
    *(Case(group_loss=kind, batches=2, draws=False, chain="dr") for kind in LOSSES),
]


@cache
def problem_of(rows: str, draws: bool, group_loss: str) -> TabularProblem:
    """In double precision; the labels of the first half of a batch are mostly missing.

    Groups of seven rows are cut by the edges of batches and of ranks.
    """
    whole = make_problem(96)
    labels = np.array(whole.train.labels, np.float64)
    labels[:40, [1, 2]] = np.nan
    labels[10:, 3] = np.nan
    if rows == "none":
        labels[:] = np.nan
    numeric, weight = (getattr(whole.train, n).astype(np.float64) for n in ("numeric", "weight"))
    train = replace(whole.train, labels=labels, numeric=numeric, weight=weight)
    if rows in ("few", "one"):
        count = {"few": 2, "one": 1}[rows]
        train = replace(train, **{n: getattr(train, n)[:count] for n in train.__annotations__})
    unknown = np.array([1] * ENCODING.id_columns, np.int32)
    rare = RareIds(np.arange(ENCODING.table_rows), unknown, k=9.0) if draws else None
    heads = whole.heads
    if group_loss:
        loss = GroupLoss(group_loss)  # type: ignore[arg-type] # a kind
        heads = tuple(replace(h, group_loss=loss) if h.kind == "binary" else h for h in heads)
        train = replace(train, group=np.arange(len(train)) // 7).with_members()
    return replace(whole, train=train, rare_ids=rare, heads=heads)


class Recorder(Optimizer):
    """Keeps the gradients of a step in place of following them."""

    gradients: list[Tensor]

    def step(self, loss: Tensor | None = None) -> None:
        tables = [] if self.sparse is None else self.sparse.param_groups[0]["params"]
        dense = [p for group in self.dense.param_groups for p in group["params"]]
        mean_gradients(dense, tables)
        zero = [torch.zeros_like(p) if p.grad is None else p.grad.to_dense() for p in dense]
        of_tables = [p.grad.to_dense() for p in tables if p.grad is not None]
        self.gradients = [part.clone() for part in (*zero, *of_tables)]
        self.are_absent = [p.grad is None for p in dense]


def network(case: Case, problem: TabularProblem) -> TabularModel:
    torch.manual_seed(5)
    noise = 0.3 if case.draws else 0.0
    chain: Chain = CHAINS[case.chain]
    sizes = ModelSizes(embedding=4, tower=(6,), dropout=noise, field_dropout=noise, chain=chain)
    model = problem.network(problem.layout(case.layout, GRID), sizes).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, dtype=torch.float64) * 0.1)
    return model.train()


def step_of(case: Case) -> tuple[list[Tensor], list[bool], Tensor]:
    """The gradients of a step, which of them are absent, and its loss."""
    problem = problem_of(case.rows, case.draws, case.group_loss)
    model = network(case, problem)
    optimizer = Recorder(model, Training(), total_steps=1)
    size = max(2, len(problem.train) // case.batches - 1) if case.batches > 1 else 96
    feed: Iterator[Batch] = problem.train.batches(batch_size=size, seed=3, share=ranks().share)
    torch.manual_seed(11)
    loss = take_step(model, optimizer, *list(feed)[: case.batches])
    return optimizer.gradients, optimizer.are_absent, ranks().mean(loss)


def policy_value() -> Tensor:
    """The normalised loss of a search's batch: its mean over the ranks is that of one process."""
    problem = problem_of("uneven", draws=False, group_loss="listwise")
    torch.manual_seed(1)
    layout = problem.layout("recmtl_grid", GRID)
    supernet = Supernet(layout, problem=problem, config=Config(grid=GRID))
    supernet.model.double()
    decisions = decided(layout, Routes.full(layout))
    (batch,) = problem.train.batches(batch_size=96, seed=None, share=ranks().share)
    torch.manual_seed(2)
    return ranks().mean(supernet.normalised(supernet.losses(batch, decisions)).detach())


def every_step() -> Steps:
    """On a rank: every case on one, two and three ranks, as far as this rank is one of them."""
    whole: Ranks = ranks()
    results: Steps = {}
    for count in COUNTS:
        several = whole if count == whole.count else of_first(count)
        if count > 1 and several is ALONE:
            continue
        with together(several):
            for case in CASES:
                results[str(case), count] = step_of(case)
            results["search", count] = ([], [], policy_value())
    return results


@pytest.fixture(scope="module")
def steps(
    tmp_path_factory: pytest.TempPathFactory,
) -> list[Steps]:
    return on_ranks(3, tmp_path_factory.mktemp("ranks"), every_step)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("count", COUNTS)
def test_ranks_have_the_gradient_of_one_process(
    steps: list[Steps],
    case: Case,
    count: int,
) -> None:
    alone, absent, loss = step_of(case)
    for of_rank in steps[:count]:
        gradients, are_absent, whole_loss = of_rank[str(case), count]
        assert are_absent == absent
        for mine, theirs in zip(alone, gradients, strict=True):
            torch.testing.assert_close(theirs, mine, rtol=0, atol=CLOSE)
        torch.testing.assert_close(whole_loss, loss, rtol=0, atol=CLOSE)
    if case.rows != "none":
        assert any(float(part.abs().max()) > 1e-6 for part in alone)


@pytest.mark.parametrize("count", COUNTS)
def test_ranks_have_the_same_bits(steps: list[Steps], count: int) -> None:
    first = steps[0]
    for of_rank in steps[1:count]:
        for case in CASES:
            pairs = zip(first[str(case), count][0], of_rank[str(case), count][0], strict=True)
            assert all(torch.equal(mine, theirs) for mine, theirs in pairs), case


@pytest.mark.parametrize("count", COUNTS)
def test_a_search_values_a_draw_on_the_whole_batch(steps: list[Steps], count: int) -> None:
    for of_rank in steps[:count]:
        value = of_rank["search", count][2]
        torch.testing.assert_close(value, policy_value(), rtol=0, atol=CLOSE)

"""Find the tree of a branched network, and ask whether the trees that it prefers are better.

Branched Multi-Task Networks (arXiv 1904.02920): train one network a task, compare what they make of
the same held-out rows, take the tree of least cost within a budget, train it from scratch.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn import functional

from recmtl.data.batches import Rows
from recmtl.errors import ConfigError
from recmtl.grid import Layer, Layout, lane_widths, layout_cost
from recmtl.grid.catalog import branched
from recmtl.grid.catalog.shared import Level, column
from recmtl.grid.experts import pooled_features
from recmtl.grid.layout import Pixels, lane_pixels
from recmtl.model import Network
from recmtl.policies import Tree, branch_tree, tree_cost
from recmtl.policies.affinity import dissimilarity_ranks, rank_affinity
from recmtl.train.checkpoint import sibling_checkpoint
from recmtl.train.config import Config
from recmtl.train.loop import OnProgress, silent, train
from recmtl.train.problem import Problem

__all__ = ["CostRanking", "TreeSearchResult", "block_sizes", "check_cost_ranking", "search_tree"]

Levels = tuple[Level, ...]
COARSE = 16
Unit = Literal["multiply_adds", "parameters"]


@dataclass(frozen=True)
class TreeSearchResult:
    """A tree and how it was found.

    Attributes:
        tree: the branches at each of D depths.
        levels: experts of each depth: widths, or blocks.
        affinity: `[D, T, T]`, how alike the single-task networks are.
        budget: the most that all branches together may cost.
        seconds: the whole search, training of the single-task networks included.
    """

    tree: Tree
    levels: Levels
    affinity: NDArray[np.float64]
    budget: float
    seconds: float

    @property
    def layout(self) -> Layout:
        """The branched network, to be trained from scratch."""
        return branched(self.tree.partitions(), levels=self.levels)

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON data; `from_json` is its inverse."""
        tree, affinity = self.tree.to_json(), self.affinity.tolist()
        levels = [
            [asdict(part) if isinstance(part, Layer) else part for part in level]
            for level in self.levels
        ]
        found = {"tree": tree, "levels": levels, "affinity": affinity}
        return {**found, "budget": self.budget, "seconds": self.seconds}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "TreeSearchResult":
        """Rebuild it from `to_json` data."""
        tree, levels = Tree.from_json(data["tree"]), tuple(map(_level, data["levels"]))
        affinity = np.array(data["affinity"], np.float64)
        return cls(tree, levels, affinity, data["budget"], data["seconds"])


def _level(read: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(Layer.from_json(b) if isinstance(b, dict) else b for b in read)


def search_tree(
    problem: Problem,
    config: Config,
    *,
    seed: int,
    on_progress: OnProgress = silent,
    levels: Sequence[Level] | None = None,
    share: float = 0.5,
    unit: Unit = "multiply_adds",
    rows: int = 500,
    checkpoint: Path | None = None,
) -> TreeSearchResult:
    """Train one network a task, compare them on validation rows, choose the tree.

    Every network has embeddings of its own (the branched network shares them) and starts from the
    same weights, in place of the paper's common pre-training: small networks with starts of their
    own differ more by their starts than by their tasks. Labels of the validation rows only stop
    the training early.

    Args:
        problem: what to train on.
        config: widths, training and sizes.
        seed: of weights, batches and the choice of rows.
        on_progress: told of progress.
        levels: experts of each depth at which tasks may part; without it those of the problem:
            of tables every product of `config.grid`, of images every stage.
        share: the budget, from 0 (all share every depth) to 1 (all are apart).
        unit: of the budget.
        rows: validation rows on which features are compared, the same for all tasks.
        checkpoint: of the branched network; beside it lie those of the single-task ones, from which
            a later call with the same arguments goes on, until the tree is found.

    Raises:
        ConfigError: a share outside 0..1, or less than two tasks.
        DataError: a network's features are not finite.
    """
    if not 0.0 <= share <= 1.0 or len(problem.tasks) < 2:
        raise ConfigError("branches: they need two tasks or more and a share between 0 and 1")
    began = time.perf_counter()
    depths = tuple(problem.levels(config.grid) if levels is None else levels)
    chosen, ranks = _some_rows(problem, rows, seed), []
    left = (
        {}
        if checkpoint is None
        else {t: sibling_checkpoint(checkpoint, t.name) for t in problem.tasks}
    )
    for task in problem.tasks:
        alone = problem.only(task)
        model = _network(branched(((0,),) * len(depths), levels=depths), alone, config, seed)
        name, path = f"branches-{task.name}", left.get(task)
        settings = config.training
        train(
            model, alone, settings, seed=seed, name=name, on_progress=on_progress, checkpoint=path
        )
        features = _features(model, chosen, ends(depths))
        ranks.append([dissimilarity_ranks(rows) for rows in features])
    affinity = rank_affinity([list(depth) for depth in zip(*ranks, strict=True)])
    lane = problem.lane_shape(config.sizes)
    sizes = block_sizes(depths, input_width=lane.input_width, pixels=lane.pixels, unit=unit)
    budget = sum(sizes) * (1.0 + share * (len(problem.tasks) - 1))
    tree = branch_tree(affinity, sizes, budget=budget)
    for path in left.values():
        path.unlink(missing_ok=True)
    return TreeSearchResult(tree, depths, affinity, budget, time.perf_counter() - began)


def block_sizes(
    levels: Sequence[Level],
    *,
    input_width: int,
    pixels: Pixels = (1, 1),
    unit: Unit = "multiply_adds",
) -> list[int]:
    """What one branch costs at each depth `[D]`; `tree_parameters` of them is the layout's cost."""
    layout = branched(((0,),) * len(levels), levels=levels)
    widths, sizes = lane_widths(layout, input_width), lane_pixels(layout, pixels)
    blocks = [Layout("block", (layer,), (0,)) for layer in layout.layers]
    costs = [
        int(getattr(layout_cost(block, input_width=width, pixels=size), unit))
        for block, width, size in zip(blocks, widths, sizes, strict=False)
    ]
    lasts = ends(levels)
    firsts = [0, *(last + 1 for last in lasts[:-1])]
    return [sum(costs[first : last + 1]) for first, last in zip(firsts, lasts, strict=True)]


def ends(levels: Sequence[Level]) -> list[int]:
    """Number of the last layer of each level in a network of one branch."""
    return list(accumulate((len(column((0,), level)) for level in levels), initial=-1))[1:]


@dataclass(frozen=True)
class CostRanking:
    """Whether trees of lower cost do score more on validation rows.

    Attributes:
        costs: `tree_cost` of each tree.
        scores: best validation score of each branched network.
        correlation: Spearman's, of the negative costs with the scores: 1 if the cost ranks the
            trees rightly, negative if wrongly; NaN where all costs or all scores are equal.
        p_value: two-sided, of no correlation.
    """

    costs: tuple[float, ...]
    scores: tuple[float, ...]
    correlation: float
    p_value: float

    @classmethod
    def of(cls, costs: Sequence[float], scores: Sequence[float]) -> "CostRanking":
        """Rank at least three trees by cost and by score."""
        if len(costs) < 3 or len(costs) != len(scores):
            raise ConfigError("agreement: it needs a cost and a score of three trees or more")
        rho = p_value = float("nan")
        if min(np.ptp(costs), np.ptp(scores)) > 0.0:
            rho, p_value = map(float, spearmanr(np.negative(costs), scores))
        return cls(tuple(costs), tuple(scores), rho, p_value)


def check_cost_ranking(
    trees: Sequence[Tree],
    found: TreeSearchResult,
    problem: Problem,
    config: Config,
    *,
    seed: int,
    on_progress: OnProgress = silent,
) -> CostRanking:
    """Train given trees and ask whether their costs rank them as their validation scores do.

    A larger tree costs less by construction: compare trees of about the same size. A public
    notebook of another team reports a correlation of -0.75 on its trees, the wrong way round.
    """
    scores = []
    for number, tree in enumerate(trees):
        layout = replace(found, tree=tree).layout
        model = _network(layout, problem, config, seed)
        name = f"tree-{number}"
        fitted = train(
            model, problem, config.training, seed=seed, name=name, on_progress=on_progress
        )
        scores.append(fitted.checks[fitted.best].score)
    return CostRanking.of([tree_cost(tree, found.affinity) for tree in trees], scores)


def _network(layout: Layout, problem: Problem, config: Config, seed: int) -> Network:
    torch.manual_seed(seed)
    return problem.network(layout, config.sizes)


def _some_rows(problem: Problem, number: int, seed: int) -> Rows:
    split = problem.validation
    chosen = np.sort(np.random.default_rng(seed).permutation(len(split))[:number])
    return split.take(chosen)


@torch.no_grad()
def _features(model: Network, rows: Rows, depths: Sequence[int]) -> list[NDArray[np.float32]]:
    """What some layers of a network put out for rows, `[K, F]` each, in evaluation mode.

    Maps of more than 16 x 16 pixels are averaged down to that: what the first layers of a large
    network make of 500 images would not fit into memory.
    """
    model.eval()
    outputs: dict[int, list[NDArray[np.float32]]] = {depth: [] for depth in depths}
    for batch in rows.batches(batch_size=rows.largest_batch, seed=None):
        lanes = model.encoder(*batch.inputs)
        source = pooled_features(lanes).flatten(1)
        for depth in range(len(model.grid.layers)):
            lanes = model.grid.layer(depth)(lanes, source, None)
            if depth in outputs:
                outputs[depth].append(_coarse(lanes).flatten(1).float().cpu().numpy())
    return [np.concatenate(parts) for parts in outputs.values()]


def _coarse(lanes: Tensor) -> Tensor:
    if lanes.dim() < 5 or max(lanes.shape[-2:]) <= COARSE:
        return lanes
    return functional.adaptive_avg_pool2d(lanes.flatten(0, 1), COARSE)[:, None].flatten(1, 2)

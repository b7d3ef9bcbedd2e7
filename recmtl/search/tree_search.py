"""Search the tree of a branched network, and check whether its criterion ranks trees rightly.

Source: Branched Multi-Task Networks (arXiv 1904.02920). Train one network for each task, compare
their features of the same held-out rows (`policies/affinity.py`), take the tree of least cost
within a budget (`policies/best_tree.py`), and train that tree from scratch.
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

from recmtl.data.batches import Batch, Rows
from recmtl.errors import ConfigError
from recmtl.grid import Layer, Layout, lane_widths, layout_cost
from recmtl.grid.catalog import branched
from recmtl.grid.catalog.shared import Level, column
from recmtl.grid.experts import pooled_features
from recmtl.grid.layout import Pixels, lane_pixels
from recmtl.model import Network
from recmtl.policies import Tree, branch_tree, tree_cost
from recmtl.policies.affinity import dissimilarity_ranks, rank_affinity
from recmtl.ranks import ranks
from recmtl.search.selection import sample_rows
from recmtl.train.checkpoint import sibling_checkpoint
from recmtl.train.config import Config
from recmtl.train.loop import OnProgress, silent, train
from recmtl.train.problem import Problem

__all__ = ["CostRanking", "TreeSearchResult", "block_sizes", "check_cost_ranking", "search_tree"]

COARSE = 16
"""Height and width in pixels to which larger maps are averaged before they are compared."""
Levels = tuple[Level, ...]
Unit = Literal["multiply_adds", "parameters"]


@dataclass(frozen=True)
class TreeSearchResult:
    """The tree that was found, and how.

    Attributes:
        tree: the branches at each of D depths.
        levels: experts of each depth: widths, or blocks.
        affinity: `[D, T, T]` of the single-task networks.
        budget: the most that all branches together may cost, in the unit of the search.
        seconds: duration of the search, including the training of the single-task networks.
    """

    tree: Tree
    levels: Levels
    affinity: NDArray[np.float64]
    budget: float
    seconds: float

    @property
    def layout(self) -> Layout:
        """The layout of the branched network, which is trained from scratch."""
        return branched(self.tree.partitions(), levels=self.levels)

    def to_json(self) -> dict[str, Any]:
        """The result as JSON data; `from_json` is its inverse."""
        tree, affinity = self.tree.to_json(), self.affinity.tolist()
        levels = [
            [asdict(part) if isinstance(part, Layer) else part for part in level]
            for level in self.levels
        ]
        figures = {"affinity": affinity, "budget": self.budget, "seconds": self.seconds}
        return {"tree": tree, "levels": levels, **figures}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "TreeSearchResult":
        """Rebuild a result from `to_json` data."""
        tree, levels = Tree.from_json(data["tree"]), tuple(map(_level, data["levels"]))
        affinity = np.array(data["affinity"], np.float64)
        return cls(tree, levels, affinity, data["budget"], data["seconds"])


def _level(parts: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(Layer.from_json(part) if isinstance(part, dict) else part for part in parts)


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
    """Train one network for each task, compare them on validation rows, choose the tree.

    Our reading differs from the paper in the start: every network has its own embeddings (the
    branched network shares them), and all start from the same weights, in place of a common
    pre-training. Small networks that start differently differ more by their starts than by their
    tasks. The labels of the validation rows are used for early stopping only.

    Args:
        problem: what to train on.
        config: widths, training and sizes.
        seed: of weights, batches and the choice of rows.
        on_progress: called with progress.
        levels: experts of each depth at which tasks may split; by default those of the problem:
            for tables every product of `config.grid`, for images every stage.
        share: the budget, from 0 (all tasks share every depth) to 1 (none shares any).
        unit: of the budget.
        rows: number of validation rows on which features are compared, the same for all tasks.
        checkpoint: of the branched network. The single-task networks keep theirs beside it until
            the tree is found; a later call with the same arguments resumes from them.

    Raises:
        ConfigError: the share is outside 0..1, or there are fewer than two tasks.
        DataError: a network's features are not finite.
    """
    if not 0.0 <= share <= 1.0 or len(problem.tasks) < 2:
        raise ConfigError(
            "branches: a tree needs two tasks or more and a share between 0 and 1; "
            f"there are {len(problem.tasks)} tasks, and the share is {share}"
        )
    began = time.perf_counter()
    depths = tuple(problem.levels(config.grid) if levels is None else levels)
    sample, by_task = sample_rows(problem.validation, rows, seed), []
    weight, states = _varying_weight(sample), dict[str, Path]()
    if checkpoint is not None:
        states = {t.name: sibling_checkpoint(checkpoint, t.name) for t in problem.tasks}
    for task in problem.tasks:
        alone = problem.only(task)
        model = _network(branched(((0,),) * len(depths), levels=depths), alone, config, seed)
        train(
            model,
            alone,
            config.training,
            seed=seed,
            name=f"branches-{task.name}",
            on_progress=on_progress,
            checkpoint=states.get(task.name),
        )
        features = _features(model, sample, ends(depths))
        by_task.append([dissimilarity_ranks(outputs, weight=weight) for outputs in features])
    affinity = rank_affinity([list(depth) for depth in zip(*by_task, strict=True)])
    lane = problem.lane_shape(config.sizes)
    sizes = block_sizes(depths, input_width=lane.input_width, pixels=lane.pixels, unit=unit)
    budget = sum(sizes) * (1.0 + share * (len(problem.tasks) - 1))
    tree = branch_tree(affinity, sizes, budget=budget)
    for state in states.values() if ranks().is_first else ():
        state.unlink(missing_ok=True)
    return TreeSearchResult(tree, depths, affinity, budget, time.perf_counter() - began)


def block_sizes(
    levels: Sequence[Level],
    *,
    input_width: int,
    pixels: Pixels = (1, 1),
    unit: Unit = "multiply_adds",
) -> list[int]:
    """What one branch costs at each depth `[D]`; their `tree_parameters` are the layout's cost.

    >>> block_sizes([(8,), (4,)], input_width=10, unit="parameters")
    [88, 36]
    """
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
    """Whether trees of lower cost really score higher on validation rows.

    Attributes:
        costs: `tree_cost` of each tree.
        scores: best validation score of each branched network.
        correlation: Spearman's, between negative costs and scores: 1 if the cost ranks the trees
            by score, negative if it ranks them the wrong way round; NaN if all costs or all scores
            are equal.
        p_value: two-sided, under no correlation.
    """

    costs: tuple[float, ...]
    scores: tuple[float, ...]
    correlation: float
    p_value: float

    @classmethod
    def of(cls, costs: Sequence[float], scores: Sequence[float]) -> "CostRanking":
        """Rank at least three trees by cost and by score."""
        if len(costs) < 3 or len(costs) != len(scores):
            raise ConfigError(
                "cost ranking: it needs a cost and a score each of three trees or more; "
                f"there are {len(costs)} costs and {len(scores)} scores"
            )
        rho = p_value = float("nan")
        if min(np.ptp(costs), np.ptp(scores)) > 0.0:
            rho, p_value = map(float, spearmanr(np.negative(costs), scores))
        return cls(tuple(costs), tuple(scores), rho, p_value)


def check_cost_ranking(
    trees: Sequence[Tree],
    searched: TreeSearchResult,
    problem: Problem,
    config: Config,
    *,
    seed: int,
    on_progress: OnProgress = silent,
) -> CostRanking:
    """Train some trees and check whether their costs rank them as their validation scores do.

    A larger tree costs less by construction, so compare trees of about the same size. (A public
    notebook of another team reports a correlation of -0.75 on its trees, the wrong way round.)
    """
    scores = []
    for number, tree in enumerate(trees):
        model = _network(replace(searched, tree=tree).layout, problem, config, seed)
        name = f"tree-{number}"
        state = train(
            model, problem, config.training, seed=seed, name=name, on_progress=on_progress
        )
        scores.append(state.checks[state.best].score)
    return CostRanking.of([tree_cost(tree, searched.affinity) for tree in trees], scores)


def _network(layout: Layout, problem: Problem, config: Config, seed: int) -> Network:
    torch.manual_seed(seed)
    return problem.network(layout, config.sizes)


@torch.no_grad()
def _features(model: Network, rows: Rows, depths: Sequence[int]) -> list[NDArray[np.float32]]:
    """Outputs `[K, F]` of some layers of a network for K rows, in evaluation mode.

    Maps of more than 16 x 16 pixels are averaged down to that: the outputs of the first layers of
    a large network for 500 images would not fit into memory.
    """
    model.eval()

    def outputs_of(batch: Batch) -> list[NDArray[np.float32]]:
        lanes = model.encoder(*batch.inputs)
        source, outputs = pooled_features(lanes).flatten(1), []
        for depth in range(len(model.grid.layers)):
            lanes = model.grid.layer(depth)(lanes, source, None)
            if depth in depths:
                outputs.append(_coarse(lanes).flatten(1).float().cpu().numpy())
        return outputs

    batches = rows.batches(batch_size=rows.largest_batch, seed=None)
    return [np.concatenate(parts) for parts in zip(*ranks().map(outputs_of, batches), strict=True)]


def _varying_weight(rows: Rows) -> NDArray[np.float32] | None:
    """The weights of K rows, or None where all weigh the same."""
    batches = rows.batches(batch_size=rows.largest_batch, seed=None)
    weight = np.concatenate([batch.weight.cpu().numpy() for batch in batches])
    weight = weight.mean(1) if weight.ndim == 2 else weight
    return weight if weight.min() < weight.max() else None


def _coarse(lanes: Tensor) -> Tensor:
    if lanes.dim() < 5 or max(lanes.shape[-2:]) <= COARSE:
        return lanes
    return functional.adaptive_avg_pool2d(lanes.flatten(0, 1), COARSE)[:, None].flatten(1, 2)

"""The networks of a bundle, trained on with the added days, and perhaps a new route for them."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from recmtl.atomic import read_json, write_json
from recmtl.daily.added_days import AddedDays
from recmtl.daily.another_route import RouteTest, compare_wirings
from recmtl.daily.warm_start import warm_start
from recmtl.grid import Layout
from recmtl.job.fit import Fit, ModelResult, trained_once
from recmtl.job.handed_on import JobContext
from recmtl.job.problem_kind import TABULAR_PROBLEMS
from recmtl.job.work.items import search_space
from recmtl.job.work.workers import cores
from recmtl.model import BlendedModel, Network, TabularModel, load_model
from recmtl.search.search import SearchResult, search
from recmtl.train.blend import ForestLogits, fit_blend
from recmtl.train.config import Budget, Config, Training
from recmtl.train.problem import Predictions, network_cost
from recmtl.train.tabular_problem import TabularProblem

__all__ = ["MODEL", "SearchWhen", "TrainedOn", "in_few_passes", "train_on"]

SearchWhen = Literal["never", "auto", "always"]
"""When an update searches again: never, if the test of `another_route` says so, always."""
MODEL, AGAIN, CONSTANT = "searched", "searched_again", "constant"
PASSES, LEAST_BATCH = 2, 64
"""Over the days; and rows of a batch, below which a step costs what one of more rows does."""
SEARCH_AGAIN = "delete it, so that the search is done again"


@dataclass(frozen=True)
class TrainedOn:
    """What an update has trained.

    Attributes:
        days: the encoded log of the added days.
        problem: its rows as the model reads them.
        config: how, with the sizes of the parent's networks.
        model: what serves: a network, or a blend of several.
        results: of the networks that were trained on, each in the order of the parent's.
        constant: what predicts the base rates of the days.
        test: whether the tasks should share in another way; None where nobody asked.
        new_route: a new search, and the result of its network; None without one.
        serves_new_route: whether that network is the model.
    """

    days: AddedDays
    problem: TabularProblem
    config: Config
    model: TabularModel
    results: tuple[ModelResult, ...]
    constant: ModelResult
    test: RouteTest | None = None
    new_route: tuple[SearchResult, ModelResult] | None = None
    serves_new_route: bool = False

    @cached_property
    def predictions(self) -> Predictions:
        """What the model predicts for the test rows: of a network what its training kept."""
        if isinstance(self.model, BlendedModel):
            return self.problem.scored(self.model)[0]
        return self.result.predictions

    @property
    def result(self) -> ModelResult:
        """Of the first network of the model."""
        if self.new_route is not None and self.serves_new_route:
            return self.new_route[1]
        return self.results[0]


def train_on(job: JobContext, days: AddedDays, search_when: SearchWhen) -> TrainedOn:
    """Train the parent's networks on, test their wiring, and search again if that is wanted.

    The network of a new search serves if its validation score is above that of the network that
    was trained on. All that is finished is read back from the output folder.
    """
    torch.set_num_threads(job.config.threads or cores())
    problem, parents = days.problem(job), days.parent.networks
    config = replace(job.config, sizes=parents[0].sizes)
    work = _Work(job, days, problem, config)
    pairs = [
        work.network(MODEL, config.seed + number, parent.grid.layout, parent)
        for number, parent in enumerate(parents)
    ]
    results = tuple(result for _, result in pairs)
    model, served = _served([network for network, _ in pairs], problem, days.forest_logits)
    trained = TrainedOn(days, served, config, model, results, work.constant())
    if search_when != "never":
        present = parents[0].grid.layout
        trained = replace(trained, test=work.test(present) if search_when == "auto" else None)
        if search_when == "always" or (trained.test is not None and trained.test.is_proven):
            return _with_new_route(trained, work, parents[0])
    return trained


def in_few_passes(training: Training, rows: int) -> Training:
    """As many steps as a training on so many rows has, in two passes of smaller batches.

    Steps are what moves weights from their old place; what is known already needs no third look at
    the days. The steps cost less by the rows that their batches lack.

    >>> (shown := in_few_passes(Training(epochs=3, batch_size=900), 9_000)).batch_size, shown.epochs
    (600, 2)
    """
    passes = training.passes(rows)
    few = min(PASSES, passes)
    size = max(LEAST_BATCH, few * training.batch_size // passes)
    return replace(training, batch_size=min(size, training.batch_size), epochs=few)


def _served(
    networks: list[TabularModel], problem: TabularProblem, forest: ForestLogits | None
) -> tuple[TabularModel, TabularProblem]:
    """What serves, and the rows as it reads them.

    The network, or the blend of several members whose weights fit the validation rows of the days.
    """
    if len(networks) == 1 and forest is None:
        return networks[0], problem
    named = {f"{MODEL}-{number}": network for number, network in enumerate(networks)}
    blend = fit_blend(named, problem, forest)
    return blend.model or networks[0], blend.problem


def _with_new_route(trained: TrainedOn, work: "_Work", parent: TabularModel) -> TrainedOn:
    seed = trained.config.seed
    route = work.search(parent.grid.layout, seed)
    layout = Layout.from_json(route.layout)
    network, result = work.network(AGAIN, seed, layout, parent)
    is_better = (result.validation_score or -np.inf) > (
        trained.results[0].validation_score or -np.inf
    )
    if is_better:
        trained = replace(trained, model=network, problem=work.problem, serves_new_route=True)
    return replace(trained, new_route=(route, result))


@dataclass(frozen=True)
class _Work:
    """What an update trains and searches, each once and kept in the output folder."""

    job: JobContext
    days: AddedDays
    problem: TabularProblem
    config: Config

    def network(
        self, name: str, seed: int, layout: Layout, parent: TabularModel
    ) -> tuple[TabularModel, ModelResult]:
        """A network that has been trained on from its parent's weights, and what it scored."""
        folder = self.job.out / "models" / name / str(seed)

        def train() -> tuple[Network, ModelResult]:
            start = warm_start(parent, self.days.starts)
            config = replace(self.config, sizes=parent.sizes)
            if layout == parent.grid.layout:
                training = in_few_passes(config.training, len(self.problem.train))
                config = replace(config, training=training)
            progress = self.job.on_progress
            fit = Fit(self.problem, config, seed, progress, self._checkpoint, start)
            return fit.network(name, layout)

        result = trained_once(folder, train)
        self._checkpoint(name, seed).unlink(missing_ok=True)
        return load_model(folder), result

    def constant(self) -> ModelResult:
        """What predicts the base rates of the days' train rows."""
        folder = self.job.out / "models" / CONSTANT / str(self.config.seed)
        fit = TABULAR_PROBLEMS.baselines[CONSTANT]
        return trained_once(
            folder, lambda: (None, fit(self.problem, self.config, self.config.seed))
        )

    def test(self, present: Layout) -> RouteTest:
        """Whether the tasks should share in another way."""
        folder, progress = self.job.out / "wirings", self.job.on_progress
        return compare_wirings(self.problem, self.config, present, folder, on_progress=progress)

    def search(self, present: Layout, seed: int) -> SearchResult:
        """A new search on the days, whose network may cost what the present one does."""
        path = self.job.out / "search" / f"{MODEL}-{seed}.json"
        if not path.is_file():
            cost = network_cost(self.problem, present, self.config.sizes).multiply_adds
            budget = Budget(multiply_adds=round(float(cost)))
            settings = replace(self.config.search, budget=budget)
            result = search(
                search_space(MODEL, self.config, self.problem),
                self.problem,
                replace(self.config, search=settings),
                seed=seed,
                on_progress=self.job.on_progress,
                # The network is trained from the parent's table, and not on from the race.
                checkpoint=self._checkpoint("search", seed),
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, result.to_json(), allow_nan=True)
            self._checkpoint("search", seed).unlink(missing_ok=True)
        return SearchResult.from_json(read_json(path, remedy=SEARCH_AGAIN))

    def _checkpoint(self, name: str, seed: int) -> Path:
        folder = self.job.out / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}-{seed}.safetensors"

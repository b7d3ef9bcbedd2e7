"""The study: every search and every model of a job, each done once and kept in the output folder.

Each model and seed has a folder below `models/`, each search a file in `search/`; both are whole or
absent. A study that was killed goes on: what is finished is read back, and an unfinished training
or search continues from its checkpoint.
"""

import json
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np

from recmtl.atomic import read_json, reading, write_json
from recmtl.errors import ConfigError
from recmtl.grid import Layout, matched, prune, same_wiring
from recmtl.job.fit import TRAIN_AGAIN, Fit, ModelResult, trained_once
from recmtl.job.problem_kind import ProblemKind
from recmtl.job.work.agenda import OnOutlook, unseen
from recmtl.job.work.items import (
    FIXED,
    SEARCHED,
    WorkItem,
    fixed_layout,
    model_name,
    network_and_sources,
    on_sample,
    point_of,
    sample_of,
    search_settings,
    search_space,
    voters,
)
from recmtl.job.work.limit import NO_LIMIT, Limit
from recmtl.job.work.priority import without
from recmtl.model import Network
from recmtl.policies import random_routes
from recmtl.search.search import SearchResult, search
from recmtl.search.tree_search import TreeSearchResult, search_tree
from recmtl.search.vote import elected
from recmtl.train.config import Budget, Config
from recmtl.train.loop import OnProgress, silent
from recmtl.train.problem import Problem, network_cost
from recmtl.train.training_state import ValidationCheck

__all__ = ["FRONT_FILE", "SOURCES_FILE", "SearchRecord", "Study"]

P = TypeVar("P", bound=Problem)
C = TypeVar("C", bound=Config)

SearchRecord: TypeAlias = dict[str, Any]
"""JSON of a file in `search/`: a `SearchResult`, or a `TreeSearchResult` for `branched`."""

SOURCES_FILE, FRONT_FILE = "sources.json", "front.json"
CHOOSE_AGAIN = "delete it with models/ and search/, so that sources are chosen again"
FRONT_AGAIN = "delete it with models/, so that the front is trained again"
SEARCH_AGAIN = "delete it, so that the search is done again"
RANDOM_DRAWS = 100
"""Draws of a random route after which a space is taken to have no other route."""


@dataclass(frozen=True)
class Study(Generic[P, C]):
    """Where a study lives, what it is trained on, and how.

    Attributes:
        folder: the output folder.
        kind: of the problem; a worker process opens the problem with it.
        problem: what the models are trained on, with every source of knowledge.
        config: how they are searched, trained and sized.
        on_progress: called with the progress of every work item.
        on_outlook: called with how far the study is.
        limit: until when it may go on.
    """

    folder: Path
    kind: ProblemKind[P, C]
    problem: P
    config: C
    on_progress: OnProgress = silent
    on_outlook: OnOutlook = unseen
    limit: Limit = NO_LIMIT

    @property
    def hears(self) -> tuple[str, ...]:
        """The sources that the compared networks hear: all, unless `choose_sources` dropped any."""
        path = self.folder / SOURCES_FILE
        if not path.is_file():
            return tuple(self.problem.sources)
        with reading(path, remedy=CHOOSE_AGAIN):
            return tuple(read_json(path, remedy=CHOOSE_AGAIN)["hears"])

    @property
    def heard(self) -> P:
        """The problem as the compared networks hear it."""
        return self.problem.hearing(self.hears)

    def heard_by(self, name: str) -> P:
        """The problem as the networks of a model hear it."""
        sources, factors = network_and_sources(name)[1], self.factors(name)
        problem = self.heard if sources is None else self.problem.hearing(sources)
        return problem.weighed(factors) if factors else problem

    @property
    def front(self) -> dict[str, Any]:
        """What `choose_point` has left; nothing where no front was trained."""
        path = self.folder / FRONT_FILE
        if not path.is_file():
            return {}
        with reading(path, remedy=FRONT_AGAIN):
            return dict(read_json(path, remedy=FRONT_AGAIN))

    def factors(self, name: str) -> dict[str, float]:
        """Factors of the losses by task in the training of a model; tasks without one have 1.

        A point of the front has them by its number, and the searched network those of the point
        that was chosen.
        """
        point = point_of(name)
        if point is not None:
            tasks = self.problem.tasks[point - 1 : point] if point else ()
            return {task.name: self.config.aim.emphasis for task in tasks}
        searched = network_and_sources(name)[0] == "searched"
        return dict(self.front.get("factors", {})) if searched else {}

    def model_hearing(self, network: str, sources: Sequence[str]) -> str:
        """The name of a network that hears these sources, at the cost that `equal_cost` says.

        If that is a network that the study trains anyhow, it is the same model.
        """
        everything, compared = tuple(self.problem.sources), dict(self.config.models())
        at_equal_cost = self.config.evidence.budget or (
            network == "shared_bottom" and self.hears == everything
        )
        if network in compared and at_equal_cost and tuple(sources) == self.hears:
            return network
        return model_name(network, sources)

    @cached_property
    def equal_cost(self) -> float:
        """Multiply-adds of every network by which sources and wirings are compared.

        They are the budget, or those of a shared bottom of the configured size that hears all.
        """
        if self.config.evidence.budget:
            return self._budget()
        together = fixed_layout("shared_bottom", self.config, self.problem)
        return self._multiply_adds(together, self.problem)

    def has(self, item: WorkItem) -> bool:
        """Whether a work item is done."""
        if item.search:
            return self._search_file(item.name, item.seed).is_file()
        return (self.model_folder(item.name, item.seed) / "trained.json").is_file()

    def check(self, items: Iterable[WorkItem]) -> None:
        """Refuse a budget that a network cannot meet, as far as that is known before any search.

        Raises:
            ConfigError: a fixed network or a single-task network cannot be given the size.
        """
        if not self.config.evidence.budget:
            return
        names = {item.name for item in items if not self.has(item)}
        for name in sorted(names & {*FIXED, "single_task"}):
            try:
                if name == "single_task":
                    for task in self.problem.tasks:
                        self._layout_alone(self.heard.only(task))
                else:
                    self.layout(name, self.config.seed)
            except ConfigError as error:
                raise ConfigError(f"evidence.budget: {name}: {error}") from None

    def without(
        self, lost: Collection[WorkItem], ablation: Collection[WorkItem] = ()
    ) -> "Study[P, C]":
        """The study that was done, if these items were not; see `priority.without`."""
        return replace(self, config=without(self.config, lost, ablation)) if lost else self

    def do(self, item: WorkItem) -> None:
        """Do a work item unless it is done."""
        if item.search:
            self.record(item.name, item.seed)
        else:
            self.trained(item.name, item.seed)

    def search_result(self, name: str, seed: int) -> SearchResult:
        """The route of one search; searched now unless it was before."""
        record = self.record(name, seed)
        with reading(self._search_file(name, seed), remedy=SEARCH_AGAIN):
            return SearchResult.from_json(record)

    def decisive(self, seed: int) -> SearchResult:
        """The search that ended with the searched network of a seed.

        That is its own or, where searches raced, one of those that vote.
        """
        seeds = voters(self.config, seed)
        searches = {voter: self.search_result("searched", voter) for voter in seeds}
        return searches[elected(searches)]

    def record(self, name: str, seed: int) -> SearchRecord:
        """The record of one search; searched now unless it was before."""
        path = self._search_file(name, seed)
        if not path.is_file():
            record = self._searched(name, seed)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, record, allow_nan=True)
        # Read back even if it was just written, so that a resumed study sees the same values.
        return read_json(path, remedy=SEARCH_AGAIN)

    def trained(self, name: str, seed: int) -> ModelResult:
        """The result of one model; trained now unless it was before.

        `name` is a searched model, `single_task`, `random_route`, a fixed network or a baseline,
        perhaps with the sources that it hears (see `model_name`); baselines hear all.
        """
        fitted = partial(self._fitted, name, seed)
        result = trained_once(self.model_folder(name, seed), fitted)
        kind, going_on = network_and_sources(name)[0], partial(self._going_on, model=name)
        files = [going_on(of, seed) for of in (result.curves if kind == "single_task" else [name])]
        for file in [*files, *([self._checkpoint(name, seed)] if name == "searched" else [])]:
            file.unlink(missing_ok=True)
        return result

    def take_part(self, item: WorkItem) -> None:
        """Do a work item as one of several ranks; the first of them keeps its result."""
        (self._searched if item.search else self._fitted)(item.name, item.seed)

    def wiring(self, name: str, seed: int) -> Layout:
        """The layout of a network that was trained, as it was saved."""
        folder = self.model_folder(name, seed)
        with reading(folder / "network.json", remedy=TRAIN_AGAIN):
            return Layout.from_json(json.loads((folder / "network.json").read_text())["layout"])

    def layout(self, name: str, seed: int) -> Layout:
        """The layout of a network that is to be trained, at the size that the study asks for."""
        network, sources = network_and_sources(name)
        layout, problem = self._unscaled(network, seed), self.heard_by(name)
        if sources is not None:
            return self._near_cost(layout, problem, self.equal_cost)
        # A search meets the budget by itself, and every share is a share of the full grid.
        if network in ("searched", "full_grid") or not self.config.evidence.budget:
            return layout
        return self._at_cost(layout, problem, self._budget())

    def model_folder(self, name: str, seed: int) -> Path:
        """Where a model is saved."""
        return self.folder / "models" / name / str(seed)

    def _unscaled(self, network: str, seed: int) -> Layout:
        """The layout of a network at the size of the configuration, or of its search."""
        if network == "searched":
            return Layout.from_json(self.decisive(seed).layout)
        if network in SEARCHED:
            record = self.record(network, seed)
            with reading(self._search_file(network, seed), remedy=SEARCH_AGAIN):
                if network == "branched":
                    return TreeSearchResult.from_json(record).layout
                return Layout.from_json(record["layout"])
        if network == "random_route":
            return self._random_layout(seed)
        return fixed_layout(network, self.config, self.heard)

    def _search_file(self, name: str, seed: int) -> Path:
        return self.folder / "search" / f"{name}-{seed}.json"

    def _checkpoint(self, name: str, seed: int) -> Path:
        folder = self.folder / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}-{seed}.safetensors"

    def _going_on(self, name: str, seed: int, *, model: str) -> Path:
        """Where the training of a model's network goes on: where a race of it left it, if any."""
        sample = sample_of(model)
        if sample is not None and sample_of(name) is None:
            name = on_sample(name, sample)
        raced = name == "searched" and self.has(WorkItem(name, seed, search=True))
        if raced and self.factors(name):
            name = "searched-aimed"  # in the race, losses counted as they are
        elif raced and self.search_result(name, seed).layout != self.decisive(seed).layout:
            name = "searched-elected"
        return self._checkpoint(name, seed)

    def _searched(self, name: str, seed: int) -> SearchRecord:
        return self._tree(seed) if name == "branched" else self._route(name, seed)

    def _fitted(self, name: str, seed: int) -> tuple[Network | None, ModelResult]:
        on_progress = self._progress_of(WorkItem(name, seed))
        kind = network_and_sources(name)[0]
        problem = self.problem if kind in self.kind.baselines else self.heard_by(name)
        sample = sample_of(name)
        problem = problem if sample is None else problem.resampled(sample)
        if kind in self.kind.baselines:
            on_progress(name, 0, 1, None)
            result = self.kind.baselines[kind](problem, self.config, seed)
            on_progress(name, 1, 1, None)
            return None, result
        going_on = partial(self._going_on, model=name)
        fit = Fit(problem, self.config, seed, on_progress, going_on)
        if kind == "single_task":
            return None, fit.single_tasks(self._layout_alone)
        return fit.network(name, self.layout(name, seed))

    def _route(self, name: str, seed: int) -> SearchRecord:
        settings = search_settings(name, self.config)
        if name == "searched" and self.config.evidence.budget and self.heard is not self.problem:
            # What dropped sources no longer cost, the wiring may.
            most = Budget(multiply_adds=round(self._budget()))
            settings = replace(settings, search=replace(settings.search, budget=most))
        result = search(
            search_space(name, self.config, self.heard),
            self.heard,
            settings,
            seed=seed,
            on_progress=self._progress_of(WorkItem(name, seed, search=True)),
            checkpoint=self._checkpoint(name, seed),
        )
        return result.to_json()

    def _tree(self, seed: int) -> SearchRecord:
        tree = search_tree(
            self.heard,
            self.config,
            seed=seed,
            on_progress=self._progress_of(WorkItem("branched", seed, search=True)),
            share=self.config.search.branches,
            unit=self.config.search.branches_of,
            checkpoint=self._checkpoint("branched", seed),
        )
        return tree.to_json()

    def _random_layout(self, seed: int) -> Layout:
        """A random route of the space, drawn anew while it is the network of the same search.

        A space with no other route has no such control: it stays the searched network.
        """
        space = search_space("searched", self.config, self.heard)
        searched = Layout.from_json(self.decisive(seed).layout)
        random = np.random.default_rng(seed + 7919)
        for _ in range(RANDOM_DRAWS):
            routes = random_routes(space, max_edges=self.config.grid.max_edges, random=random)
            layout = prune(space, routes).layout
            if not same_wiring(layout, searched):
                break
        return layout

    def _layout_alone(self, problem: Problem) -> Layout:
        """The network of one task alone; with a budget, all of them share it equally."""
        layout = fixed_layout("shared_bottom", self.config, problem)
        if not self.config.evidence.budget:
            return layout
        return self._at_cost(layout, problem, self._budget() / len(self.problem.tasks))

    def _budget(self) -> float:
        """Multiply-adds of a network at matched cost, embeddings and heads included."""
        full = fixed_layout("full_grid", self.config, self.problem)
        return self.config.evidence.budget * self._multiply_adds(full, self.problem)

    def _at_cost(self, layout: Layout, problem: Problem, target: float) -> Layout:
        return matched(layout, target, lambda sized: self._multiply_adds(sized, problem))

    def _near_cost(self, layout: Layout, problem: Problem, target: float) -> Layout:
        """The nearest that widths allow: a comparison that is stated must not end the job."""
        cost = self._multiply_adds(layout, problem)
        if cost == target:
            return layout
        size = partial(self._multiply_adds, problem=problem)
        return matched(layout, target, size, tolerance=math.inf)

    def _multiply_adds(self, layout: Layout, problem: Problem) -> float:
        return float(network_cost(problem, layout, self.config.sizes).multiply_adds)

    def _progress_of(self, item: WorkItem) -> OnProgress:
        """Progress under the item's name, with the task's where it trains a network a task."""

        def on_progress(what: str, done: int, total: int, check: ValidationCheck | None) -> None:
            task = "" if item.search else what.removeprefix(item.name)
            self.on_progress(f"{item}{task}", done, total, check)

        return on_progress

"""The output folder of a job: files that are whole or absent, and never of two studies.

Train every model of a study once, keep what it scored, and never train it again.

Each model and seed has a folder under `models/`, each searched route a file under `search/`. A
study that was killed goes on: what is finished is read back, an unfinished training or search
continues from its checkpoint.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from recmtl.atomic import write_json
from recmtl.errors import ConfigError
from recmtl.grid import Layout, Routes, expected_multiply_adds, matched, prune
from recmtl.job.fit import Fit, ModelResult
from recmtl.job.problem_kind import ProblemKind
from recmtl.job.work_items import (
    FIXED,
    SEARCHED,
    WorkItem,
    fixed_layout,
    search_settings,
    search_space,
)
from recmtl.policies import random_routes
from recmtl.search.search import SearchResult, search
from recmtl.search.tree_search import TreeSearchResult, search_tree
from recmtl.train.config import Config
from recmtl.train.loop import OnProgress, ValidationCheck, silent
from recmtl.train.problem import Problem, network_cost

__all__ = ["Study", "refuse_another_study"]


def refuse_another_study(out: Path, facts: Mapping[str, Any]) -> None:
    """Models of other data or settings must not be taken for those of this job.

    Raises:
        ConfigError: the folder was begun with other facts.
    """
    asked = json.loads(json.dumps(facts))
    path = out / "study.json"
    if not path.is_file():
        write_json(path, asked)
    before = json.loads(path.read_text())
    changed = [name for name in asked if before.get(name) != asked[name]]
    if changed:
        raise ConfigError(
            f"{out}: holds models of another {', '.join(changed)}; "
            "give another --out, or delete its models/, search/ and study.json"
        )


P = TypeVar("P", bound=Problem)
C = TypeVar("C", bound=Config)


@dataclass(frozen=True)
class Study(Generic[P, C]):
    """Where a study lives, what it is trained on and how.

    Attributes:
        folder: holds all that is found and trained.
        kind: of the problem: a worker process opens the problem with it.
        problem: what the models are trained on.
        config: how they are trained.
        on_progress: called with the progress of every work item.
    """

    folder: Path
    kind: ProblemKind[P, C]
    problem: P
    config: C
    on_progress: OnProgress = silent

    def has(self, piece: WorkItem) -> bool:
        """Whether a piece is done."""
        done = self._found_file(piece.name, piece.seed)
        if not piece.search:
            done = self._model_folder(piece.name, piece.seed) / "trained.json"
        return done.is_file()

    def check(self, pieces: Iterable[WorkItem]) -> None:
        """Refuse a budget that a network cannot meet, as far as that is known before any search.

        Raises:
            ConfigError: some fixed or single-task network cannot be given the size.
        """
        if not self.config.evidence.budget:
            return
        names = {piece.name for piece in pieces if not self.has(piece)}
        for name in sorted(names & {*FIXED, "single_task"}):
            try:
                if name == "single_task":
                    for task in self.problem.tasks:
                        self._layout_alone(self.problem.only(task))
                else:
                    self.layout(name, self.config.seed)
            except ConfigError as error:
                raise ConfigError(f"evidence.budget: {name}: {error}") from None

    def do(self, piece: WorkItem) -> None:
        """Do a piece of work unless it is done."""
        if piece.search:
            self.record(piece.name, piece.seed)
        else:
            self.trained(piece.name, piece.seed)

    def found(self, name: str, seed: int) -> SearchResult:
        """The route of one search; searched if it is not there yet."""
        saved = self.record(name, seed)
        return SearchResult(**{**saved, "routes": Routes.from_json(saved["routes"])})

    def record(self, name: str, seed: int) -> dict[str, Any]:
        """JSON of the `SearchResult` of a search, or of the `TreeSearchResult` of `branched`."""
        path = self._found_file(name, seed)
        if path.is_file():
            saved: dict[str, Any] = json.loads(path.read_text())
            return saved
        record = self._branches(seed) if name == "branched" else self._found(name, seed)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, record, allow_nan=True)
        made: dict[str, Any] = json.loads(path.read_text())
        return made

    def trained(self, name: str, seed: int) -> ModelResult:
        """One model: a searched one, `single_task`, `random_route`, a fixed one or a baseline."""
        folder = self._model_folder(name, seed)
        saved = ModelResult.load(folder)
        if saved is not None:
            return saved
        folder.parent.mkdir(parents=True, exist_ok=True)
        on_progress = self._watch(WorkItem(name, seed))
        fit = Fit(
            self.problem, self.config, seed, on_progress, lambda n: self._checkpoint(n, seed)
        )
        model = None
        if name in self.kind.baselines:
            on_progress(name, 0, 1, None)
            trained = self.kind.baselines[name](self.problem, self.config, seed)
            on_progress(name, 1, 1, None)
        elif name == "single_task":
            trained = fit.single_tasks(self._layout_alone)
        else:
            model, trained = fit.network(name, self.layout(name, seed))
        trained.save(folder, model)
        for network in trained.curves:
            self._checkpoint(network, seed).unlink(missing_ok=True)
        return trained

    def wiring(self, name: str, seed: int) -> Layout:
        """How the tasks share in a network that was trained."""
        network = self._model_folder(name, seed) / "network.json"
        return Layout.from_json(json.loads(network.read_text())["layout"])

    def layout(self, name: str, seed: int) -> Layout:
        """How the tasks share in a network, at the size that the study asks for."""
        if name == "branched":
            layout = TreeSearchResult.from_json(self.record(name, seed)).layout
        elif name in SEARCHED:
            layout = Layout.from_json(self.record(name, seed)["layout"])
        elif name == "random_route":
            layout = self._random_layout(seed)
        else:
            layout = fixed_layout(name, self.config, self.problem)
        # A search meets the budget by itself, and the full grid is what shares are counted of.
        if name in ("searched", "full_grid") or not self.config.evidence.budget:
            return layout
        return self._at_cost(layout, self.problem, self._budget())

    def _found(self, name: str, seed: int) -> dict[str, Any]:
        space = search_space(name, self.config, self.problem)
        settings = search_settings(name, self.config)
        on_progress = self._watch(WorkItem(name, seed, search=True))
        checkpoint = self._checkpoint(name, seed)
        found = search(
            space,
            self.problem,
            settings,
            seed=seed,
            on_progress=on_progress,
            checkpoint=checkpoint,
        )
        return {**asdict(found), "routes": found.routes.to_json()}

    def _branches(self, seed: int) -> dict[str, Any]:
        on_progress = self._watch(WorkItem("branched", seed, search=True))
        settings = self.config.search
        found = search_tree(
            self.problem,
            self.config,
            seed=seed,
            on_progress=on_progress,
            share=settings.branches,
            unit=settings.branches_of,
            checkpoint=self._checkpoint("branched", seed),
        )
        return found.to_json()

    def _random_layout(self, seed: int) -> Layout:
        space = search_space("searched", self.config, self.problem)
        lane = self.problem.lane_shape(self.config.sizes)
        width, pixels = lane.input_width, lane.pixels
        decisions = self.found("searched", seed).routes.decisions(space)
        cost = expected_multiply_adds(space, decisions, input_width=width, pixels=pixels)
        drawn = random_routes(
            space,
            max_edges=self.config.grid.max_edges,
            multiply_adds=float(cost),
            seed=seed + 7919,
            input_width=width,
            pixels=pixels,
        )
        return prune(space, drawn).layout

    def _layout_alone(self, problem: Problem) -> Layout:
        """The network of a task on its own; with a budget, all of them share it equally."""
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

    def _multiply_adds(self, layout: Layout, problem: Problem) -> float:
        return float(network_cost(problem, layout, self.config.sizes).multiply_adds)

    def _watch(self, piece: WorkItem) -> OnProgress:
        """Tell of a piece under its own name; of a network among several, under that one's."""

        def on_progress(what: str, done: int, total: int, check: ValidationCheck | None) -> None:
            part = what.removeprefix(piece.name) if not piece.search else ""
            self.on_progress(f"{piece}{part}", done, total, check)

        return on_progress

    def _found_file(self, name: str, seed: int) -> Path:
        return self.folder / "search" / f"{name}-{seed}.json"

    def _model_folder(self, name: str, seed: int) -> Path:
        return self.folder / "models" / name / str(seed)

    def _checkpoint(self, name: str, seed: int) -> Path:
        folder = self.folder / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}-{seed}.safetensors"

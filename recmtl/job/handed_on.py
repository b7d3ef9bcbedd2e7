"""What the steps of a job take and hand on: the job's context, and the result of every step."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from recmtl.data.encoded_log import EncodedLog, LogSplit
from recmtl.data.row_encoder import RowEncoder
from recmtl.engines.folds import RowEngine
from recmtl.job.fit import ModelResult, blended_result
from recmtl.job.outcome import Models, Results, TabularStudy
from recmtl.job.work.agenda import OnOutlook, unseen
from recmtl.model import TabularModel, load_model
from recmtl.schema import Schema
from recmtl.search.search import SearchResult
from recmtl.serve.calibration.calibrators import Calibrators
from recmtl.tracking import Tracker
from recmtl.train.blend import FittedBlend, ForestLogits, fit_blend
from recmtl.train.config import Config, Training
from recmtl.train.loop import OnProgress
from recmtl.train.problem import Part
from recmtl.train.tabular_problem import TabularProblem

if TYPE_CHECKING:
    # They import LightGBM.
    from recmtl.forest.forests import Forests
    from recmtl.forest.grown import GrownForests

__all__ = [
    "BundledNetwork",
    "ChosenNetwork",
    "Evaluation",
    "JobContext",
    "PreparedLog",
    "TrainedModels",
]


@dataclass(frozen=True)
class JobContext:
    """What a job was given, and where it reports.

    Attributes:
        data: Parquet file, folder or glob.
        schema: YAML file of the data's schema.
        out: the output folder.
        config: how to search, train and compare.
        tracker: of runs and models.
        on_progress: called with the progress of every step.
        console: for warnings.
        like: an earlier encoded log, whose vocabularies the input is encoded with.
        on_admitted: called once `out` holds the encoded log of the input.
        promote: `always` or `never` to make the new model champion or not, whatever the comparison
            with the present champion says; empty to follow it.
        time_limit: the seconds that the job may take; None for no limit.
        began: the job, on the clock (`time.monotonic`), from which the limit counts.
        on_outlook: called with how far the study of many networks is.
        engine: runs the passes over the rows of the log; None for this process.
    """

    data: str
    schema: Path
    out: Path
    config: Config
    tracker: Tracker
    on_progress: OnProgress
    console: Console
    like: Path | None = None
    on_admitted: Callable[[], None] = lambda: None
    promote: str = ""
    time_limit: float | None = None
    began: float = field(default_factory=time.monotonic)
    on_outlook: OnOutlook = unseen
    engine: RowEngine | None = None


@dataclass(frozen=True)
class PreparedLog:
    """An encoded log; what is read from it is read once.

    Attributes:
        log: the encoded log.
        schema: as the job was given it; `log.schema` is the copy within the encoded log.
        training: how networks are trained on it, and chosen.
        trees: its forests, if the networks hear some.
    """

    log: EncodedLog
    schema: Schema
    training: Training = field(default_factory=Training)
    trees: "GrownForests | None" = None

    @cached_property
    def encoder(self) -> RowEncoder:
        """The fitted encoder of raw rows."""
        return self.log.encoder()

    @cached_property
    def problem(self) -> TabularProblem:
        """Rows, tasks and heads, as networks are trained on them."""
        training = self.training
        return TabularProblem.of(
            self.log,
            training.stop_metric,
            training.rare_ids,
            self.trees,
            training.stop_tasks,
        )


@dataclass(frozen=True)
class ChosenNetwork:
    """The searched network that is drawn, reported and bundled.

    Attributes:
        seed: of its training.
        network: with its trained weights, in evaluation mode.
        search: how its route was found.
        result: what it scored and cost.
    """

    seed: int
    network: TabularModel
    search: SearchResult
    result: ModelResult


@dataclass(frozen=True)
class TrainedModels:
    """A study whose models are trained.

    Attributes:
        prepared: what they were trained on.
        study: the study's folder and settings.
        models: model -> seed -> what it scored and cost.
    """

    prepared: PreparedLog
    study: TabularStudy
    models: Models

    @cached_property
    def encoder(self) -> RowEncoder:
        """The encoder of raw rows, of the sources that the networks hear, or that trees read."""
        whole, heard = self.prepared.encoder, self.study.hears
        hears_all = heard == tuple(self.study.problem.sources)
        return whole if hears_all or self.forests is not None else whole.hearing(heard)

    @property
    def forests(self) -> "Forests | None":
        """The forests that the networks hear, or that are a member of the blend."""
        trees = self.prepared.trees
        is_member = self.blend is not None and self.blend.hears_forest
        return trees.forests if trees and ("trees" in self.study.hears or is_member) else None

    def encoded(self, part: Part) -> LogSplit:
        """The rows of a part of the log as `encoder` encodes them."""
        if self.encoder is self.prepared.encoder:
            return self.prepared.log.split(part)
        heard: LogSplit = getattr(self.study.heard, part)
        return heard

    @property
    def served(self) -> TabularModel:
        """What scores in the bundle: the chosen network, or a blend in which it is a member."""
        blend = None if self.blend is None else self.blend.model
        return self.chosen.network if blend is None else blend

    @property
    def served_problem(self) -> TabularProblem:
        """The rows as `served` reads them."""
        return self.study.heard if self.blend is None else self.blend.problem

    @cached_property
    def blend(self) -> FittedBlend | None:
        """What blending was found to gain; None if the configuration does not ask for it."""
        if not self.study.config.blend.enabled:
            return None
        seeds = [self.chosen.seed, *(s for s in self.models["searched"] if s != self.chosen.seed)]
        networks = {
            f"searched-{seed}": load_model(self.study.model_folder("searched", seed))
            for seed in seeds[1:]
        }
        networks = {f"searched-{self.chosen.seed}": self.chosen.network, **networks}
        trees = self.prepared.trees
        forest = None if trees is None else ForestLogits.of(trees, self.study.problem.heads)
        return fit_blend(networks, self.study.heard, forest)

    @cached_property
    def compared(self) -> Models:
        """All models, and the blend among them if it is what is served."""
        if self.blend is None or self.blend.model is None:
            return self.models
        seeds = self.models["searched"]
        members = [r for s, r in seeds.items() if f"searched-{s}" in self.blend.facts["members"]]
        result = blended_result(self.blend.model, self.blend.problem, members)
        return {**self.models, "blend": {self.chosen.seed: result}}

    @cached_property
    def chosen(self) -> ChosenNetwork:
        """The searched network that is best on validation rows by score or aim, loaded once."""
        results, aim = self.models["searched"], self.study.config.aim

        def value(seed: int) -> float:
            if aim.enabled:
                return aim.value(self.study.problem.task_scores(results[seed].validation))
            return results[seed].validation_score or -np.inf

        seed = max(results, key=value)
        network = load_model(self.study.model_folder("searched", seed))
        return ChosenNetwork(seed, network, self.study.decisive(seed), results[seed])


@dataclass(frozen=True)
class Evaluation:
    """Trained models, judged.

    Attributes:
        trained: the models.
        results: content of results.json.
        calibrators: maps of the served probabilities, fitted on validation rows.
    """

    trained: TrainedModels
    results: Results
    calibrators: Calibrators


@dataclass(frozen=True)
class BundledNetwork:
    """A bundle in `folder`, and the log that its network was trained on."""

    folder: Path
    prepared: PreparedLog

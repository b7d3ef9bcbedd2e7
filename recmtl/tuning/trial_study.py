"""The pieces of trials as work items of a study: what each trains, and which one comes first.

Every trial is a study of its own, with its configuration and perhaps its log, of which one network
is trained in rounds. Its problem has no test rows at all: nothing of them can be read.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from recmtl.atomic import new_file
from recmtl.data.columns.embedding_sizes import own_sizes, vocabulary_sizes
from recmtl.data.encoded_log import EncodedLog
from recmtl.errors import ConfigError
from recmtl.job.problem_kind import LOG, TABULAR_PROBLEMS
from recmtl.job.study import Study
from recmtl.job.work.agenda import Agenda
from recmtl.job.work.forecast import Forecast
from recmtl.job.work.items import SEARCHED, WorkItem
from recmtl.train.config import Config
from recmtl.train.loop import train
from recmtl.train.problem import Predictions
from recmtl.train.tabular_problem import TabularProblem
from recmtl.train.training_state import ValidationCheck
from recmtl.tuning.space import config_with, schema_with, sizes_of
from recmtl.tuning.trials import Piece, RoundResult, Trial

__all__ = ["TrialStudy", "scored_rows", "trial_agenda", "trial_problem"]

PREDICTIONS = "on_validation.safetensors"


class TrialStudy(Study[TabularProblem, Config]):
    """A study whose work items are the pieces of trials; its configuration is that of trial 0."""

    def has(self, item: WorkItem) -> bool:
        """Whether a piece is done."""
        return isinstance(item, Piece) and item.file(self.folder).is_file()

    def do(self, item: WorkItem) -> None:
        """Train a trial on to the end of a round, unless that is done.

        Values that only together are refused end the trial, and not the tuning.

        Raises:
            ConfigError: of trial 0, the configuration itself is refused.
        """
        if not isinstance(item, Piece):
            raise TypeError(f"{item}: is no piece of a trial")
        if self.has(item):
            return
        began = time.process_time()
        item.folder(self.folder).mkdir(parents=True, exist_ok=True)
        try:
            result = self._trained(item)
        except ConfigError as fault:
            if item.trial == 0:
                raise
            result = RoundResult(math.nan, failed=str(fault))
        replace(result, cpu_s=time.process_time() - began).save(item.file(self.folder))

    def _trained(self, item: Piece) -> RoundResult:
        trial = Trial.begun(self.folder, item.trial)
        if trial is None:
            raise ConfigError(f"{Trial.folder_of(self.folder, item.trial)}: holds no settings")
        # One search of this seed, and no vote with others.
        config = replace(config_with(self.config, trial.values), seed=item.seed)
        config = replace(config, search=replace(config.search, votes=1))
        problem = trial_problem(self.folder, trial, config)
        folder = item.folder(self.folder)
        study = Study(folder, self.kind, problem, config, self.on_progress)
        layout = study.layout(item.name, item.seed)
        torch.manual_seed(item.seed)
        network = problem.network(layout, config.sizes)

        def on_progress(what: str, done: int, total: int, check: ValidationCheck | None) -> None:
            rows = math.ceil(item.until * total)
            self.on_progress(what, min(done, rows), rows, check)

        train(
            network,
            problem,
            config.training,
            seed=item.seed,
            name=str(item),
            on_progress=on_progress,
            checkpoint=folder / "checkpoint.safetensors",
            until=item.until,
        )
        if item.until == 1.0:
            with new_file(folder / PREDICTIONS) as partial:
                scores = problem.scored_validation(network).items()
                save_file({n: np.ascontiguousarray(column) for n, column in scores}, str(partial))
        metrics = problem.evaluate(network)
        tasks = problem.task_scores(metrics)
        aim = config.aim
        score = aim.value(tasks) if aim.enabled else problem.score(metrics)
        return RoundResult(score, tasks, metrics, multiply_adds=network.cost().multiply_adds)


def trial_problem(out: Path, trial: Trial, config: Config) -> TabularProblem:
    """What a trial is trained and measured on: its train and validation rows, and no test row."""
    folder, sizes = trial.log_folder(out), sizes_of(trial.values)
    problem = TABULAR_PROBLEMS.open(folder, config)
    if sizes:
        log = EncodedLog.open(folder / LOG)
        schema, vocabularies = schema_with(log.schema, sizes), log.encoder().vocabularies
        others = own_sizes(schema, vocabularies, vocabulary_sizes(schema, vocabularies))
        problem = replace(problem, encoding=replace(problem.encoding, own_sizes=others))
    return replace(problem, test=problem.test.take(np.arange(0)))


def scored_rows(out: Path, item: Piece) -> Predictions:
    """The scored columns of the validation rows `[R]` of a training that was done to its end."""
    return load_file(str(item.folder(out) / PREDICTIONS))


def trial_agenda(
    study: Study[Any, Any], items: Sequence[WorkItem], *, done: Sequence[WorkItem], processes: int
) -> Agenda:
    """What comes next of the pieces of trials: trial 0, never given up, then the last rounds."""
    rows, tasks = len(study.problem.train), len(study.problem.tasks)
    forecast = _TrialForecast(study.config, tasks=tasks, rows=rows, seconds_a_unit=study.limit.unit)
    pieces = sorted(
        (item for item in items if isinstance(item, Piece) and item.trial),
        key=lambda piece: (-piece.until, piece.seed, piece.trial),
    )
    needed = [item for item in items if item not in pieces]
    groups: list[Sequence[WorkItem]] = [needed, *([piece] for piece in pieces)]
    return Agenda(groups, forecast, done=done, processes=processes, until=study.limit.until)


class _TrialForecast(Forecast):
    """Of a piece its part of a training, whatever other pieces took."""

    def units(self, item: WorkItem) -> float:
        """The guess, in trainings of a shared bottom."""
        if not isinstance(item, Piece):
            return super().units(item)
        searches = item.since == 0.0 and item.name in SEARCHED
        whole = super().units(WorkItem(item.name, item.seed))
        search = super().units(WorkItem(item.name, item.seed, search=True)) if searches else 0.0
        return whole * (item.until - item.since) + search

    def rows(self, item: WorkItem) -> int:
        """The rows that a piece passes over."""
        share = item.until - item.since if isinstance(item, Piece) else 1.0
        return round(super().rows(WorkItem(item.name, item.seed)) * share)

    def seconds(self, item: WorkItem) -> float | None:
        """By what a unit takes: a piece of another round is no measure."""
        unit = self._unit()
        return None if unit is None else unit * self.units(item)

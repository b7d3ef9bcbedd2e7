"""The kinds of problem on which a study can train: how each is opened, and its baselines.

Tables are one kind, defined here; images are another, defined in `recmtl.vision.job`. A study
carries its kind, and so do its worker processes: a kind is pickled by the names of its functions.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from recmtl.baselines import BaselineResult, constant
from recmtl.data.encoded_log import EncodedLog, LogSplit
from recmtl.evaluate.task_metrics import evaluate
from recmtl.job.fit import ModelResult
from recmtl.train.config import Config
from recmtl.train.problem import Problem
from recmtl.train.tabular_problem import TabularProblem

__all__ = ["LOG", "TABULAR_PROBLEMS", "ProblemKind"]

LOG = "log"
"""Folder of the encoded log in the output folder of a job."""

P = TypeVar("P", bound=Problem)
C = TypeVar("C", bound=Config)


@dataclass(frozen=True)
class ProblemKind(Generic[P, C]):
    """What a study must know about a kind of problem.

    Attributes:
        name: of the rows, such as `tables`.
        config_class: class of the configuration that a study of this kind reads.
        open: (output folder, configuration) -> problem, in any process.
        baselines: models that are no networks, by name: (problem, configuration, seed) -> result.
    """

    name: str
    config_class: type[C]
    open: Callable[[Path, C], P]
    baselines: Mapping[str, Callable[[P, C, int], ModelResult]] = field(default_factory=dict)


def open_tables(folder: Path, config: Config) -> TabularProblem:
    """Open the encoded log in a job's output folder as a problem."""
    training = config.training
    return TabularProblem.of(EncodedLog.open(folder / LOG), training.stop_metric, training.rare_ids)


def fit_lightgbm(problem: TabularProblem, config: Config, seed: int) -> ModelResult:
    """Fit one LightGBM a task."""
    # Here, since it takes as long to load as PyTorch does, and most processes fit none.
    from recmtl.baselines import lightgbm

    threads = config.threads or None
    return _fitted(problem, partial(lightgbm.fit_predict, threads=threads, seed=seed))


def fit_logistic(problem: TabularProblem, config: Config, seed: int) -> ModelResult:
    """Fit one linear model a task; the seed changes nothing."""
    # Here, since its optimiser takes long to load, and most processes fit none.
    from recmtl.baselines import logistic

    return _fitted(problem, logistic.fit_predict)


def fit_constant(problem: TabularProblem, config: Config, seed: int) -> ModelResult:
    """Predict the base rate or the mean of each task's train rows."""
    return _fitted(problem, constant.fit_predict)


def _fitted(problem: TabularProblem, fit: Callable[..., BaselineResult]) -> ModelResult:
    """Fit on train rows; one call scores validation and test rows."""
    validation, test = problem.validation, problem.test
    names = LogSplit.__annotations__
    both = {n: np.concatenate((getattr(validation, n), getattr(test, n))) for n in names}
    fitted = fit(
        problem.train,
        validation,
        LogSplit(**both),
        problem.tasks,
        problem.encoding,
        classes={head.name: head.classes for head in problem.heads if head.classes},
    )
    columns = fitted.predictions.items()
    on_validation = {column: scores[: len(validation)] for column, scores in columns}
    return ModelResult(
        {column: scores[len(validation) :] for column, scores in columns},
        fitted.cost,
        validation=evaluate(
            on_validation,
            np.asarray(validation.labels),
            problem.tasks,
            weight=validation.varying_weight,
        ),
        on_validation=on_validation,
    )


TABULAR_PROBLEMS = ProblemKind(
    "tables",
    Config,
    open_tables,
    {"lightgbm": fit_lightgbm, "logistic": fit_logistic, "constant": fit_constant},
)

"""The kinds of problem on which a study can train: how each is opened, and its baselines.

Tables are one kind, defined here; images are another, defined in `recmtl.vision.job`. A study
carries its kind, and so do its worker processes: a kind is pickled by the names of its functions.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from recmtl.baselines import BaselineResult, constant
from recmtl.data.encoded_log import EncodedLog, LogSplit
from recmtl.evaluate.task_metrics import evaluate
from recmtl.job.fit import ModelResult
from recmtl.train.config import Config
from recmtl.train.loop import OnProgress, silent
from recmtl.train.problem import Problem
from recmtl.train.tabular_problem import TabularProblem

if TYPE_CHECKING:
    from recmtl.forest.grown import GrownForests  # it imports LightGBM

__all__ = ["LOG", "TABULAR_PROBLEMS", "ProblemKind", "trees_fact", "trees_of"]

LOG, FOREST = "log", "forest"
"""Folders of the encoded log and of its forests in the output folder of a job."""

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


def trees_of(
    out: Path,
    log: EncodedLog,
    config: Config,
    *,
    threads: int = 1,
    on_progress: OnProgress = silent,
) -> "GrownForests | None":
    """The forests in an output folder, grown now unless they were before; None without trees."""
    if not config.trees.enabled:
        return None
    # Here, since LightGBM is slow to load, and most jobs grow no trees.
    from recmtl.forest.grown import grow_forests

    return grow_forests(
        log,
        out / FOREST,
        config.trees,
        threads=threads,
        seed=config.seed,
        on_progress=lambda what, done, total: on_progress(f"trees: {what}", done, total, None),
    )


def trees_fact(config: Config) -> dict[str, Any]:
    """What the results of a study depend on, of its trees; see `refuse_another_study`."""
    return {"trees": asdict(config.trees) if config.trees.enabled else "none"}


def open_tables(folder: Path, config: Config) -> TabularProblem:
    """Open the encoded log in a job's output folder as a problem."""
    log, training = EncodedLog.open(folder / LOG), config.training
    trees = trees_of(folder, log, config)
    problem = TabularProblem.of(
        log, training.stop_metric, training.rare_ids, trees, training.stop_tasks
    )
    return problem.sampled(training.rows)


def fit_lightgbm(problem: TabularProblem, config: Config, seed: int) -> ModelResult:
    """Fit one LightGBM a task, tuned and bagged as the configuration says."""
    # Here, since it takes as long to load as PyTorch does, and most processes fit none.
    from recmtl.baselines import lightgbm

    settings = config.evidence.lightgbm
    fit = partial(
        lightgbm.fit_predict,
        threads=config.threads or None,
        seed=seed,
        settings=settings,
        bag=settings.bag,
    )
    return _fitted(problem, fit)


def fit_logistic(problem: TabularProblem, config: Config, seed: int) -> ModelResult:
    """Fit one linear model a task; the seed changes nothing."""
    # Here, since its optimiser takes long to load, and most processes fit none.
    from recmtl.baselines import logistic

    return _fitted(problem, logistic.fit_predict)


def fit_constant(problem: TabularProblem, config: Config, seed: int) -> ModelResult:
    """Predict the base rate or the mean of each task's train rows."""
    return _fitted(problem, constant.fit_predict)


def _fitted(problem: TabularProblem, fit: Callable[..., BaselineResult]) -> ModelResult:
    """Fit on train rows; one call scores validation and test rows.

    A baseline hears no trees: with them it would know what LightGBM knows.
    """
    problem = problem.hearing([source for source in problem.sources if source != "trees"])
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
            problem.ranked(validation),
            validation.varying_weight_by_task,
        ),
        on_validation=on_validation,
    )


TABULAR_PROBLEMS = ProblemKind(
    "tables",
    Config,
    open_tables,
    {"lightgbm": fit_lightgbm, "logistic": fit_logistic, "constant": fit_constant},
)

"""A blend of trained networks, and of the forests of their log, fitted on validation rows.

The first network is the one that is chosen; a task whose blend surely loses on rows that had no
part in its weights keeps that network alone, and a member without any weight is left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from recmtl.data.encoded_log import LogSplit
from recmtl.evaluate.blend_weights import BlendFit, TaskLogits, judge_blend
from recmtl.evaluate.label_space import defined_rows, task_position, weight_of
from recmtl.model import BlendedModel, TabularModel
from recmtl.model.heads import HeadSpec
from recmtl.train.stop_metric import folds_of_rows
from recmtl.train.tabular_problem import TabularProblem

if TYPE_CHECKING:
    from recmtl.forest.grown import GrownForests  # it imports LightGBM

__all__ = ["FOREST", "FittedBlend", "ForestLogits", "fit_blend"]

FOLDS = 8
MOST_ROWS = 200_000
"""Rows from which weights are fitted: more say nothing that a few numbers could hold."""
BATCH_ROWS = 4096
FOREST = "forest"


@dataclass(frozen=True)
class ForestLogits:
    """What the forests of a log say of its rows.

    Attributes:
        places: for each task the places of its logits among the F fields, or none.
        validation: `[R, F]`, as `Forests.logits` gives them.
        test: the same of the test rows.
    """

    places: tuple[tuple[int, ...], ...]
    validation: npt.NDArray[np.float64]
    test: npt.NDArray[np.float64]

    @classmethod
    def of(cls, trees: "GrownForests", heads: Sequence[HeadSpec]) -> "ForestLogits":
        """Those of the forests of a log; of tasks whose heads can be averaged."""
        of_forests = trees.forests.places([head.name for head in heads])
        places = tuple(
            at if head.is_averaged else () for at, head in zip(of_forests, heads, strict=True)
        )
        return cls(places, trees.logits("validation"), trees.logits("test"))

    @property
    def fields(self) -> int:
        """F."""
        return int(self.validation.shape[1])


@dataclass(frozen=True)
class FittedBlend:
    """What was fitted, and what is served.

    Attributes:
        model: the blend; None where no task is blended.
        problem: the rows as `model` reads them.
        facts: JSON: `members`; and by task `weights` of the members, `gain` in loss on held-out
            validation rows, its standard `error`, and whether it is `taken`.
    """

    model: BlendedModel | None
    problem: TabularProblem
    facts: Mapping[str, Any]

    @property
    def hears_forest(self) -> bool:
        """Whether a forest is a member."""
        return self.model is not None and self.model.forest is not None


def fit_blend(
    networks: Mapping[str, TabularModel],
    problem: TabularProblem,
    forest: ForestLogits | None = None,
) -> FittedBlend:
    """Fit the weights of every task on validation rows.

    Args:
        networks: name -> network, the chosen one first; in evaluation mode.
        problem: the rows that they hear.
        forest: a further member.
    """
    names = [*networks, *([FOREST] if forest is not None else [])]
    everyone = _equal_blend(list(networks.values()), forest)
    rows = problem.validation if forest is None else _with(problem.validation, forest.validation)
    fits = _fits(everyone, rows, problem)
    weights = np.stack([f.weights if f.taken else np.eye(len(names))[0] for f in fits], 1)
    facts = {
        "members": [n for n, used in zip(names, np.any(weights > 0, axis=1), strict=True) if used],
        "tasks": {
            task.name: _facts(dict(zip(names, served, strict=True)), fit)
            for task, fit, served in zip(
                problem.tasks, fits, weights.T.round(4).tolist(), strict=True
            )
        },
    }
    if not any(fit.taken for fit in fits):
        return FittedBlend(None, problem, facts)
    blend = _without_unused(list(networks.values()), weights, forest)
    if forest is not None and blend.forest is not None:
        test = _with(problem.test, forest.test)
        problem = replace(problem, validation=rows, test=test)
    return FittedBlend(blend, problem, facts)


def _equal_blend(networks: Sequence[TabularModel], forest: ForestLogits | None) -> BlendedModel:
    """All members with equal weights, so that each is asked for the logits that it has."""
    tasks = len(networks[0].heads.specs)
    if forest is None:
        return BlendedModel(networks, torch.full((len(networks), tasks), 1.0 / len(networks)))
    has_logits = torch.ones(len(networks) + 1, tasks)
    has_logits[-1] = torch.tensor([float(bool(places)) for places in forest.places])
    weights = has_logits / has_logits.sum(0)
    return BlendedModel(networks, weights, forest=forest.places, fields=forest.fields)


def _without_unused(
    networks: Sequence[TabularModel], weights: npt.NDArray[np.float64], forest: ForestLogits | None
) -> BlendedModel:
    """The blend of the members that have a weight, and of the chosen network."""
    used = np.any(weights > 0, axis=1)
    used[0] = True
    kept = [network for network, is_used in zip(networks, used, strict=False) if is_used]
    has_forest = forest is not None and bool(used[-1])
    return BlendedModel(
        kept,
        torch.from_numpy(weights[used]),
        forest=forest.places if forest is not None and has_forest else None,
        fields=forest.fields if forest is not None else 0,
    )


def _with(rows: LogSplit, logits: npt.NDArray[np.float64]) -> LogSplit:
    """Rows whose last numbers are the logits of forests, as `Bundle.network_input` makes them."""
    numeric = [np.asarray(rows.numeric), np.asarray(logits).astype(np.float32)]
    return replace(rows, numeric=np.concatenate(numeric, 1))


def _fits(everyone: BlendedModel, rows: LogSplit, problem: TabularProblem) -> list[BlendFit]:
    """The weights `[M]` of every task, on some of these rows."""
    rows = rows.take(np.arange(0, len(rows), max(1, -(-len(rows) // MOST_ROWS))))
    by_batch = _logits(everyone, rows)
    labels, by_task = np.asarray(rows.labels), np.asarray(rows.weight_by_task, np.float64)
    folds, fits = folds_of_rows(np.asarray(rows.group), FOLDS), []
    for position, (task, head) in enumerate(zip(problem.tasks, problem.heads, strict=True)):
        weight = weight_of(by_task, position)
        at = np.flatnonzero(defined_rows(labels, problem.tasks, task) & (weight > 0))
        members = np.flatnonzero(everyone.weights[:, position].numpy())
        if not head.is_averaged:
            members = members[:1]
        nothing = np.empty((0, head.size), np.float32)
        columns = [np.concatenate([nothing, *(b[m][position] for b in by_batch)]) for m in members]
        label = _on_logits_scale(labels[at, task_position(problem.tasks, task.name)], head)
        logits = np.stack([column[at] for column in columns]).astype(np.float64)
        fit = judge_blend(TaskLogits(task.kind, logits, label, weight[at], folds[at]))
        weights = np.zeros(len(everyone.weights))
        weights[members] = fit.weights
        fits.append(replace(fit, weights=weights))
    return fits


@torch.inference_mode()
def _logits(everyone: BlendedModel, rows: LogSplit) -> list[list[list[npt.NDArray[np.float32]]]]:
    """Logits `[B, size]` by batch, member and task; of rows in order."""
    batches = rows.batches(batch_size=BATCH_ROWS, seed=None)
    return [
        [[logits.numpy() for logits in of_member] for of_member in members]
        for members in (everyone.member_logits(*batch.inputs) for batch in batches)
    ]


def _on_logits_scale(label: npt.NDArray[np.float32], head: HeadSpec) -> npt.NDArray[np.float64]:
    """Labels as `TaskLogits` has them."""
    values = label.astype(np.float64)
    if head.kind != "regression":
        return values
    return ((np.log1p(values) if head.transform == "log1p" else values) - head.mean) / head.std


def _facts(weights: Mapping[str, float], fit: BlendFit) -> dict[str, Any]:
    return {"weights": weights, "gain": fit.gain, "error": fit.error, "taken": fit.taken}

"""How two rankings of the same groups differ: whom both show, and what those are worth.

Only groups with more than k rows choose whom they show; those are compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recmtl.data.encoded_log import NO_GROUP
from recmtl.evaluate.gain import jackknife_error
from recmtl.evaluate.label_space import joint_labels
from recmtl.evaluate.ranking_metrics import ranking_metrics
from recmtl.schema import TaskSpec
from recmtl.train.stop_metric import folds_of_rows

__all__ = ["ListChange", "TopLists", "compare_lists"]

FOLDS = 20
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ListChange:
    """What the lists are worth for one task.

    Attributes:
        task: a binary task, of a funnel's child the event with all before it.
        champion: mean NDCG of the champion's lists.
        challenger: of the challenger's.
        error: standard error of their difference, over twenty parts of the groups.
        groups: with a relevant row, over which the means are taken.
    """

    task: str
    champion: float
    challenger: float
    error: float
    groups: int


@dataclass(frozen=True)
class TopLists:
    """Two rankings, compared.

    Attributes:
        k: rows that a list shows.
        groups: with more than k rows.
        overlap: mean share of a list that is in the other one, too; NaN without a group.
        same: share of the groups whose lists show the same rows in the same order.
        changes: of each binary task whose labels are there.
    """

    k: int
    groups: int
    overlap: float
    same: float
    changes: tuple[ListChange, ...]


def compare_lists(
    champion: Floats,
    challenger: Floats,
    group: Ints,
    *,
    k: int,
    labels: npt.NDArray[np.float32],
    tasks: Sequence[TaskSpec],
) -> TopLists:
    """Compare the lists of the k best rows of each group by two scores `[R]`.

    Args:
        champion: scores by which the champion ranks.
        challenger: scores by which the challenger ranks.
        group: codes `[R]`; rows without a group are left out.
        k: rows that a list shows.
        labels: `[R, T]`, NaN where not known; a group with an unknown row has no NDCG.
        tasks: in the order of the labels.
    """
    _, member, sizes = np.unique(group, return_inverse=True, return_counts=True)
    chooses = (sizes[member] > k) & (group != NO_GROUP)
    rows = np.flatnonzero(chooses)
    member = np.unique(member[rows], return_inverse=True)[1]
    groups = int(member.max()) + 1 if len(rows) else 0
    ranks = [_ranks(scores[rows], member) for scores in (champion, challenger)]
    shown = [rank < k for rank in ranks]
    both = np.bincount(member[shown[0] & shown[1]], minlength=groups)
    moved = np.bincount(member[(shown[0] | shown[1]) & (ranks[0] != ranks[1])], minlength=groups)
    changes = []
    by_name = {"champion": champion[rows], "challenger": challenger[rows]}
    for task in tasks:
        if task.kind == "binary":
            label = joint_labels(labels[rows], tasks, task)
            changes += _change(task, label, member, by_name, k)
    return TopLists(
        k,
        groups,
        float(np.mean(both / k)) if groups else float("nan"),
        float(np.mean(moved == 0)) if groups else float("nan"),
        tuple(changes),
    )


def _ranks(scores: Floats, member: Ints) -> Ints:
    """Place of each row in its group, 0 the best; equal scores keep the order of the rows."""
    order = np.lexsort((np.arange(len(scores)), -scores, member))
    first = np.searchsorted(member[order], member[order], side="left")
    ranks = np.empty(len(scores), np.int64)
    ranks[order] = np.arange(len(scores)) - first
    return ranks


def _change(
    task: TaskSpec, label: Floats, member: Ints, scores: Mapping[str, Floats], k: int
) -> list[ListChange]:
    """NDCG of both; nothing where no group has all labels, and a relevant row."""
    complete = np.bincount(member, np.isnan(label)) == 0
    rows = np.flatnonzero(complete[member])
    if not np.any(label[rows] == 1):
        return []
    gains, group = label[rows], member[rows]

    def ndcg(name: str, kept: npt.NDArray[np.bool_]) -> tuple[float, int]:
        of = ranking_metrics(gains[kept], scores[name][rows][kept], group[kept], k=k)
        return of["ndcg"], int(of["groups"])

    every = np.ones(len(rows), np.bool_)
    (before, groups), (after, _) = (ndcg(name, every) for name in ("champion", "challenger"))
    folds = folds_of_rows(group, FOLDS)
    gaps = [after - before]
    for fold in range(FOLDS):
        kept = folds != fold
        if np.any(gains[kept] == 1):
            gaps.append(ndcg("challenger", kept)[0] - ndcg("champion", kept)[0])
    error = float(jackknife_error(np.array(gaps))) if len(gaps) > 2 else 0.0
    return [ListChange(task.name, before, after, error, groups)]

"""Losses that compare the rows of a group: pairwise, listwise, and JRC's joint form.

With s the score of a row, y its label and w its weight, the loss of a group is

- `pairwise` (RankNet, Burges et al., ICML 2005): the mean of `log(1 + exp(s_j - s_i))` over its
  pairs with `y_i > y_j`, each of weight `w_i w_j`. It bounds one minus the AUC within the group.
- `listwise` (ListNet, Cao et al., ICML 2007, with the labels' top-one probabilities replaced by
  their shares, as Bruch et al., ICTIR 2019, study it): the mean of `-log p_i` by weight `w_i y_i`,
  with `p_i = w_i exp(s_i) / sum_j w_j exp(s_j)`: a row of weight w competes like w rows;

and each of its rows has that loss, so that a group counts with the weight of its rows, as in GAUC;
a group without two labels (`listwise`: without a gain) has none. Means within a group are our
reading: sums over pairs would let a large group count by the square of its rows.

- `jrc` (Sheng et al., KDD 2023): with two logits of a row, `p = sigmoid(f_1 - f_0)` is its
  probability, and its loss within the group `-log(w_i exp(f_i,y) / sum_j w_j exp(f_j,y))`, y its
  label. Only the difference of the logits is scored; their mean is a product of its own that
  training alone needs (`f_1, f_0 = mean +- s / 2`, the same network otherwise written).

The score of a head `rank` is its logit, and this loss is its only one; its labels are gains, 0 or
more. The score of a binary task is the log odds of what its label says: of a child in a funnel,
of the joint event. Rows on which a label is not defined compete with none.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from recmtl.grid.experts import StackedExperts
from recmtl.model.heads.spec import HeadSpec
from recmtl.ranks import of_own_rows, of_whole_batch

__all__ = [
    "GroupLosses",
    "GroupedRows",
    "constant_group_loss",
    "joint_loss_in_group",
    "listwise_loss",
    "pairwise_loss",
]


class GroupedRows:
    """Rows by their groups.

    Args:
        member: number of the group of each row `[B]`, NaN of a row that is alone.
    """

    def __init__(self, member: Tensor) -> None:
        alone = -1.0 - torch.arange(len(member), dtype=member.dtype, device=member.device)
        numbers = torch.where(member.isnan(), alone, member)
        values, self._of_row = torch.unique(numbers, return_inverse=True)
        self._count = len(values)

    def total(self, values: Tensor) -> Tensor:
        """The sum of values `[B]` over the group of each row `[B]`."""
        sums = values.new_zeros(self._count).index_add(0, self._of_row, values)
        return sums.index_select(0, self._of_row)

    def extreme(self, values: Tensor, which: str) -> Tensor:
        """The least (`amin`) or largest (`amax`) value `[B]` of each row's group, as a constant."""
        empty = values.new_zeros(self._count)
        extremes = empty.scatter_reduce(0, self._of_row, values.detach(), which, include_self=False)
        return extremes[self._of_row]

    def log_total(self, values: Tensor) -> Tensor:
        """`log sum exp` of values `[B]` over the group of each row; those of -inf are absent."""
        level = self.extreme(values, "amax")
        level = torch.where(level.isfinite(), level, 0.0)
        return torch.log(self.total(torch.exp(values - level)).clamp_min(1e-30)) + level

    def pairs(self, label: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Row numbers `[P]` of the better and of the worse row of every pair within a group.

        Args:
            label: `[B]`; a larger one is better.
            counts: the rows that compete, bool `[B]`.
        """
        rows = torch.nonzero(counts)[:, 0]
        rows = rows[torch.argsort(self._of_row[rows], stable=True)]
        sizes = torch.bincount(self._of_row[rows], minlength=self._count)
        begins = (sizes.cumsum(0) - sizes)[self._of_row]
        lowest = self.extreme(torch.where(counts, label, torch.inf), "amin")
        better = rows[label[rows] > lowest[rows]]
        partners = sizes[self._of_row[better]]
        places = torch.arange(int(partners.sum()), device=label.device)
        places = places - torch.repeat_interleave(partners.cumsum(0) - partners, partners)
        better = torch.repeat_interleave(better, partners)
        worse = rows[begins[better] + places]
        differ = label[better] > label[worse]
        return better[differ], worse[differ]

    def mean(self, values: Tensor, rows: Tensor, weight: Tensor) -> Tensor:
        """Mean by weight of values `[P]` at rows `[P]` over the group of each row `[B]`; or 0."""
        groups = self._of_row[rows]
        empty = values.new_zeros(self._count)
        total = empty.index_add(0, groups, weight)
        sums = empty.index_add(0, groups, values * weight)
        return (sums / torch.where(total > 0, total, 1.0)).index_select(0, self._of_row)


def pairwise_loss(score: Tensor, label: Tensor, weight: Tensor, rows: GroupedRows) -> Tensor:
    """RankNet's loss `[B]` of the group of each row; rows of weight 0 are absent.

    >>> rows = GroupedRows(torch.tensor([0.0, 0.0, 1.0]))
    >>> pairwise_loss(torch.zeros(3), torch.tensor([1.0, 0.0, 1.0]), torch.ones(3), rows)
    tensor([0.6931, 0.6931, 0.0000])
    """
    better, worse = rows.pairs(label, weight > 0)
    # `index_select`, since the gradient of an index is many times slower.
    ahead, behind = (score.index_select(0, of_pairs) for of_pairs in (better, worse))
    return rows.mean(functional.softplus(behind - ahead), better, weight[better] * weight[worse])


def listwise_loss(score: Tensor, label: Tensor, weight: Tensor, rows: GroupedRows) -> Tensor:
    """Softmax cross-entropy `[B]` of the group of each row; labels are gains, 0 or more.

    >>> rows = GroupedRows(torch.tensor([0.0, 0.0, 1.0]))
    >>> listwise_loss(torch.zeros(3), torch.tensor([1.0, 0.0, 1.0]), torch.ones(3), rows)
    tensor([0.6931, 0.6931, 0.0000])
    """
    gain = torch.where(weight > 0, label * weight, 0.0)
    every = torch.arange(len(gain), device=gain.device)
    cost = torch.where(gain > 0, -_log_share(score, weight, rows), 0.0)
    return rows.mean(cost, every, gain)


def joint_loss_in_group(
    score: Tensor, middle: Tensor, label: Tensor, weight: Tensor, rows: GroupedRows
) -> Tensor:
    """JRC's generative loss `[B]` of each row; `score` and `middle` are defined in the module."""
    happened = _log_share(middle + 0.5 * score, weight, rows)
    did_not = _log_share(middle - 0.5 * score, weight, rows)
    return torch.where(weight > 0, -torch.where(label > 0.5, happened, did_not), 0.0)


def constant_group_loss(kind: str, label: Tensor, weight: Tensor, member: Tensor) -> float:
    """Mean loss of rows that all have one score, the unit in which a group loss is measured.

    Args:
        kind: of the loss.
        label: `[B]`.
        weight: `[B]`, above 0.
        member: numbers of the groups `[B]`, NaN for none.
    """
    rows, score = GroupedRows(member), torch.zeros_like(label)
    if kind == "pairwise":
        differs = rows.extreme(label, "amin") < rows.extreme(label, "amax")
        losses = torch.where(differs, functional.softplus(score), 0.0)
    elif kind == "listwise":
        losses = listwise_loss(score, label, weight, rows)
    else:
        losses = joint_loss_in_group(score, score, label, weight, rows)
    return float((losses * weight).sum() / weight.sum())


def _log_share(score: Tensor, weight: Tensor, rows: GroupedRows) -> Tensor:
    """Log `[B]` of the share of a row in the sum of `w exp(s)` of its group."""
    counts = weight > 0
    mass = torch.where(counts, score + torch.where(counts, weight, 1.0).log(), -torch.inf)
    return torch.where(counts, mass - rows.log_total(mass), 0.0)


class GroupLosses(nn.Module):
    """The tasks whose losses compare rows, and JRC's second product, which only training uses.

    Args:
        specs: all heads.
        width: features of a task before the last product of its head.

    Attributes:
        tasks: positions of these tasks.
    """

    def __init__(self, specs: Sequence[HeadSpec], width: int) -> None:
        super().__init__()
        self.losses = {t: spec.within for t, spec in enumerate(specs) if spec.within is not None}
        self.tasks = tuple(self.losses)
        self.joint = [t for t, (kind, _) in self.losses.items() if kind == "jrc"]
        reads = list(enumerate(self.joint))
        self.middle = StackedExperts((width, 1), reads, last_activation=False) if reads else None

    def forward(self, features: Tensor) -> list[Tensor]:
        """Of features `[B, T, width]` the mean of both logits `[B, 1]` of each task with JRC."""
        return [] if self.middle is None else list(self.middle(features).unbind(1))

    def added(
        self,
        losses: Mapping[int, Tensor],
        scores: Mapping[int, Tensor],
        middles: Sequence[Tensor],
        labels: Tensor,
        beside: tuple[Tensor, Tensor],
    ) -> dict[int, Tensor]:
        """The losses `[B]` of these tasks, with those within groups added at their shares.

        Args:
            losses: of each row alone, by task.
            scores: `[B]` of these tasks.
            middles: from `forward`; none outside of training, where JRC is its cross-entropy.
            labels: `[B, T]`, NaN where they are not known.
            beside: weights `[B, T]` and numbers of the groups `[B]`, NaN for none.
        """
        tasks = [t for t in self.tasks if middles or t not in self.joint]
        if not tasks:
            return {}
        weight, member = beside
        columns = [member, *(scores[t] for t in tasks), *(middle[:, 0] for middle in middles)]
        columns += [values[:, t] for values in (labels, weight) for t in tasks]
        member, *whole = of_whole_batch(torch.stack(columns, 1)).unbind(1)
        rows, count = GroupedRows(member), len(tasks)
        of_scores, of_middles = whole[:count], whole[count : -2 * count]
        of_labels, weights = whole[-2 * count : -count], whole[-count:]
        changed = {}
        for number, task in enumerate(tasks):
            label, score = of_labels[number], of_scores[number]
            counts = torch.where(label.isnan(), 0.0, weights[number])
            label, (kind, share) = label.nan_to_num(), self.losses[task]
            if kind == "jrc":
                middle = of_middles[self.joint.index(task)]
                within = joint_loss_in_group(score, middle, label, counts, rows)
            else:
                within = LOSSES[kind](score, label, counts, rows)
            # A rank that computes no row of its own has no loss, but takes part in the gradient.
            mine = of_own_rows(within, counts) + 0.0 * scores[task]
            changed[task] = (1.0 - share) * losses[task] + share * mine
        return changed


LOSSES = {"pairwise": pairwise_loss, "listwise": listwise_loss}

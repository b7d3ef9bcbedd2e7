"""A step of several ranks as that of one: each computes its rows, the whole batch is what counts.

What a rank computes is a loss of which the mean over the ranks is that of the whole batch, however
unevenly the labels are missing. The mean of the gradients is then the whole batch's gradient: that
of dense weights by adding vectors, that of tables by joining the rows that each rank has read.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recmtl.data.batches import Batch, total_weight
from recmtl.model.network import TaskHeads
from recmtl.ranks import RanksStoppedError, ranks

__all__ = ["Measure", "mean_gradients", "measure"]


@dataclass(frozen=True)
class Measure:
    """What the ranks know of a batch together.

    Attributes:
        weight: of all its rows.
        factor: `[T]` by which a rank multiplies the mean losses of its rows; None where it has
            them all.
    """

    weight: float
    factor: Tensor | None = None

    def of_whole(self, losses: Tensor) -> Tensor:
        """Mean losses `[T]` of this rank's rows as its part of the whole batch's."""
        return losses if self.factor is None else losses * self.factor.to(losses)


def measure(heads: TaskHeads, batches: Sequence[Batch]) -> list[Measure]:
    """The measure of each batch of a step."""
    if ranks().count == 1:
        return [Measure(total_weight(batch)) for batch in batches] if len(batches) > 1 else [ONLY]
    local = torch.stack([_weights(heads, batch) for batch in batches])
    whole = ranks().total(local)
    share = local[:, 1:] / torch.where(whole[:, 1:] > 0, whole[:, 1:], 1.0)
    weights, factors = whole[:, 0].tolist(), (ranks().count * share).unbind(0)
    return [Measure(*pair) for pair in zip(weights, factors, strict=True)]


ONLY = Measure(1.0)
"""Of the only batch of a step, whose weight is of no interest."""


def _weights(heads: TaskHeads, batch: Batch) -> Tensor:
    """Weight of a rank's rows, then of the labels of each task, `[1 + T]`; 0 of an idle rank."""
    of_labels = heads.label_weights(batch.labels, batch.weight)
    of_rows = batch.weight.sum().to(of_labels).unsqueeze(0)
    idle = batch.part is not None and batch.part.is_idle
    return torch.cat([of_rows, of_labels]).double() * (0.0 if idle else 1.0)


def mean_gradients(dense: Iterable[Tensor], tables: Iterable[Tensor] = ()) -> None:
    """Replace each gradient by the mean over the ranks; a parameter without one on all keeps none.

    Args:
        dense: parameters with dense gradients.
        tables: parameters with gradients that are sparse in their first axis.

    Raises:
        RanksStoppedError: the first rank's work ends here; see `Ranks.stops`.
    """
    if ranks().count == 1:
        return
    dense = list(dense)
    parts = [torch.zeros_like(p) if p.grad is None else p.grad for p in dense]
    flags = [*(float(p.grad is not None) for p in dense), float(ranks().stops)]
    vector = [*(part.flatten() for part in parts), parts[0].new_tensor(flags)]
    whole = ranks().mean(torch.cat(vector))
    *means, of_flags = torch.split(whole, [len(part) for part in vector])
    *is_there, stops = of_flags.tolist()
    if stops:
        raise RanksStoppedError("the first rank has ended this work")
    for parameter, mean, of_some_rank in zip(dense, means, is_there, strict=True):
        parameter.grad = mean.view_as(parameter) if of_some_rank else None
    for table in tables:
        rows, values = ranks().joined(*_rows_and_values(table))
        table.grad = torch.sparse_coo_tensor(
            rows.unsqueeze(0), values / ranks().count, table.shape, check_invariants=False
        )


def _rows_and_values(table: Tensor) -> tuple[Tensor, Tensor]:
    """Rows `[n]` of a table's gradient and their values `[n, D]`; repeated rows are not summed."""
    if table.grad is None:
        return torch.empty(0, dtype=torch.long, device=table.device), table.detach()[:0]
    return table.grad._indices()[0], table.grad._values()

"""Rare ids shrink towards the unknown row: in training they are replaced by it at random.

An id that few rows have has an embedding that says more of these rows than of the id. Replaced with
probability k / (count + k), it is trained on count^2 / (count + k) rows, and the unknown row on the
rest: on rows like those of an id that is new, which that row will have to stand for.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from recmtl.ranks import draw, first_row

__all__ = ["RareIds"]


class RareIds(nn.Module):
    """Replaces ids `[B, I]` by the unknown rows of their columns, each by a draw of its own.

    The seed of a batch's draws comes from torch's generator, as dropout does. A resumed training
    therefore continues them, and they do not depend on the number of threads.

    Args:
        counts: of each row of the embedding table how many train values had it; 0 is never
            replaced: padding, unknown rows, hash buckets.
        unknown: the unknown row of each column of the ids, `[I]`.
        k: the count of which half of the rows are replaced, above 0.
    """

    def __init__(
        self, counts: npt.NDArray[np.int64], unknown: npt.NDArray[np.int32], *, k: float
    ) -> None:
        super().__init__()
        chance = np.where(counts > 0, k / (counts + k), 0.0).astype(np.float32)
        self.register_buffer("chance", torch.from_numpy(chance), persistent=False)
        rows = torch.from_numpy(unknown.astype(np.int64))
        self.register_buffer("unknown", rows, persistent=False)

    def part(self, columns: Sequence[int]) -> "RareIds":
        """The same of some columns of the ids."""
        unknown = self.get_buffer("unknown")[list(columns)].numpy()
        small = RareIds(np.zeros(0, np.int64), unknown, k=1.0)
        small.register_buffer("chance", self.get_buffer("chance"), persistent=False)
        return small

    def forward(self, ids: Tensor) -> Tensor:
        """Ids with some replaced; the argument stays as it is."""
        chance, unknown = self.get_buffer("chance"), self.get_buffer("unknown")
        if ids.device.type != "cpu":
            draws = draw(ids.shape, 0, lambda shape: torch.rand(shape, device=ids.device))
            return torch.where(draws < chance[ids], unknown, ids)
        from recmtl.model.rare_kernels import replace_ids  # numba loads slowly; scoring needs none

        seed, replaced = torch.randint(2**63 - 1, (1,)), torch.empty_like(ids)
        first, counter = first_row() * ids.shape[1], seed.numpy().view(np.uint64)
        tables = chance.numpy(), unknown.numpy()
        replace_ids(ids.numpy(), *tables, counter, replaced.numpy(), first)
        return replaced

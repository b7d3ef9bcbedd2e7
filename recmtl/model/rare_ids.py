"""Rare ids shrink towards the unknown row: in training they are replaced by it at random.

An id that few rows have has an embedding that says more of these rows than of the id. Replaced with
probability k / (count + k), it is trained on count^2 / (count + k) rows, and the unknown row on the
rest: on rows like those of an id that is new, which that row will have to stand for.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

__all__ = ["RareIds"]


class RareIds(nn.Module):
    """Replaces ids `[B, I]` by the unknown rows of their columns, each by a draw of its own.

    The draws come from torch's generator, as those of dropout do. A resumed training therefore
    continues them, and they do not depend on the number of threads.

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

    def forward(self, ids: Tensor) -> Tensor:
        """Ids with some replaced; the argument stays as it is."""
        flat, unknown = ids.reshape(-1), self.get_buffer("unknown")
        chance = self.get_buffer("chance").index_select(0, flat)
        replaced = torch.rand(flat.shape, device=ids.device) < chance
        # Few are replaced: to write these takes less time than `torch.where` on all.
        at = replaced.nonzero().squeeze(1)
        return flat.index_copy(0, at, unknown[at % len(unknown)]).view(ids.shape)

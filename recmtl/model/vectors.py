"""A vector of content as a field: a learned linear map, and a vector for those that are missing."""

import torch
from torch import Tensor, nn

__all__ = ["VectorProjection"]


class VectorProjection(nn.Module):
    """Vectors `[B, V]`, with NaN in those that are missing, to a field `[B, size]`.

    Args:
        vector: numbers V of a vector.
        size: width of the field, of all lanes.
    """

    def __init__(self, vector: int, size: int) -> None:
        super().__init__()
        # A vector of length 1 starts as wide as the ramps of a number.
        self.weight = nn.Parameter(torch.randn(vector, size) * 0.2)
        self.offset = nn.Parameter(torch.randn(size) * 0.05)
        self.missing = nn.Parameter(torch.randn(size) * 0.05)

    def forward(self, vectors: Tensor) -> Tensor:
        """The field of each row; no gradient of a missing vector reaches the map."""
        absent = torch.isnan(vectors).any(1, keepdim=True)
        mapped = vectors.masked_fill(absent, 0.0) @ self.weight + self.offset
        return torch.addcmul(mapped, absent.to(mapped.dtype), self.missing - self.offset)

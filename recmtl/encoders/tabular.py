"""From encoded columns to the grid's input lane: one embedding a feature, side by side."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from recmtl.data.encoding import Encoding, ListField

__all__ = ["TabularEncoder"]


class TabularEncoder(nn.Module):
    """Ids `[B, I]` and numbers `[B, N]` to one lane `[B, 1, fields * size]`.

    All single-valued categorical features are one gather from one table. List features pool rows
    of the same table (padding is row 0). A number is expanded in its basis, itself or, piecewise
    linear, one ramp a bin (Gorishniy et al., NeurIPS 2022, "On embeddings for numerical
    features", eq. 1), and mapped to `size` features; a missing number has a vector of its own.

    Args:
        encoding: the encoded columns.
        size: features of an embedding.
        dropout: share of whole fields dropped in training.
    """

    def __init__(self, encoding: Encoding, *, size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.encoding, self.size, self.dropout = encoding, size, dropout
        self.table = nn.Embedding(encoding.table_rows, size, sparse=True)
        nn.init.normal_(self.table.weight, std=0.05)
        with torch.no_grad():
            self.table.weight[0] = 0.0
        bins = [f.bins if f.encoding == "piecewise" else 1 for f in encoding.numeric]
        self.num_bins = max(bins, default=1)
        numbers = len(bins)
        self.ramps = nn.Parameter(torch.randn(numbers, self.num_bins, size) * 0.2)
        self.offset = nn.Parameter(torch.randn(numbers, size) * 0.05)
        self.missing = nn.Parameter(torch.randn(numbers, size) * 0.05)
        with torch.no_grad():
            for number, count in enumerate(bins):
                self.ramps[number] /= math.sqrt(count)
                self.ramps[number, count:] = 0.0
        is_ramp = torch.tensor([f.encoding == "piecewise" for f in encoding.numeric])
        self.register_buffer("is_ramp", is_ramp.view(1, -1, 1), persistent=False)

    @property
    def width(self) -> int:
        """Features of the lane."""
        return self.encoding.num_fields * self.size

    def forward(self, ids: Tensor, numeric: Tensor) -> Tensor:
        """One lane `[B, 1, fields * size]`."""
        parts = []
        if self.encoding.single:
            parts.append(self.table(ids[:, : len(self.encoding.single)]))
        parts += [self._pool(ids, field).unsqueeze(1) for field in self.encoding.lists]
        if self.encoding.numeric:
            parts.append(self._numbers(numeric))
        fields = torch.cat(parts, 1)
        if self.dropout and self.training:
            fields = functional.dropout1d(fields, self.dropout)
        return fields.flatten(1).unsqueeze(1)

    def _pool(self, ids: Tensor, field: ListField) -> Tensor:
        columns = ids[:, field.first : field.first + field.length]
        pooled = functional.embedding_bag(
            columns, self.table.weight, mode="sum", sparse=True, padding_idx=0
        )
        if field.pooling == "sum":
            return pooled
        return pooled / (columns != 0).sum(1, keepdim=True).clamp_min(1)

    def _numbers(self, numeric: Tensor) -> Tensor:
        missing = torch.isnan(numeric).unsqueeze(-1)
        value = numeric.nan_to_num(0.0).unsqueeze(-1)
        steps = torch.arange(self.num_bins, dtype=numeric.dtype, device=numeric.device)
        ramps = (value - steps).clamp(0.0, 1.0)
        first = functional.one_hot(torch.zeros((), dtype=torch.long), self.num_bins)
        basis = torch.where(self.get_buffer("is_ramp"), ramps, value * first.to(value))
        mapped = torch.bmm(basis.transpose(0, 1), self.ramps).transpose(0, 1) + self.offset
        return torch.where(missing, self.missing, mapped)

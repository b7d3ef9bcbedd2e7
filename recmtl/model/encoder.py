"""The encoder of tables: ids and numbers to input lanes, one embedding a feature side by side."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from recmtl.data.encoding import Encoding, ListField
from recmtl.grid import Cost, fused
from recmtl.grid.layout import Interaction
from recmtl.model.attention import TargetAttention
from recmtl.model.interactions import InteractionLanes
from recmtl.model.rare_ids import RareIds
from recmtl.model.vectors import VectorProjection
from recmtl.ranks import draw

__all__ = ["TabularEncoder"]


class TabularEncoder(nn.Module):
    """Ids `[B, I]` and numbers `[B, N]` to lanes `[B, L, fields * size]`.

    One gather from one table embeds all single-valued categorical features. List features pool
    rows of the same table (row 0 is padding); histories are read against the candidate, see
    `recmtl.model.attention`. A number is expanded in a basis and mapped to `size` features. The
    basis is the number itself or, piecewise linear, one ramp a bin (Gorishniy et al., NeurIPS 2022,
    "On embeddings for numerical features", eq. 1). A missing number has a vector of its own. A
    vector of content is mapped linearly, see `recmtl.model.vectors`.

    Args:
        encoding: the encoded columns.
        size: width of an embedding.
        lanes: number L of input lanes, each with embeddings of its own (STEM, AAAI 2024); they are
            columns of the same table, so that one gather serves all of them.
        interactions: further lanes, made of the last of those; see `recmtl.model.interactions`.
        dropout: share of whole fields dropped in training.

    Attributes:
        rare_ids: replaces rare ids in training, if it is set.
    """

    def __init__(
        self,
        encoding: Encoding,
        *,
        size: int,
        lanes: int = 1,
        interactions: Sequence[Interaction] = (),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoding, self.dropout = encoding, dropout
        self.num_lanes, self.lane_size = lanes, size
        self.interactions = InteractionLanes(interactions, encoding, width=self.width)
        self.rare_ids: RareIds | None = None
        size = size * lanes
        self.table = nn.Embedding(encoding.table_rows, size, sparse=True)
        nn.init.normal_(self.table.weight, std=0.05)
        with torch.no_grad():
            self.table.weight[0] = 0.0
        self._histories = tuple(encoding.histories.values())
        self.attention = nn.ModuleList(self._attention_of(lists) for lists in self._histories)
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
        self.vectors = nn.ModuleList(VectorProjection(f.size, size) for f in encoding.vectors)
        self._vector_columns = tuple(encoding.vector_columns().values())
        is_ramp = torch.tensor([f.encoding == "piecewise" for f in encoding.numeric])
        self.only_ramps = all(f.encoding == "piecewise" for f in encoding.numeric)
        self.register_buffer("is_ramp", is_ramp.view(1, -1, 1), persistent=False)

    def _attention_of(self, lists: tuple[ListField, ...]) -> TargetAttention:
        targets, length = sum(field.target is not None for field in lists), lists[0].length
        sizes = {"size": self.lane_size, "lanes": self.num_lanes}
        return TargetAttention(len(lists), targets, length=length, **sizes)

    @property
    def width(self) -> int:
        """Features of a lane."""
        return self.encoding.num_fields * self.lane_size

    def cost(self) -> Cost:
        """Parameters, the table included, and multiply-adds an example; no interactions.

        Those are counted with the layout, which a search pays for.
        """
        interactions = sum(p.numel() for p in self.interactions.parameters())
        parameters = sum(p.numel() for p in self.parameters()) - interactions
        attention = sum(unit.multiply_adds for unit in self.units)
        vectors = sum(f.size for f in self.encoding.vectors) * self.lane_size * self.num_lanes
        return Cost(parameters, self.ramps.numel() + attention + vectors)

    @property
    def units(self) -> list[TargetAttention]:
        """The attention of each history, in the order of `Encoding.histories`."""
        return [unit for unit in self.attention if isinstance(unit, TargetAttention)]

    @property
    def tables(self) -> list[Tensor]:
        """The embeddings, whose gradients are sparse."""
        return [self.table.weight]

    def reader_of(self, history: str) -> tuple["TabularEncoder", TargetAttention]:
        """The encoder that embeds a history, and its attention."""
        return self, self.units[[*self.encoding.histories].index(history)]

    def local(self, ids: Tensor) -> Tensor:
        """Ids as rows of the table; see `SizedEncoder`."""
        return ids

    def random_ids(self, rows: int, dice: torch.Generator) -> Tensor:
        """Ids int32 `[rows, I]`, as some log might hold them."""
        shape = rows, self.encoding.id_columns
        return torch.randint(self.encoding.table_rows, shape, dtype=torch.int32, generator=dice)

    def columns_of_fields(self) -> dict[str, range]:
        """Of each field its columns of a lane."""
        return self.encoding.columns_of_fields(self.lane_size)

    def by_field(self, columns: Tensor) -> Tensor:
        """Columns of all lanes `[..., L * width]` summed over lanes and fields, `[..., fields]`."""
        shape = (*columns.shape[:-1], self.num_lanes, -1, self.lane_size)
        return columns.reshape(shape).sum((-3, -1))

    def only(self, lanes: Sequence[int]) -> "TabularEncoder":
        """The encoder of these lanes alone, with their part of the weights."""
        embeddings = [lane for lane in lanes if lane < self.num_lanes]
        made = [lane - self.num_lanes for lane in lanes if lane >= self.num_lanes]
        small = TabularEncoder(
            self.encoding,
            size=self.lane_size,
            lanes=len(embeddings),
            dropout=self.dropout,
        )
        small.interactions = self.interactions.only(made, self.encoding, width=self.width)
        small.to(self.ramps.dtype).rare_ids = self.rare_ids
        with torch.no_grad():
            for name, parameter in small.named_parameters():
                if not name.startswith("interactions."):
                    whole = self._split_lanes(self.get_parameter(name))
                    parameter.copy_(whole[..., embeddings, :].flatten(-2))
        return small

    def part(self, encoding: Encoding) -> "TabularEncoder":
        """The encoder of a part of the features (see `Encoding.part`); it shares the table.

        It has no interactions, which need all of the features.
        """
        small = TabularEncoder(
            replace(encoding, table_rows=1),
            size=self.lane_size,
            lanes=self.num_lanes,
            dropout=self.dropout,
        )
        small.to(self.ramps.dtype)
        small.encoding, small.table = encoding, self.table
        rows = self.encoding.columns_of(encoding)[1][: len(encoding.numeric)]
        with torch.no_grad():
            small.ramps.copy_(self.ramps[rows, : small.num_bins])
            small.offset.copy_(self.offset[rows])
            small.missing.copy_(self.missing[rows])
        units = dict(zip(self.encoding.histories, self.units, strict=True))
        for history, unit in zip(encoding.histories, small.units, strict=True):
            unit.load_state_dict(units[history].state_dict())
        vectors = dict(zip(self.encoding.vectors, self.vectors, strict=True))
        for field, projection in zip(encoding.vectors, small.vectors, strict=True):
            projection.load_state_dict(vectors[field].state_dict())
        return small

    def forward(self, ids: Tensor, numeric: Tensor) -> Tensor:
        """Lanes `[B, L + interactions, fields * size]`."""
        return self.with_interactions(self.embedded(ids, numeric))

    def with_interactions(self, lanes: Tensor) -> Tensor:
        """Lanes of embeddings `[B, L, fields * size]`, then what is made of the last of them."""
        return self.interactions.joined(lanes) if self.interactions.kinds else lanes

    def embedded(self, ids: Tensor, numeric: Tensor) -> Tensor:
        """Lanes of embeddings `[B, L, fields * size]`."""
        if self.rare_ids is not None and self.training:
            ids = self.rare_ids(ids)
        parts = []
        if self.encoding.single:
            parts.append(self.table(ids[:, : len(self.encoding.single)]))
        pooled = self._read_histories(ids, parts[0]) if self._histories else {}
        for field in self.encoding.lists:
            vector = pooled[field.name] if field.name in pooled else self._pool(ids, field)
            parts.append(vector.unsqueeze(1))
        if self.encoding.numeric:
            numbers = numeric[:, : len(self.encoding.numeric)] if self.vectors else numeric
            parts.append(self._numbers(numbers))
        for projection, columns in zip(self.vectors, self._vector_columns, strict=True):
            parts.append(projection(numeric[:, columns]).unsqueeze(1))
        fields = torch.cat(parts, 1) if len(parts) > 1 else parts[0]
        if self.dropout and self.training:
            fields = fields * self._kept_fields(fields)
        return self.lanes_of(fields)

    def _kept_fields(self, fields: Tensor) -> Tensor:
        """Factors `[B, F, 1]` of fields `[B, F, D]`, the same numbers as of `dropout1d`."""

        def keep(shape: Sequence[int]) -> Tensor:
            return fields.new_empty(shape).bernoulli_(1 - self.dropout).div_(1 - self.dropout)

        return draw((*fields.shape[:2], 1), 0, keep)

    def lanes_of(self, fields: Tensor) -> Tensor:
        """Embedded fields `[B, F, L * size]` as lanes `[B, L, F * size]`."""
        if self.num_lanes == 1:
            return fields.flatten(1).unsqueeze(1)
        return self._split_lanes(fields).transpose(1, 2).flatten(2)

    def events(self, ids: Tensor, lists: Sequence[ListField]) -> tuple[list[Tensor], Tensor]:
        """Embeddings `[B, length, L * size]` of aligned lists, and where they are not padded."""
        columns = [ids[:, field.columns] for field in lists]
        weight, sparse = self.table.weight, self.table.sparse
        vectors = [
            functional.embedding(rows, weight, padding_idx=0, sparse=sparse) for rows in columns
        ]
        return vectors, columns[0] != 0

    def _read_histories(self, ids: Tensor, single: Tensor) -> dict[str, Tensor]:
        """By name each list of the histories pooled, for embedded categories `[B, single, D]`."""
        pooled: dict[str, Tensor] = {}
        for unit, lists in zip(self.units, self._histories, strict=True):
            names = [field.target for field in lists if field.target is not None]
            targets = [single[:, self.encoding.single.index(name)] for name in names]
            if self.training and fused.is_supported(self.table.weight):
                columns = [ids[:, field.columns] for field in lists]
                vectors = unit.train_on(self.table, columns, targets)
            else:
                events, is_real = self.events(ids, lists)
                vectors = unit(events, targets, is_real)
            pooled |= zip((field.name for field in lists), vectors.unbind(1), strict=True)
        return pooled

    def _split_lanes(self, columns: Tensor) -> Tensor:
        """Split columns `[..., L * size]` into `[..., L, size]`."""
        *outer, width = columns.shape
        return columns.view(*outer, self.num_lanes, width // self.num_lanes)

    def _pool(self, ids: Tensor, field: ListField) -> Tensor:
        columns = ids[:, field.columns]
        if field.pooling == "max":
            return self._largest(columns)
        pooled = functional.embedding_bag(
            columns, self.table.weight, mode="sum", sparse=True, padding_idx=0
        )
        if field.pooling == "sum":
            return pooled
        return pooled / (columns != 0).sum(1, keepdim=True).clamp_min(1)

    def _largest(self, columns: Tensor) -> Tensor:
        """For lists of table rows `[B, length]` the largest value of each feature; 0 if empty."""
        is_padding = (columns == 0).unsqueeze(-1)
        rows: Tensor = self.table(columns)
        largest = rows.masked_fill(is_padding, -torch.inf).amax(1)
        return largest.masked_fill(is_padding.all(1), 0.0)

    def _numbers(self, numeric: Tensor) -> Tensor:
        missing = torch.isnan(numeric)
        value = numeric.masked_fill(missing, 0.0).unsqueeze(-1)
        steps = torch.arange(self.num_bins, dtype=numeric.dtype, device=numeric.device)
        basis = (value - steps).clamp(0.0, 1.0)
        if not self.only_ramps:
            first = functional.one_hot(torch.zeros((), dtype=torch.long), self.num_bins)
            basis = torch.where(self.get_buffer("is_ramp"), basis, value * first.to(value))
        # A missing number counts as 0, whose basis is 0: only the offset has to be replaced.
        mapped = torch.bmm(basis.transpose(0, 1), self.ramps).transpose(0, 1) + self.offset
        absent = missing.to(numeric.dtype).unsqueeze(-1)
        return torch.addcmul(mapped, absent, self.missing - self.offset)

"""Fields with embeddings of several sizes: an encoder for each size, their lanes side by side."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recmtl.data.encoding import Encoding
from recmtl.grid import Cost
from recmtl.grid.layout import Interaction
from recmtl.model.attention import TargetAttention
from recmtl.model.encoder import TabularEncoder
from recmtl.model.interactions import InteractionLanes
from recmtl.model.rare_ids import RareIds

__all__ = ["AnyEncoder", "SizedEncoder", "encoder_of", "grown_tables"]


class SizedEncoder(nn.Module):
    """Ids `[B, I]` and numbers `[B, N]` to lanes `[B, L, width]`, of fields of several sizes.

    The fields of one size are a `TabularEncoder` with a table of their own. A lane holds the fields
    of the network's size first, then those of each other size, so that experts read every field
    at its own width; nothing is projected. Ids stay those of the one numbering of all rows.

    Args:
        encoding: the encoded columns, with sizes of their own.
        size: width of an embedding whose field has no size of its own.
        lanes: as of `TabularEncoder`.
        interactions: as of `TabularEncoder`; those that multiply fields with one another need
            embeddings of one size.
        dropout: share of whole fields dropped in training.
        parts: the encoders of each size, if there are any yet.

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
        parts: Sequence[TabularEncoder] | None = None,
    ) -> None:
        super().__init__()
        self.encoding, self.dropout = encoding, dropout
        self.num_lanes, self.lane_size = lanes, size
        sized = encoding.by_size(size)
        self.parts = nn.ModuleList(
            parts
            if parts is not None
            else (
                TabularEncoder(part.encoding, size=part.size, lanes=lanes, dropout=dropout)
                for part in sized
            )
        )
        self._columns = [tuple(map(_columns, encoding.columns_of(part.encoding))) for part in sized]
        rows = torch.zeros(encoding.table_rows, dtype=torch.int32)
        for part in sized:
            rows[torch.from_numpy(part.rows)] = torch.arange(len(part.rows), dtype=torch.int32)
        self.register_buffer("rows", rows, persistent=False)
        self.interactions = InteractionLanes(interactions, encoding, width=self.width)
        self.rare_ids: RareIds | None = None

    rows: Tensor

    @property
    def encoders(self) -> list[TabularEncoder]:
        """The encoder of each size."""
        return [part for part in self.parts if isinstance(part, TabularEncoder)]

    @property
    def width(self) -> int:
        """Features of a lane."""
        return sum(encoder.width for encoder in self.encoders)

    @property
    def units(self) -> list[TargetAttention]:
        """The attention of each history, in the order of `Encoding.histories`."""
        return [self.reader_of(history)[1] for history in self.encoding.histories]

    @property
    def tables(self) -> list[Tensor]:
        """The embeddings of each size, whose gradients are sparse."""
        return [e.table.weight for e in self.encoders if e.encoding.id_columns]

    def cost(self) -> Cost:
        """Parameters, the tables included, and multiply-adds an example; no interactions."""
        return sum((encoder.cost() for encoder in self.encoders), Cost(0, 0))

    def only(self, lanes: Sequence[int]) -> "SizedEncoder":
        """The encoder of these lanes alone, with their part of the weights."""
        embeddings = [lane for lane in lanes if lane < self.num_lanes]
        made = [lane - self.num_lanes for lane in lanes if lane >= self.num_lanes]
        parts = [encoder.only(embeddings) for encoder in self.encoders]
        small = self._of(self.encoding, parts, lanes=len(embeddings))
        small.interactions = self.interactions.only(made, self.encoding, width=self.width)
        small.rare_ids = self.rare_ids
        return small

    def part(self, encoding: Encoding) -> "SizedEncoder":
        """The encoder of a part of the features (see `Encoding.part`); it shares the tables."""
        parts = []
        for sized in encoding.by_size(self.lane_size):
            first = sized.encoding.fields[0]
            whole = next(e for e in self.encoders if first in e.encoding.fields)
            parts.append(whole.part(sized.encoding))
        return self._of(encoding, parts, lanes=self.num_lanes)

    def _of(
        self, encoding: Encoding, parts: Sequence[TabularEncoder], *, lanes: int
    ) -> "SizedEncoder":
        """An encoder of these parts, without interactions."""
        size, dropout = self.lane_size, self.dropout
        return SizedEncoder(encoding, size=size, lanes=lanes, dropout=dropout, parts=parts)

    def forward(self, ids: Tensor, numeric: Tensor) -> Tensor:
        """Lanes `[B, L + interactions, width]`."""
        return self.with_interactions(self.embedded(ids, numeric))

    def with_interactions(self, lanes: Tensor) -> Tensor:
        """Lanes of embeddings `[B, L, width]`, then what is made of the last of them."""
        return self.interactions.joined(lanes) if self.interactions.kinds else lanes

    def embedded(self, ids: Tensor, numeric: Tensor) -> Tensor:
        """Lanes of embeddings `[B, L, width]`."""
        if self.rare_ids is not None and self.training:
            ids = self.rare_ids(ids)
        ids = self.local(ids)
        lanes = [
            encoder.embedded(ids[:, of_ids], numeric[:, of_numbers])
            for encoder, (of_ids, of_numbers) in zip(self.encoders, self._columns, strict=True)
        ]
        return torch.cat(lanes, 2)

    def local(self, ids: Tensor) -> Tensor:
        """Ids as rows of the table of their size."""
        return self.rows.index_select(0, ids.flatten()).view(ids.shape)

    def reader_of(self, history: str) -> tuple[TabularEncoder, TargetAttention]:
        """The encoder that embeds a history, and its attention."""
        encoder = next(e for e in self.encoders if history in e.encoding.histories)
        return encoder.reader_of(history)

    def random_ids(self, rows: int, dice: torch.Generator) -> Tensor:
        """Ids int32 `[rows, I]`, in each column those of a table of its size."""
        ids = torch.zeros(rows, self.encoding.id_columns, dtype=torch.int32)
        for part in self.encoding.by_size(self.lane_size):
            columns = self.encoding.columns_of(part.encoding)[0]
            local = torch.randint(len(part.rows), (rows, len(columns)), generator=dice)
            ids[:, columns] = torch.from_numpy(part.rows)[local].int()
        return ids

    def columns_of_fields(self) -> dict[str, range]:
        """Of each field its columns of a lane."""
        return self.encoding.columns_of_fields(self.lane_size)

    def by_field(self, columns: Tensor) -> Tensor:
        """Columns of all lanes `[..., L * width]` summed over lanes and fields, `[..., fields]`."""
        by_lane = columns.reshape(*columns.shape[:-1], self.num_lanes, -1)
        widths = [encoder.width for encoder in self.encoders]
        parts = zip(self.encoders, torch.split(by_lane, widths, -1), strict=True)
        sums = torch.cat([encoder.by_field(part.flatten(-2)) for encoder, part in parts], -1)
        names = [field for encoder in self.encoders for field in encoder.encoding.fields]
        return sums[..., [names.index(field) for field in self.encoding.fields]]

    def table_of(self, field: str) -> tuple[str, Tensor] | None:
        """Name and rows of the table that holds a field; None if the encoder lacks the field."""
        for number, encoder in enumerate(self.encoders):
            if field in encoder.encoding.fields:
                return f"parts.{number}.table.weight", encoder.table.weight.detach()
        return None


def _columns(places: list[int]) -> slice | list[int]:
    """Columns as a slice, which copies nothing, if they are next to one another."""
    if not places or places == list(range(places[0], places[-1] + 1)):
        return slice(*(places[0], places[-1] + 1) if places else (0, 0))
    return places


AnyEncoder = TabularEncoder | SizedEncoder


def encoder_of(
    encoding: Encoding,
    *,
    size: int,
    lanes: int,
    interactions: Sequence[Interaction],
    dropout: float,
) -> AnyEncoder:
    """The encoder of an encoding: one table, or one for each size of embeddings."""
    kind = SizedEncoder if encoding.own_sizes else TabularEncoder
    return kind(encoding, size=size, lanes=lanes, interactions=interactions, dropout=dropout)


def grown_tables(parent: AnyEncoder, later: AnyEncoder, starts: Tensor) -> dict[str, Tensor]:
    """The tables of an encoder by name, each row as the row of its parent that it starts from.

    Args:
        parent: the encoder that was trained before.
        later: one of the same fields, with rows for new values.
        starts: int64 `[table_rows]`, of each row of all fields the row of the parent's.
    """
    if isinstance(parent, TabularEncoder) and isinstance(later, TabularEncoder):
        return {"table.weight": parent.table.weight.detach().index_select(0, starts)}
    tables = {}
    if isinstance(parent, SizedEncoder) and isinstance(later, SizedEncoder):
        for part in later.encoding.by_size(later.lane_size):
            named, before = (e.table_of(part.encoding.fields[0]) for e in (later, parent))
            if named is not None and before is not None:
                rows = parent.local(starts[torch.from_numpy(part.rows)])
                tables[named[0]] = before[1].index_select(0, rows)
    return tables

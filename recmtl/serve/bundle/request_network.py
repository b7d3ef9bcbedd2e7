"""A network for one user and many candidates, which computes the user's part once.

The first products of a grid are affine in the fields of a lane, so they split into a part of the
candidate and a part of the user: `W x + b = W_c x_c + (W_u x_u + b)`. The user enters as biases,
and the candidates pass through first products of their own fields only. A history that the user
brings is embedded once, and read against each candidate. Where a layout's first
layer does more with a lane than affine products (shortcuts, carried lanes, instance gates, several
input lanes), the user's fields are embedded once and repeated.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from recmtl.data.encoding import Encoding, ListField
from recmtl.grid import SharingGrid
from recmtl.grid.experts import StackedExperts
from recmtl.grid.gates import ResidualGate, SelectionGate, SoftmaxGate
from recmtl.grid.layout import INPUT
from recmtl.model import TabularModel
from recmtl.model.attention import TargetAttention
from recmtl.model.encoder import TabularEncoder
from recmtl.model.sized_encoder import AnyEncoder

__all__ = ["RequestNetwork"]


class RequestNetwork(nn.Module):
    """A model's scores for the candidates of one user. For export; not safe for several threads.

    Args:
        model: in evaluation mode; shares its weights.
        user: names of the features that the user brings, some of the model's but not all.
    """

    def __init__(self, model: TabularModel, user: Collection[str]) -> None:
        super().__init__()
        encoding = model.encoder.encoding
        sides = [encoding.part(user), encoding.part(set(encoding.fields) - set(user))]
        self.histories = _Histories(model.encoder, sides)
        parts = [encoding.part(set(side.fields) - set(self.histories.fields)) for side in sides]
        self.user, self.candidates = (
            _Part(model.encoder.part(part), side) for part, side in zip(parts, sides, strict=True)
        )
        self.grid, self.heads, self.encoder = model.grid, model.heads, model.encoder
        numbers = [column for side in sides for column in encoding.columns_of(side)[1]]
        self.numbers = sorted(range(len(numbers)), key=numbers.__getitem__)
        where = model.encoder.columns_of_fields()
        user_columns, candidate_columns = (
            [column for name in fields for column in where[name]]
            for fields in (
                self.user.fields,
                [*self.candidates.fields, *self.histories.fields],
            )
        )
        joined = [*user_columns, *candidate_columns]
        self.order = sorted(range(len(joined)), key=joined.__getitem__)
        self.products = list(_first_products(model.grid))
        # Weights of the products; exported files carry these two names.
        self.of_user, self.of_candidates = nn.ParameterList(), nn.ParameterList()
        for name, _ in self.products:
            weight = model.grid.get_parameter(name).detach()
            # An expert's product is x @ W, a gate's is x @ W.T.
            user_part = (
                weight[:, user_columns] if weight.dim() == 3 else weight[:, user_columns].t()
            )
            candidate_part = weight[:, candidate_columns]
            self.of_user.append(nn.Parameter(user_part.contiguous(), requires_grad=False))
            self.of_candidates.append(nn.Parameter(candidate_part, requires_grad=False))

    def forward(
        self, user_ids: Tensor, user_numeric: Tensor, ids: Tensor, numeric: Tensor
    ) -> Tensor:
        """Map the user's row `[1, Iu]`, `[1, Nu]` and candidates `[R, Ic]`, `[R, Nc]` to scores.

        Their encoded columns are ordered as in `Encoding.part`; scores are `[R, C]`.
        """
        user, lanes = self.user(user_ids, user_numeric), self.candidates(ids, numeric)
        if self.histories.fields:
            lanes = torch.cat([lanes, self.histories([user_ids, ids])], 2)
        if self.products:
            task_lanes = functional_call(self.grid, self._weights(user[:, 0]), (lanes,))
        else:
            repeated = user.expand(len(lanes), -1, -1)
            joined = torch.cat([repeated, lanes], 2)[:, :, self.order]
            task_lanes = self.grid(self.encoder.with_interactions(joined))
        whole = None
        if self.heads.read_numbers:
            of_user = user_numeric.expand(len(numeric), -1)
            whole = torch.cat([of_user, numeric], 1)[:, self.numbers]
        return self.heads.scores(self.heads(task_lanes, whole))

    def _weights(self, user: Tensor) -> dict[str, Tensor]:
        """Weights and biases of the first products, for a user whose lane is `[1, D]`."""
        parameters = {}
        for (weight, bias), user_part, candidate_part in zip(
            self.products, self.of_user, self.of_candidates, strict=True
        ):
            shared = self.grid.get_parameter(bias)
            parameters[weight] = candidate_part
            parameters[bias] = shared + torch.matmul(user, user_part).view_as(shared)
        return parameters


class _Part(nn.Module):
    """Lanes `[B, L, width]` of some of the features whose columns one side of a request brings."""

    def __init__(self, encoder: AnyEncoder, side: Encoding) -> None:
        super().__init__()
        self.encoder, self.fields = encoder, list(encoder.columns_of_fields())
        self.columns = side.columns_of(encoder.encoding)
        self.is_whole = encoder.encoding == side

    def forward(self, ids: Tensor, numeric: Tensor) -> Tensor:
        if not self.encoder.width:
            return numeric.new_zeros(len(ids), self.encoder.num_lanes, 0)
        if not self.is_whole:
            ids, numeric = ids[:, self.columns[0]], numeric[:, self.columns[1]]
        lanes: Tensor = self.encoder(ids, numeric)
        return lanes


class _Histories(nn.Module):
    """Lanes of the histories of which one side of a request has the events, the other a target.

    Args:
        encoder: of the whole rows.
        sides: the features that the user brings, and those of the candidates.
    """

    def __init__(self, encoder: AnyEncoder, sides: Sequence[Encoding]) -> None:
        super().__init__()
        self.encoder, self.fields = encoder, list[str]()
        self.parts: list[_HistoryPlaces] = []
        for history in encoder.encoding.histories:
            side = int(history in sides[1].histories)
            lists = sides[side].histories[history]
            names = [field.target for field in lists if field.target is not None]
            of = [int(name in sides[1].single) for name in names]
            if set(of) != {side}:
                targets = [(i, sides[i].single.index(n)) for i, n in zip(of, names, strict=True)]
                reader, unit = encoder.reader_of(history)
                self.parts.append(_HistoryPlaces(reader, unit, side, lists, targets))
                self.fields += [field.name for field in lists]

    def forward(self, ids: Sequence[Tensor]) -> Tensor:
        """Ids of the user `[1, Iu]` and of the candidates `[R, Ic]` to lanes `[R, L, width]`."""
        lanes, ids = [], [self.encoder.local(of_side) for of_side in ids]
        for part in self.parts:
            targets = [part.reader.table(ids[side][:, column]) for side, column in part.targets]
            events, is_real = part.reader.events(ids[part.side], part.lists)
            targets = list(torch.broadcast_tensors(*targets))  # type: ignore[no-untyped-call]
            lanes.append(part.reader.lanes_of(part.unit(events, targets, is_real)))
        return torch.cat(lanes, 2)


@dataclass(frozen=True)
class _HistoryPlaces:
    """What reads a history, the side and lists of its events, side and column of each target."""

    reader: TabularEncoder
    unit: TargetAttention
    side: int
    lists: tuple[ListField, ...]
    targets: list[tuple[int, int]]


def _first_products(grid: SharingGrid) -> Iterator[tuple[str, str]]:
    """Weight and bias names of every product that reads the grid's input.

    None at all if something else than an affine product reads it.
    """
    first = grid.layer(0)
    experts = first.experts
    affine = isinstance(experts, StackedExperts) and experts.kind == "mlp" and experts.reads
    if grid.layout.input_lanes > 1 or not affine or first.skippable:
        return
    if grid.layout.looks_at_prior:
        return
    yield "layers.0.experts.weights.0", "layers.0.experts.biases.0"
    for depth in range(len(grid.layers)):
        gate, name = grid.layer(depth).gate, f"layers.{depth}.gate"
        if isinstance(gate, ResidualGate):
            gate, name = gate.gate, f"{name}.gate"
        if isinstance(gate, SelectionGate):
            yield f"{name}.linears.0.weight", f"{name}.linears.0.bias"
        if isinstance(gate, SoftmaxGate):
            for number, source in enumerate(gate.sources):
                if source == INPUT or depth == 0:
                    yield f"{name}.linears.{number}.weight", f"{name}.linears.{number}.bias"

"""Interactions of fields: further lanes that are made of a lane of embeddings, before the grid.

A lane holds F fields of equal size side by side, `x = (v_1, ..., v_F)`. An interaction maps it to a
lane of the same width, so that experts read it as they read embeddings:

| kind | field i of the lane (j other than i), or the lane | source |
|---|---|---|
| `fm` | `s v_i * sum_j v_j` | Rendle, ICDM 2010, equation 1 |
| `fwfm` | `s v_i * sum_j r_ij v_j`, r symmetric | Pan et al., WWW 2018, equation 5 |
| `dcn` | `x_2`, of `x_l+1 = x * (W_l x_l + b_l) + x_l` | Wang et al., WWW 2021, equation 1 |
| `dcn_low_rank` | the same with `W_l = U_l V_l` | Wang et al., WWW 2021, equation 2 |

Half the sum of the first lane's numbers, over s, is the second-order term of a factorisation
machine: what that model says is one weight for all numbers of the lane. `s` makes the lane about as
wide as embeddings are when training starts; weights of experts take it up.
"""

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recmtl.data.encoding import Encoding
from recmtl.errors import ConfigError
from recmtl.grid.layout import CROSSINGS, Interaction

__all__ = ["CrossNetwork", "FieldPairs", "InteractionLanes", "interaction_of"]

START = 0.05
"""Standard deviation of embeddings when training starts."""


class InteractionLanes(nn.ModuleList):
    """The lanes that interactions make of the last lane of embeddings.

    Args:
        kinds: one for each lane.
        encoding: the fields of a lane.
        width: features of a lane.

    Raises:
        ConfigError: fields of several sizes cannot be multiplied with one another.
    """

    def __init__(self, kinds: Sequence[Interaction], encoding: Encoding, *, width: int) -> None:
        for kind in kinds:
            if kind.fields != encoding.num_fields:
                there = f"and a lane has {encoding.num_fields}"
                raise ValueError(f"{kind.kind}: interactions of {kind.fields} fields, {there}")
            if encoding.own_sizes and kind.kind in ("fm", "fwfm"):
                raise ConfigError(
                    f"grid.interactions: {kind.kind} multiplies embeddings of one size; drop dim "
                    "from the features of the schema, or use dcn or dcn_low_rank"
                )
        super().__init__(interaction_of(kind, width) for kind in kinds)
        self.kinds = tuple(kinds)

    def joined(self, lanes: Tensor) -> Tensor:
        """Lanes of embeddings `[B, L, D]`, then what is made of the last of them."""
        made = [interaction(lanes[:, -1]).unsqueeze(1) for interaction in self]
        return torch.cat([lanes, *made], 1)

    def only(self, numbers: Sequence[int], encoding: Encoding, *, width: int) -> "InteractionLanes":
        """The interactions of these numbers, with their weights."""
        part = InteractionLanes((), encoding, width=width)
        part.extend(copy.deepcopy(self[number]) for number in numbers)
        part.kinds = tuple(self.kinds[number] for number in numbers)
        return part


def interaction_of(interaction: Interaction, width: int) -> nn.Module:
    """The module that maps lanes `[B, D]` of this width to lanes `[B, D]`."""
    if interaction.kind in ("fm", "fwfm"):
        return FieldPairs(interaction.fields, is_weighted=interaction.kind == "fwfm")
    return CrossNetwork(width, rank=interaction.rank)


class FieldPairs(nn.Module):
    """Each field times the sum of the others (FM), or a weighted sum of them (FwFM).

    Args:
        fields: number F of fields.
        is_weighted: whether pairs of fields have weights, 1 at the start.
    """

    def __init__(self, fields: int, *, is_weighted: bool) -> None:
        super().__init__()
        self.fields, self.scale = fields, 1.0 / (START * math.sqrt(max(fields - 1, 1)))
        self.weight = nn.Parameter(torch.ones(fields, fields)) if is_weighted else None
        self.register_buffer("others", 1 - torch.eye(fields), persistent=False)

    others: Tensor

    def forward(self, lanes: Tensor) -> Tensor:
        """Lanes `[B, F * size]` to lanes `[B, F * size]`."""
        fields = lanes.view(len(lanes), self.fields, -1)
        if self.weight is None:
            others = fields.sum(1, keepdim=True) - fields
        else:
            others = (self.others * (self.weight + self.weight.t()) / 2) @ fields
        return (self.scale * fields * others).flatten(1)


class CrossNetwork(nn.Module):
    """Two crossings of a lane with itself (DCN-V2).

    Args:
        width: features D of a lane.
        rank: of a crossing's matrix; 0 for the full matrix.
    """

    def __init__(self, width: int, *, rank: int) -> None:
        super().__init__()
        shapes = [(width, rank), (rank, width)] if rank else [(width, width)]
        self.products = nn.ModuleList(
            nn.Sequential(*(nn.Linear(a, b, bias=b == width) for a, b in shapes))
            for _ in range(CROSSINGS)
        )

    def forward(self, lanes: Tensor) -> Tensor:
        """Lanes `[B, D]` to lanes `[B, D]`."""
        crossed = lanes
        for product in self.products:
            crossed = lanes * product(crossed) + crossed
        return crossed

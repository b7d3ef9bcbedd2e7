"""A network for one user and many candidates, which computes the user's part once.

The first products of a grid are affine in the fields of a lane, so they split into a part of the
candidate and a part of the user: `W x + b = W_c x_c + (W_u x_u + b)`. The user enters as biases,
and the candidates pass through first products of their own fields only. Where a layout's first
layer does more with a lane than affine products (shortcuts, carried lanes, instance gates, several
input lanes), the user's fields are embedded once and repeated.
"""

from collections.abc import Collection, Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call

from recmtl.grid import SharingGrid
from recmtl.grid.experts import StackedExperts
from recmtl.grid.gates import ResidualGate, SoftmaxGate
from recmtl.grid.layout import INPUT
from recmtl.model import TabularModel

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
        others = set(encoding.fields) - set(user)
        self.user = model.encoder.part(encoding.part(user))
        self.candidates = model.encoder.part(encoding.part(others))
        self.grid, self.heads = model.grid, model.heads
        size, where = model.encoder.lane_size, {name: i for i, name in enumerate(encoding.fields)}
        user_columns, candidate_columns = (
            [where[name] * size + i for name in part.encoding.fields for i in range(size)]
            for part in (self.user, self.candidates)
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
        if self.products:
            task_lanes = functional_call(self.grid, self._weights(user[:, 0]), (lanes,))
        else:
            repeated = user.expand(len(lanes), -1, -1)
            task_lanes = self.grid(torch.cat([repeated, lanes], 2)[:, :, self.order])
        return self.heads.scores(self.heads(task_lanes))

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


def _first_products(grid: SharingGrid) -> Iterator[tuple[str, str]]:
    """Weight and bias names of every product that reads the grid's input.

    None at all if something else than an affine product reads it.
    """
    first = grid.layer(0)
    experts = first.experts
    affine = isinstance(experts, StackedExperts) and experts.kind == "mlp" and experts.reads
    if grid.layout.input_lanes > 1 or not affine or first.skippable:
        return
    yield "layers.0.experts.weights.0", "layers.0.experts.biases.0"
    for depth in range(len(grid.layers)):
        gate, name = grid.layer(depth).gate, f"layers.{depth}.gate"
        if isinstance(gate, ResidualGate):
            gate, name = gate.gate, f"{name}.gate"
        if isinstance(gate, SoftmaxGate):
            for number, source in enumerate(gate.sources):
                if source == INPUT or depth == 0:
                    yield f"{name}.linears.{number}.weight", f"{name}.linears.{number}.bias"

"""One user and many candidates as a network: what depends on the user alone is computed once.

The first products of a grid are affine in the fields of a lane, so they fall apart:
`W x + b = W_c x_c + (W_u x_u + b)`. A request's user enters as biases, and the candidates pass
through first products of their own fields only. Where a layout's first layer does more with a lane
than affine products (shortcuts, carried lanes, instance gates, several input lanes), the user's
fields are embedded once and repeated.
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
    """A model's scores for one user's candidates; for export, and not for several threads.

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
        mine, theirs = (
            [where[name] * size + i for name in part.encoding.fields for i in range(size)]
            for part in (self.user, self.candidates)
        )
        both = [*mine, *theirs]
        self.order = sorted(range(len(both)), key=both.__getitem__)
        self.products = list(_first_products(model.grid))
        self.of_user, self.of_candidates = nn.ParameterList(), nn.ParameterList()
        for weight, _ in self.products:
            whole = model.grid.get_parameter(weight).detach()
            # An expert's product is x @ W, a gate's is x @ W.T.
            own = whole[:, mine] if whole.dim() == 3 else whole[:, mine].t()
            self.of_user.append(nn.Parameter(own.contiguous(), requires_grad=False))
            self.of_candidates.append(nn.Parameter(whole[:, theirs], requires_grad=False))

    def forward(
        self, user_ids: Tensor, user_numeric: Tensor, ids: Tensor, numeric: Tensor
    ) -> Tensor:
        """Map the user's row `[1, Iu]`, `[1, Nu]` and candidates `[R, Ic]`, `[R, Nc]` to scores.

        Both are encoded columns as `Encoding.part` orders them; scores are `[R, C]`.
        """
        user, lanes = self.user(user_ids, user_numeric), self.candidates(ids, numeric)
        if self.products:
            task_lanes = functional_call(self.grid, self._weights(user[:, 0]), (lanes,))
        else:
            repeated = user.expand(len(lanes), -1, -1)
            task_lanes = self.grid(torch.cat([repeated, lanes], 2)[:, :, self.order])
        return self.heads.scores(self.heads(task_lanes))

    def _weights(self, user: Tensor) -> dict[str, Tensor]:
        """The grid's first products for the candidates of a user whose lane is `[1, D]`."""
        found = {}
        for (weight, bias), own, other in zip(
            self.products, self.of_user, self.of_candidates, strict=True
        ):
            whole = self.grid.get_parameter(bias)
            found[weight], found[bias] = other, whole + torch.matmul(user, own).view_as(whole)
        return found


def _first_products(grid: SharingGrid) -> Iterator[tuple[str, str]]:
    """Names of weight and bias of all products of the grid's input; none if that is not all."""
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

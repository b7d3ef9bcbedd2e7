"""The network that training and search know: encoder, grid and heads, for any inputs and tasks."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from torch import Tensor, nn

from recmtl.data.batches import Batch, Labels, Rows
from recmtl.grid import Cost, Decision, SharingGrid, layout_cost

__all__ = ["InputEncoder", "Network", "TaskHeads", "predict"]


class InputEncoder(Protocol):
    """A module that maps the tensors of a batch to the grid's input lanes."""

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Lanes `[B, S, *F]`."""

    def cost(self) -> Cost:
        """Parameters and multiply-adds an example."""

    def only(self, lanes: Sequence[int]) -> nn.Module:
        """The encoder of these lanes alone, with their part of the weights."""

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> Any:
        """Copy the weights of a `state_dict`."""


class TaskHeads(Protocol):
    """A module that maps task lanes to outputs and measures their loss."""

    def __call__(self, lanes: Tensor) -> list[Tensor]:
        """Task lanes `[B, T, *F]` to each task's outputs, from which losses and scores are made."""

    def losses(self, outputs: list[Tensor], labels: Labels, weight: Tensor) -> Tensor:
        """Mean loss `[T]` of each task over the rows with a label; 0 if there are none."""

    def loss_scale(self, balance: float) -> Tensor:
        """Factor `[T]` of each task's loss: `weight / constant_loss ** balance`."""

    def cost(self) -> Cost:
        """Parameters and multiply-adds an example."""

    def parameters(self) -> Iterable[nn.Parameter]:
        """The weights."""


class Network(nn.Module):
    """Maps the tensors of a batch to each task's outputs.

    Args:
        encoder: tensors of a batch to input lanes.
        grid: input lanes to task lanes.
        heads: task lanes to outputs.
    """

    encoder: InputEncoder
    heads: TaskHeads
    columns: tuple[str, ...]
    """Names of the `predictions`."""

    def __init__(self, encoder: InputEncoder, *, grid: SharingGrid, heads: TaskHeads) -> None:
        super().__init__()
        self.encoder, self.grid, self.heads = encoder, grid, heads

    def forward(self, *inputs: Tensor, decisions: Sequence[Decision] | None = None) -> list[Tensor]:
        """The outputs of the heads, `[B, ...]` for each task.

        Args:
            inputs: of a batch.
            decisions: which edges are kept and which lanes run, layer by layer; all by default.
        """
        return self.heads(self.grid(self.encoder(*inputs), decisions))

    def predictions(
        self, batch: Batch, decisions: Sequence[Decision] | None = None
    ) -> Sequence[Tensor]:
        """What is predicted for a batch, `[B, ...]` each in the order of `columns`."""
        raise NotImplementedError

    def cost(self) -> Cost:
        """Parameters (embedding tables included) and multiply-adds an example."""
        grid = self.grid
        wiring = layout_cost(grid.layout, input_width=grid.input_width, pixels=grid.pixels)
        return self.encoder.cost() + wiring + self.heads.cost()

    def sparse_parameters(self) -> list[Tensor]:
        """Parameters whose gradients are sparse."""
        return []

    def to_json(self) -> dict[str, Any]:
        """What rebuilds the network, apart from its weights, as JSON data."""
        raise NotImplementedError


def predict(
    model: Network,
    rows: Rows,
    *,
    batch_size: int = 4096,
    decisions: Sequence[Decision] | None = None,
) -> dict[str, np.ndarray]:
    """The predictions for all rows, `[R, ...]` by name, in the order of the rows."""
    by_batch = [
        model.predictions(batch, decisions)
        for batch in rows.batches(batch_size=batch_size, seed=None)
    ]
    nothing = np.empty(0, np.float32)
    return {
        name: np.concatenate([columns[place].numpy() for columns in by_batch] or [nothing])
        for place, name in enumerate(model.columns)
    }

"""Two optimisers behind one step: lazy Adam on touched table rows, fused AdamW on the rest."""

from typing import Any

import torch

from recmtl.model import Model
from recmtl.train.config import Training

__all__ = ["Optimizer"]


class Optimizer:
    """Updates a model from its gradients; learning rates fall linearly if the settings say so.

    The embedding table's gradient is sparse and only the rows of the batch move. This is lazy
    Adam: moments of untouched rows do not decay, so it is another optimiser than dense Adam.
    """

    def __init__(self, model: Model, settings: Training, *, total_steps: int) -> None:
        table = model.encoder.table.weight
        dense = [p for p in model.parameters() if p is not table]
        self.sparse = torch.optim.SparseAdam([table], lr=settings.table_learning_rate)
        self.dense = torch.optim.AdamW(
            dense, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        self.settings, self.total_steps, self.steps = settings, max(1, total_steps), 0

    def step(self, loss: torch.Tensor) -> None:
        """Take the gradient of a scalar loss and one step."""
        share = 1.0 - self.steps / self.total_steps if self.settings.decay else 1.0
        self.sparse.param_groups[0]["lr"] = self.settings.table_learning_rate * share
        self.dense.param_groups[0]["lr"] = self.settings.learning_rate * share
        self.sparse.zero_grad(set_to_none=True)
        self.dense.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.sparse.step()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.dense.step()
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        """Moments and position, for a checkpoint."""
        return {
            "sparse": self.sparse.state_dict(),
            "dense": self.dense.state_dict(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict` data."""
        self.sparse.load_state_dict(state["sparse"])
        self.dense.load_state_dict(state["dense"])
        self.steps = state["steps"]

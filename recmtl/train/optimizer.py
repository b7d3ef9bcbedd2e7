"""The optimisers behind one step: lazy Adam on touched table rows, a dense one on the rest."""

from typing import Any

import torch

from recmtl.model import Network
from recmtl.train.clip import clip
from recmtl.train.config import Training
from recmtl.train.row_adam import RowAdam

__all__ = ["Optimizer"]


class Optimizer:
    """Updates a model from its gradients; learning rates fall as the settings say.

    An embedding table's gradient is sparse and only the rows of the batch move. This is lazy
    Adam: moments of untouched rows do not decay, so it is another optimiser than dense Adam.
    """

    def __init__(self, model: Network, settings: Training, *, total_steps: int) -> None:
        tables = model.sparse_parameters()
        self.sparse: torch.optim.Optimizer | None = None
        if tables:
            self.sparse = RowAdam(tables, lr=settings.table_learning_rate)
        apart = {id(table) for table in tables}
        if settings.head_learning_rate is not None:
            apart |= {id(p) for p in model.heads.parameters()}
        groups = [{"params": [p for p in model.parameters() if id(p) not in apart]}]
        if settings.head_learning_rate is not None:
            groups.append({"params": list(model.heads.parameters())})
        self.dense = _dense(groups, settings)
        rates = (settings.learning_rate, settings.head_learning_rate)
        self.rates = [rate for rate in rates if rate is not None]
        self.settings, self.total_steps, self.steps = settings, max(1, total_steps), 0

    def add(self, loss: torch.Tensor) -> None:
        """Add the gradient of a scalar loss to what the next step will follow."""
        torch.autograd.backward(loss)

    def step(self, loss: torch.Tensor | None = None) -> None:
        """Take one step by the gradients added since the last one, and that of a scalar `loss`."""
        if loss is not None:
            self.add(loss)
        if self.settings.clip:
            groups = [group for part in self._parts() for group in part.param_groups]
            clip((p for group in groups for p in group["params"]), self.settings.clip)
        share = self._share()
        for group, rate in zip(self.dense.param_groups, self.rates, strict=True):
            group["lr"] = rate * share
        if self.sparse is not None:
            self.sparse.param_groups[0]["lr"] = self.settings.table_learning_rate * share
        for part in self._parts():
            part.step()
            part.zero_grad(set_to_none=True)
        self.steps += 1

    @property
    def progress(self) -> float:
        """Share of all steps that are taken."""
        return self.steps / self.total_steps

    def state_dict(self) -> dict[str, Any]:
        """Moments and position, for a checkpoint."""
        return {
            "sparse": None if self.sparse is None else self.sparse.state_dict(),
            "dense": self.dense.state_dict(),
            "steps": self.steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict` data."""
        if self.sparse is not None:
            self.sparse.load_state_dict(state["sparse"])
        self.dense.load_state_dict(state["dense"])
        self.steps = state["steps"]

    def _parts(self) -> list[torch.optim.Optimizer]:
        return [self.dense] if self.sparse is None else [self.sparse, self.dense]

    def _share(self) -> float:
        """Of the first learning rates that is left at this step."""
        if self.settings.step_every:
            return float(self.settings.step_factor ** (self.steps // self.settings.step_every))
        return 1.0 - self.progress if self.settings.decay else 1.0


def _dense(groups: list[dict[str, Any]], settings: Training) -> torch.optim.Optimizer:
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "sgd":
        momentum = settings.betas[0]
        return torch.optim.SGD(groups, lr=rate, weight_decay=decay, momentum=momentum, fused=True)
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=rate, weight_decay=decay, betas=settings.betas, fused=True)

"""What the two peers on PyTorch have in common: masked losses, and a copy of the weights."""

import copy
from typing import Any

import torch
from torch.nn import functional

from benchmarks.board.peer import threads

__all__ = ["LOSSES", "TorchPeer", "masked", "start"]

LOSSES = {"binary": functional.binary_cross_entropy, "regression": functional.mse_loss}


def start(seed: int) -> None:
    """Set the seed and the number of threads."""
    torch.manual_seed(seed)
    torch.set_num_threads(threads())


def masked(kind: str) -> Any:
    """The loss of a kind of task over the rows that have a label; neither library has that.

    It takes `reduction`, as DeepCTR-Torch gives it.
    """

    def loss(scores: torch.Tensor, labels: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
        rows = ~torch.isnan(labels)
        if not rows.any():
            return scores.sum() * 0.0
        return LOSSES[kind](scores[rows], labels[rows], reduction=reduction)

    return loss


class TorchPeer:
    """The weights of a module: how many, copied, and put back."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.module = module
        self.parameters = sum(weight.numel() for weight in module.parameters())

    def state(self) -> object:
        """A copy of the weights."""
        return copy.deepcopy(self.module.state_dict())

    def restore(self, state: Any) -> None:
        """Put weights back that `state` gave."""
        self.module.load_state_dict(state)

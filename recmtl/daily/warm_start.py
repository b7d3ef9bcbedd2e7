"""Networks that are trained on: their weights, and rows of the table for new values."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from recmtl.model import Network, TabularModel
from recmtl.model.sized_encoder import grown_tables

__all__ = ["warm_start"]


def warm_start(parent: TabularModel, starts: np.ndarray) -> Callable[[Network], None]:
    """What gives a network of the grown encoder the weights of its parent.

    A network of the same layout has all of them, and computes for known values what the parent
    does, and for new ones what it does for unknown values. One of another layout has the table and
    what else is of the same shape in the encoder; it has been drawn for the rest.

    Args:
        parent: the network that was trained before.
        starts: of each row of the new table, the parent's row that it starts from.
    """
    of_parent, rows = dict(parent.state_dict()), torch.from_numpy(starts.astype(np.int64))

    def start(network: Network) -> None:
        weights = dict(of_parent)
        if isinstance(network, TabularModel):
            tables = grown_tables(parent.encoder, network.encoder, rows)
            weights |= {f"encoder.{name}": table for name, table in tables.items()}
        same_layout = network.grid.layout == parent.grid.layout
        network.load_state_dict(weights if same_layout else _encoder_of(weights, network))

    return start


def _encoder_of(weights: Mapping[str, Tensor], network: Network) -> dict[str, Tensor]:
    """The network's weights, with those of an encoder of another layout as far as they fit."""
    drawn = network.state_dict()
    fitting = {
        name: weights[name]
        for name, tensor in drawn.items()
        if name.startswith("encoder.") and name in weights and weights[name].shape == tensor.shape
    }
    return {**drawn, **fitting}

"""Encoder, grid and heads in one module: the only meeting place, for tables and for images."""

from recmtl.model.network import Network
from recmtl.model.tabular import Model, ModelSizes, load_model, prune_model, save_model

__all__ = [
    "Model",
    "ModelSizes",
    "Network",
    "load_model",
    "prune_model",
    "save_model",
]

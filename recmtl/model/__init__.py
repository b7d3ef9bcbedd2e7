"""Encoder, grid and heads in one module: the only meeting place, for tables and for images."""

from recmtl.model.network import Network, predict
from recmtl.model.tabular import ModelSizes, TabularModel, load_model, prune_model, save_model

__all__ = [
    "ModelSizes",
    "Network",
    "TabularModel",
    "load_model",
    "predict",
    "prune_model",
    "save_model",
]

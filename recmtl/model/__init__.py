"""Networks: encoder, grid and heads in one module. Only here do the three meet.

`Network` is what training, search and pruning know; `TabularModel` is the network of tables.
"""

from recmtl.model.blend import Blend, BlendedModel, load_blend, save_blend
from recmtl.model.network import (
    ModelSizes,
    Network,
    TabularModel,
    load_model,
    predict,
    prune_model,
    save_model,
)

__all__ = [
    "Blend",
    "BlendedModel",
    "ModelSizes",
    "Network",
    "TabularModel",
    "load_blend",
    "load_model",
    "predict",
    "prune_model",
    "save_blend",
    "save_model",
]

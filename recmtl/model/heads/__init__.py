"""Heads of tables: binary, regression and multiclass tasks, and click -> conversion funnels.

`spec` describes a head, `funnel` relates a child to its parent, `labels` and its neighbours model
the labels of other tasks, `heads` holds the weights.
"""

from recmtl.model.heads.fit import fitted, fitted_heads
from recmtl.model.heads.funnel import AITM, ESCM2_DR, ESCM2_IPS, ESMM, Chain
from recmtl.model.heads.heads import TabularHeads
from recmtl.model.heads.late import LateLabels
from recmtl.model.heads.position import fitted_places
from recmtl.model.heads.spec import HeadSpec, head_specs, output_columns

__all__ = [
    "AITM",
    "ESCM2_DR",
    "ESCM2_IPS",
    "ESMM",
    "Chain",
    "HeadSpec",
    "LateLabels",
    "TabularHeads",
    "fitted",
    "fitted_heads",
    "fitted_places",
    "head_specs",
    "output_columns",
]

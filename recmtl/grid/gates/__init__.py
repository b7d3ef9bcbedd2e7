"""Gates: how much an edge weighs, which features of a lane count, which lane an example skips."""

from recmtl.grid.gates.edges import (
    ConstantGate,
    ResidualGate,
    ScalarGate,
    SoftmaxGate,
    make_gate,
)
from recmtl.grid.gates.features import FeatureGate
from recmtl.grid.gates.instance import INSTANCE_HIDDEN, InstancePolicy
from recmtl.grid.gates.selection import SelectionGate

__all__ = [
    "INSTANCE_HIDDEN",
    "ConstantGate",
    "FeatureGate",
    "InstancePolicy",
    "ResidualGate",
    "ScalarGate",
    "SelectionGate",
    "SoftmaxGate",
    "make_gate",
]

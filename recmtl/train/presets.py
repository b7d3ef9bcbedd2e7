"""Presets: settings of a run that belong together, from quick to thorough.

A preset gives the defaults of a configuration; what its file says goes before them.
`docs/guides/presets.md` has what each scored and cost.
"""

from collections.abc import Mapping
from typing import Any

__all__ = ["PRESETS"]

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "fast": {
        "search": {"race": False},
        "evidence": {"seeds": 2, "control_seeds": 2, "ablation_seeds": 0},
    },
    "default": {},
    "best": {
        "trees": {
            "enabled": True,
            "rounds": 1000,
            "learning_rate": 0.05,
            "leaves": 63,
            "smallest_leaf": 20,
            "feature_share": 0.5,
        },
        "search": {"source_seeds": 2, "race": True},
        "evidence": {"seeds": 5, "control_seeds": 5, "ablation_seeds": 2},
    },
}
"""Preset -> the settings in which it differs from the defaults of `Config`."""

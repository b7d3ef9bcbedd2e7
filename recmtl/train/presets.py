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
        "evidence": {"seeds": 2, "ablation_seeds": 0},
    },
    "default": {},
    "best": {
        "trees": {"enabled": True},
        "blend": {"enabled": True},
        "search": {"source_seeds": 3},
        "evidence": {"seeds": 5, "ablation_seeds": 3},
    },
}
"""Preset -> the settings in which it differs from the defaults of `Config`."""

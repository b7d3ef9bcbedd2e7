"""One HTML file that shows a run: the verdict first, then everything it rests on.

The file needs nothing else: no script, no font, no request. Parts for which there is no input (no
search, no LightGBM, no group) are left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recmtl.evaluate.metrics import ReliabilityCurve
from recmtl.report import expert_section as health_section
from recmtl.report import picture_sections as pictures
from recmtl.report import sections
from recmtl.report.page import write_page

__all__ = ["ExpertUse", "ReportInput", "write_report"]


@dataclass(frozen=True)
class ExpertUse:
    """How much each task uses each expert: `use` of shape [T, E], with the names of both axes."""

    use: np.ndarray
    tasks: Sequence[str]
    experts: Sequence[str]


@dataclass(frozen=True)
class ReportInput:
    """What the page shows.

    Attributes:
        results: results.json (see `assemble`).
        data: the encoded log's manifest: rows by split, tasks, fingerprint, warnings.
        search_history: one entry an epoch: epoch, entropy, multiply_adds, temperature, and
            validation = {task: primary metric}; any of them may be missing.
        routes_svg: picture of the found routes, as SVG text.
        expert_use: of the searched network.
        health: of its experts at every check of its training (`health_record`).
        reliability: binary task -> model -> curve.
        title: heading of the page.
    """

    results: Mapping[str, Any]
    data: Mapping[str, Any] = field(default_factory=dict)
    search_history: Sequence[Mapping[str, Any]] = ()
    routes_svg: str | None = None
    expert_use: ExpertUse | None = None
    health: Mapping[str, Any] = field(default_factory=dict)
    reliability: Mapping[str, Mapping[str, ReliabilityCurve]] = field(default_factory=dict)
    title: str = "What these tasks should share"


def write_report(path: Path, content: ReportInput) -> None:
    """Write the page; `path` holds either the whole new file or what it held before."""
    results, use = content.results, content.expert_use
    parts = [
        sections.headline(content.title, results),
        sections.quality(results),
        pictures.gains(results),
        pictures.quality_against_cost(results),
        pictures.routes(content.routes_svg),
        sections.sharing(results),
        pictures.expert_use(use.use, use.tasks, use.experts) if use is not None else None,
        health_section.health(content.health),
        pictures.search(content.search_history, results),
        pictures.calibration(content.reliability, results),
        sections.cost(results),
        sections.data(content.data, results),
        sections.how_to_read(results),
    ]
    write_page(path, content.title, [part for part in parts if part is not None])

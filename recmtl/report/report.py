"""One HTML file that shows a run: the verdict first, then the evidence behind it.

The file is self-contained: no script, no font, no request. A section without input (no search, no
LightGBM, no group) is left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recmtl.evaluate.metrics import ReliabilityCurve
from recmtl.report import expert_section, picture_sections, sections, what_mattered
from recmtl.report.page import write_page

__all__ = ["ExpertUse", "ReportInput", "write_report"]


@dataclass(frozen=True)
class ExpertUse:
    """How much each task uses each expert: `use` has shape [T, E], the names are its axes."""

    use: np.ndarray
    tasks: Sequence[str]
    experts: Sequence[str]


@dataclass(frozen=True)
class ReportInput:
    """The content of the page.

    Attributes:
        results: results.json (see `assemble`).
        data: the encoded log's manifest: rows by split, tasks, fingerprint, warnings.
        search_history: one entry an epoch: epoch, entropy, multiply_adds, temperature, and
            validation = {task: primary metric}; any of them may be missing.
        routes_svg: drawing of the found routes, as SVG text.
        expert_use: of the searched network.
        health: of its experts at every validation check (`health_record`).
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
        sections.title(content.title),
        what_mattered.what_mattered(results),
        sections.training(results),
        sections.verdict(results),
        sections.quality(results),
        picture_sections.gains(results),
        picture_sections.quality_against_cost(results),
        picture_sections.routes(content.routes_svg),
        sections.race(results),
        sections.sharing(results),
        picture_sections.expert_use(use.use, use.tasks, use.experts) if use is not None else None,
        expert_section.health(content.health),
        picture_sections.search(content.search_history, results),
        picture_sections.calibration(content.reliability, results),
        sections.blend(results),
        sections.cost(results),
        sections.data(content.data, results),
        sections.how_to_read(results),
    ]
    write_page(path, content.title, [part for part in parts if part is not None])

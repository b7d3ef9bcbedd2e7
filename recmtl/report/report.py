"""One HTML file that shows a run: the verdict first, then the evidence behind it.

The file is self-contained: no font, no request, and one script, which sorts tables. A section
without input (no search, no LightGBM, no group) is left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from recmtl.evaluate.metrics import ReliabilityCurve
from recmtl.report.page import write_page
from recmtl.report.sections import (
    analysis,
    data,
    experts,
    models,
    opening,
    pictures,
    update,
    weighting,
    what_mattered,
)
from recmtl.report.sections.analysis import Curves

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
        routes: task -> drawing of its route, as SVG text.
        expert_use: of the searched network.
        health: of its experts at every validation check (`health_record`).
        reliability: binary task -> model -> curve.
        curves: of every training.
        weights: of the tasks in the searched network's training (`weight_record`).
        provenance: where the figures come from, by what each fact is called.
        config: the whole configuration, as text.
        title: heading of the page.
        subtitle: the line below it.
    """

    results: Mapping[str, Any]
    data: Mapping[str, Any] = field(default_factory=dict)
    search_history: Sequence[Mapping[str, Any]] = ()
    routes: Mapping[str, str] = field(default_factory=dict)
    expert_use: ExpertUse | None = None
    health: Mapping[str, Any] = field(default_factory=dict)
    reliability: Mapping[str, Mapping[str, ReliabilityCurve]] = field(default_factory=dict)
    curves: Curves = field(default_factory=dict)
    weights: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, str] = field(default_factory=dict)
    config: str = ""
    title: str = "What these tasks should share"
    subtitle: str = ""


def write_report(path: Path, content: ReportInput) -> None:
    """Write the page; `path` holds either the whole new file or what it held before."""
    results, use = content.results, content.expert_use
    parts = [
        opening.title(content.title, content.subtitle),
        opening.recommendation(results, content.data),
        what_mattered.what_mattered(results),
        update.update(results) or opening.verdict(results),
        models.training(results),
        models.quality(results),
        pictures.gains(results),
        pictures.quality_against_cost(results),
        analysis.slices(results),
        analysis.importance(results),
        pictures.routes(content.routes),
        models.race(results),
        models.sharing(results),
        pictures.expert_use(use.use, use.tasks, use.experts) if use is not None else None,
        experts.health(content.health),
        analysis.learning(content.curves),
        weighting.weights(content.weights),
        weighting.front(results),
        pictures.search(content.search_history, results),
        pictures.calibration(content.reliability, results),
        models.blend(results),
        models.cost(results),
        data.data(content.data, results),
        data.drift(results),
        data.provenance(content.provenance, content.config),
        models.how_to_read(results),
    ]
    write_page(path, content.title, [part for part in parts if part is not None])

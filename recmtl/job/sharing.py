"""What the searches found that tasks should share, and how far searches of other seeds agree."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recmtl.grid import Layout, shared_experts
from recmtl.job.study import Study

__all__ = ["agreement", "sharing"]

FloatArray = NDArray[np.float64]


def sharing(study: Study[Any], truth: Path) -> dict[str, Any]:
    """Mean overlap of the tasks' experts over the searches, and how far seeds agree.

    `truth` is read if a simulated log left one there.
    """
    evidence, first = study.config.evidence, study.config.seed
    names = [task.name for task in study.material.tasks]
    overlaps = _overlaps(study, "searched", range(first, first + evidence.seeds))
    facts: dict[str, Any] = {
        "tasks": names,
        "overlap": overlaps.mean(0).round(4).tolist(),
        "std": overlaps.std(0).round(4).tolist(),
        "seeds": len(overlaps),
    }
    if len(overlaps) > 1 and len(names) > 1:
        facts["agreement"] = agreement(overlaps)
        facts["differs"] = _differs(overlaps, names)
    if "random_route" in evidence.controls and min(evidence.control_seeds, len(names)) > 1:
        drawn = _overlaps(study, "random_route", range(first, first + evidence.control_seeds))
        facts["agreement_of_random_routes"] = agreement(drawn)
    if truth.is_file():
        facts["planted"] = _planted(overlaps, names, truth)
    return facts


def agreement(overlaps: FloatArray) -> float:
    """How alike the overlaps `[seeds, T, T]` are: mean over pairs of seeds of their Jaccard index.

    That of two overlaps is the sum over pairs of tasks of the smaller value by that of the larger;
    experts have no names that two searches could agree on, the pairs of tasks have. 1 where
    neither shares anything.
    """
    pairs = _by_pair(overlaps)
    both = [(np.minimum(a, b).sum(), np.maximum(a, b).sum()) for a, b in combinations(pairs, 2)]
    return round(float(np.mean([low / high if high > 0 else 1.0 for low, high in both])), 4)


def _differs(overlaps: FloatArray, names: list[str]) -> list[dict[str, Any]]:
    """Pairs of tasks of which one search says another thing than the others, the worst first."""
    found = [
        {"tasks": pair, "lowest": low, "highest": high}
        for pair, low, high in zip(
            combinations(names, 2),
            _by_pair(overlaps).min(0).round(4).tolist(),
            _by_pair(overlaps).max(0).round(4).tolist(),
            strict=True,
        )
        if high > low
    ]
    return sorted(found, key=lambda pair: pair["lowest"] - pair["highest"])


def _planted(overlaps: FloatArray, names: list[str], truth: Path) -> dict[str, Any]:
    """Mean overlap of the pairs that a simulated log relates, and of the others."""
    related = {frozenset(pair) for pair in json.loads(truth.read_text())["related"]}
    is_related = np.array([frozenset(pair) in related for pair in combinations(names, 2)])
    values = _by_pair(overlaps)
    gaps = values[:, is_related].mean(1) - values[:, ~is_related].mean(1)
    return {
        "related": float(values[:, is_related].mean()),
        "unrelated": float(values[:, ~is_related].mean()),
        "gap_by_seed": gaps.round(4).tolist(),
    }


def _by_pair(overlaps: FloatArray) -> FloatArray:
    """The entries `[seeds, pairs]` above the diagonal, in the order of `combinations`."""
    first, second = np.triu_indices(overlaps.shape[1], k=1)
    return overlaps[:, first, second]


def _overlaps(study: Study[Any], name: str, seeds: range) -> FloatArray:
    layouts: list[Layout] = [study.wiring(name, seed) for seed in seeds]
    return np.stack([shared_experts(layout).numpy() for layout in layouts]).astype(np.float64)

"""The report's sections on the data, their drift, and how the run came about."""

from collections.abc import Mapping, Sequence
from typing import Any

from recmtl.data.columns.gaps import GapCount
from recmtl.report.page import (
    Content,
    Html,
    Section,
    folded,
    listed,
    paragraph,
    section,
    table,
    terms,
)
from recmtl.report.tables import MISSING

__all__ = ["data", "drift", "provenance"]

LITTLE, MUCH = 0.1, 0.25
"""Stability indices, above chance, from which a feature has changed a little, or much."""


def data(manifest: Mapping[str, Any], results: Mapping[str, Any]) -> Section:
    """Rows, labels, fingerprint and warnings."""
    parts = []
    if manifest.get("rows"):
        shown: list[list[Content]] = [[s, _count(n)] for s, n in manifest["rows"].items()]
        parts.append(table(["split", "rows"], shown))
    labels: list[list[Content]] = []
    for task, statistics in manifest.get("tasks", {}).items():
        rows, positives = statistics.get("rows"), statistics.get("positives")
        # The manifest counts positives of binary labels only, and a label without any is refused.
        share = f"{positives / rows:.2%}" if rows and positives else MISSING
        labels.append([task, _count(rows), _count(positives or None), share])
    if labels:
        parts.append(table(["task", "train rows with a label", "positives", "share"], labels))
    if sample := manifest.get("sample"):
        parts.append(paragraph(_sampled(sample, manifest["tasks"])))
    if absent := manifest.get("weights", {}).get("rows_of_weight_0"):
        parts.append(paragraph(f"{_count(absent)} rows of weight 0 were left out of all splits."))
    if manifest.get("counts"):
        parts.append(folded("What does not count", _gaps(manifest["counts"])))
    fingerprint = manifest.get("fingerprint") or results.get("fingerprint") or "not recorded"
    line = Html("Fingerprint of data and schema: <code>{}</code>").format(str(fingerprint))
    parts.append(paragraph(line))
    warnings = manifest.get("warnings") or []
    if warnings:
        parts.append(Html("<h3>Warnings</h3>") + listed(map(str, warnings)))
    else:
        parts.append(paragraph("No data warnings."))
    return section("Data", *parts)


def _sampled(sample: Mapping[str, Any], tasks: Mapping[str, Mapping[str, Any]]) -> str:
    """What was left out of a log whose negatives are sampled, and the shares of the whole log."""
    left_out = ", ".join(f"{split} {_count(n)}" for split, n in sample["left_out"].items())
    shares = ", ".join(
        f"{name} {task['mean']:.2%}" for name, task in tasks.items() if task.get("positives")
    )
    return (
        f"Negatives are sampled: left out were, of {left_out} rows. Those that were kept count for "
        f"them, so that the shares of the whole log are about: {shares}."
    )


def _gaps(counts: Sequence[Mapping[str, Any]]) -> Html:
    """What does not count, by split and column: the largest share first."""
    gaps = sorted(map(GapCount.from_json, counts), key=lambda gap: -gap.share)
    rows: list[list[Content]] = [
        [
            gap.split,
            gap.column,
            MISSING if gap.name == gap.column else gap.name,
            gap.fault,
            _count(gap.rows),
            f"{gap.share:.2%}",
        ]
        for gap in gaps
    ]
    return table(["split", "column", "of", "rows or values that", "number", "share"], rows)


def drift(results: Mapping[str, Any]) -> Section | None:
    """How labels and features differ between train, validation and test rows."""
    facts = results.get("drift")
    if not facts:
        return None
    moved = [name for name, entry in facts["features"].items() if _kind(entry, "test")]
    line = (
        f"Features that changed until the test rows: {', '.join(moved)}."
        if moved
        else ("No feature changed noticeably until the test rows.")
    )
    return section(
        "Drift of the data",
        paragraph(line),
        _labels(facts["labels"]),
        _features(facts["features"]),
        paragraph(
            "Distance: population stability index from the train rows; below 0.1 little has "
            "changed, above 0.25 (red) much. Missing: of categories also values that training does "
            "not know, of lists empty ones. At most "
            f"{max(facts['rows'].values()):,} rows of each part were read.",
            "quiet",
        ),
    )


def _labels(labels: Mapping[str, Any]) -> Html:
    parts = ("train", "validation", "test")
    rows: list[list[Content]] = [
        [task, *(_mean(entry[part]["mean"]) for part in parts)] for task, entry in labels.items()
    ]
    return table(["task", *(f"mean label, {part}" for part in parts)], rows)


def _features(features: Mapping[str, Any]) -> Html:
    """Every feature, those that changed most until the test rows first."""
    order = sorted(features, key=lambda name: -features[name]["distance"]["test"])
    rows: list[list[Content]] = []
    kinds = []
    for name in order:
        entry = features[name]
        missing = [MISSING if s is None else f"{s:.1%}" for s in entry["missing"].values()]
        distances = [f"{entry['distance'][part]:.3f}" for part in ("validation", "test")]
        rows.append([name, entry["kind"], _count(entry["values"]), *missing, *distances])
        marks = [_kind(entry, part) for part in ("validation", "test")]
        kinds.append(["", "text", "", "", "", "", *marks])
    parts = ("train", "validation", "test")
    header = ["feature", "kind", "values", *(f"missing, {part}" for part in parts)]
    return table([*header, "distance, validation", "distance, test"], rows, kinds=kinds)


def _kind(entry: Mapping[str, Any], part: str) -> str:
    """The class of a distance, as far as chance does not explain it."""
    excess = entry["distance"][part] - entry["chance"][part]
    return "much" if excess > MUCH else "little" if excess > LITTLE else ""


def provenance(facts: Mapping[str, str], config: str) -> Section | None:
    """Where the figures come from: what was run, on what, when and with which settings."""
    if not facts:
        return None
    parts = [terms(facts.items())]
    if config:
        parts.append(folded("The whole configuration", Html("<pre>{}</pre>").format(config)))
    return section("Where this comes from", *parts)


def _mean(value: float | None) -> str:
    return MISSING if value is None else f"{value:.4g}"


def _count(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.0f}"

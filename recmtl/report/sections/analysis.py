"""The report's sections on what matters to the network, where it is weak, and how it learned."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from recmtl.report import plots
from recmtl.report.page import (
    Content,
    Html,
    Section,
    figure,
    figures,
    folded,
    paragraph,
    section,
    table,
)
from recmtl.report.tables import MISSING, format_gain, format_metric, format_number, words

__all__ = ["Curves", "importance", "learning", "slices"]

Results = Mapping[str, Any]
Curves = Mapping[str, Mapping[str, Sequence[Sequence[Mapping[str, float]]]]]
"""Model -> network -> for each seed epoch, score and loss of every check."""
MOST_BARS = 10
MOST_CURVES = 8
SOURCES = {"numbers": "numbers", "counts": "lengths of lists", "values": "exact values of numbers",
           "statistics": "statistics of the past"}  # fmt: skip


def importance(results: Results) -> Section | None:
    """What each task loses if a feature's values are shuffled, and a whole source's."""
    facts = results.get("importance")
    if not facts:
        return None
    pictures = []
    for task, entry in facts["tasks"].items():
        losses = {n: e for n, e in entry["features"].items() if e["loss"] is not None}
        first = sorted(losses, key=lambda name: -losses[name]["loss"])[:MOST_BARS]
        if not first:
            continue
        bars = {name: losses[name] for name in first}
        values = ", ".join(f"{name} {format_number(e['loss'])}" for name, e in bars.items())
        pictures.append(
            figure(
                plots.importance_plot(bars, metric=words(entry["metric"])),
                alt=f"{task}: loss of {words(entry['metric'])} by feature: {values}",
                title=task,
            )
        )
    if not pictures:
        return None
    return section(
        "What matters to the network",
        paragraph(
            "How much worse each task becomes on validation rows if the values of a feature are "
            "shuffled among the rows, so that they tell nothing any more: the longest bar is what "
            "the searched network rests on most. Lines: standard deviation of "
            f"{facts['repeats']} shuffles of {facts['rows']:,} rows. Of two features that say the "
            "same, neither seems important; the table of sources shuffles all features of a kind "
            "at once."
        ),
        figures(pictures),
        _losses("source", facts["tasks"], "sources"),
        folded("All features", _losses("feature", facts["tasks"], "features")),
    )


def _losses(head: str, tasks: Mapping[str, Any], kind: str) -> Html:
    """Loss of every task by feature or by source, the largest sum first."""
    names = list(next(iter(tasks.values()))[kind])
    rows: list[list[Content]] = []
    for name in names:
        losses = [entry[kind][name] for entry in tasks.values()]
        cells = [MISSING if e["loss"] is None else format_number(e["loss"], "+") for e in losses]
        row: list[Content] = [SOURCES.get(name, name) if kind == "sources" else name, *cells]
        if kind == "features":
            row.insert(1, losses[0].get("source", MISSING))
        rows.append(row)
    heads = [f"{task} ({words(entry['metric'])})" for task, entry in tasks.items()]
    return table([head, *(["source"] if kind == "features" else []), *heads], rows)


def slices(results: Results) -> Section | None:
    """Every task on the slices of the test rows: its metric, and the gain over single tasks."""
    entries = [entry for entry in results.get("slices") or () if entry["slices"]]
    if not entries:
        return None
    parts: list[Html] = []
    for entry in entries:
        parts.append(Html("<h3>By {}</h3>").format(entry["feature"]))
        parts.append(_slice_table(entry))
        pictures = list(_slice_pictures(entry))
        if pictures:
            line = f"Gains over a network for each task alone, by {entry['feature']}"
            parts.append(folded(line, figures(pictures)))
    return section(
        "Where it is strong and weak",
        paragraph(
            "Each task on the test rows of one kind, mean of the searched network's metric; green "
            "and red: surely better or worse than a network trained for the task alone on these "
            "rows. A feature with many values is cut by how often the train rows held the value: "
            "the first slice are new users or items. Among many slices a few verdicts are due to "
            "chance. Choose others with report: {slices: [...]}."
        ),
        *parts,
    )


def _slice_table(entry: Mapping[str, Any]) -> Html:
    tasks = entry["slices"][0]["tasks"]
    rows: list[list[Content]] = []
    kinds = []
    for part in entry["slices"]:
        cells, marks = [], []
        for task in part["tasks"].values():
            verdict = (task.get("single_task") or {}).get("verdict", "")
            cells.append(format_metric(task["models"].get("searched")))
            marks.append(f"signed {verdict}" if verdict in ("helped", "hurt") else "")
        rows.append([part["name"], f"{part['rows']:,}", f"{part['share']:.1%}", *cells])
        kinds.append(["", "", "", *marks])
    heads = [f"{task} ({words(facts['metric'])})" for task, facts in tasks.items()]
    return table([entry["feature"], "test rows", "share", *heads], rows, kinds=kinds)


def _slice_pictures(entry: Mapping[str, Any]) -> Iterator[Html]:
    """Gain and interval of every slice, a picture a task."""
    for task, facts in entry["slices"][0]["tasks"].items():
        gains = {
            part["name"]: part["tasks"][task]["single_task"]
            for part in entry["slices"]
            if (part["tasks"][task].get("single_task") or {}).get("low") is not None
        }
        if gains:
            values = "; ".join(f"{name} {format_gain(gain)}" for name, gain in gains.items())
            metric = words(facts["metric"])
            yield figure(
                plots.gain_plot(gains, metric=metric),
                alt=f"{task}: gain in {metric} by {entry['feature']}: {values}",
                title=task,
            )


def learning(curves: Curves) -> Section | None:
    """Validation score and loss of the networks by epoch."""
    together = {
        model: lines
        for model, networks in curves.items()
        if model in networks and len(networks) == 1 and any(lines := networks[model])
    }
    shown = dict(list(together.items())[:MOST_CURVES])
    alone = {
        network.partition("-")[2]: lines
        for network, lines in curves.get("single_task", {}).items()
        if any(lines)
    }
    groups = (
        ("Validation score, one network for all tasks", shown, "score"),
        ("Validation loss, one network for all tasks", shown, "loss"),
        ("Validation score, a network a task", alone, "score"),
    )
    pictures = [
        figure(
            plots.learning_plot(lines, value=value, label=f"validation {value}"),
            alt=f"{heading}, by epoch, for {', '.join(map(words, lines))}",
            title=heading,
        )
        for heading, lines, value in groups
        if lines
    ]
    if not pictures:
        return None
    return section(
        "How the networks learned",
        paragraph(
            "Every line is a training, one for each seed; the network of the best score is kept. "
            "A line that still rises at its end was not trained long enough. The score is the mean "
            "over the tasks of the metrics by which networks are chosen."
        ),
        figures(pictures),
    )

"""The report's sections with plots: each maps results to HTML, or to None where there is no plot.

The alternative text of every plot gives the numbers that it shows.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from recmtl.evaluate.metrics import ReliabilityCurve
from recmtl.report import plots
from recmtl.report.page import Content, Html, Section, figure, figures, paragraph, section, table
from recmtl.report.tables import (
    LOWER_IS_BETTER,
    better_worse,
    format_gain,
    model_names,
    primary_of,
    words,
)

__all__ = ["calibration", "expert_use", "gains", "quality_against_cost", "routes", "search"]

Results = Mapping[str, Any]
# These lie so far below the networks that their dots would squeeze all others together.
FLOORS = ("constant", "logistic")
OPPONENTS = ("single_task", "lightgbm")
CALIBRATED = ("log_loss", "brier", "ece")


def gains(results: Results) -> Section | None:
    """Gain and interval by task against each opponent, one picture a metric."""
    pictures, rows, kinds = [], [], []
    verdicts = results.get("verdicts", {})
    for opponent in OPPONENTS:
        against = {
            task: entry[opponent]
            for task, entry in verdicts.items()
            if entry.get(opponent) and entry[opponent].get("low") is not None
        }
        for metric in dict.fromkeys(str(verdicts[task]["metric"]) for task in against):
            shown = {t: gain for t, gain in against.items() if verdicts[t]["metric"] == metric}
            values = "; ".join(f"{task} {format_gain(gain)}" for task, gain in shown.items())
            pictures.append(
                figure(
                    plots.gain_plot(shown, metric=words(metric)),
                    alt=f"Gain in {words(metric)} against {words(opponent)}: {values}",
                    title=f"Against {words(opponent)}, {words(metric)}",
                )
            )
    for task, entry in verdicts.items():
        for opponent in (name for name in OPPONENTS if entry.get(name)):
            gain = entry[opponent]
            rows.append([task, words(opponent), format_gain(gain), better_worse(gain)])
            kinds.append(
                ["", "text", "", {"not proven": "text"}.get(gain["verdict"], gain["verdict"])]
            )
    if not pictures:
        return None
    return section(
        "Gains and losses by task",
        paragraph(
            "Dot: the searched network's gain. Bar: its interval. Green lies wholly on the better "
            "side, red wholly on the worse side; grey contains zero and proves nothing."
        ),
        figures(pictures),
        table(["task", "against", "gain (interval)", "searched is"], rows, kinds=kinds),
    )


def quality_against_cost(results: Results) -> Section | None:
    """Primary metric against multiply-adds, one panel a task."""
    pictures = []
    costs = {model: entry.get("multiply_adds") for model, entry in results.get("cost", {}).items()}
    for task, entry in results["tasks"].items():
        metric = primary_of(results, task)
        means = {
            model: entry[model][metric]["mean"]
            for model in model_names(results)
            if entry.get(model, {}).get(metric, {}).get("mean") is not None and model not in FLOORS
        }
        points = {model: (float(costs[model]), m) for model, m in means.items() if costs.get(model)}
        if len(points) < 2:
            continue
        levels = {model: m for model, m in means.items() if model == "lightgbm"}
        values = "; ".join(f"{words(m)} {q:.4g} at {c:,.0f}" for m, (c, q) in points.items())
        better = metric not in LOWER_IS_BETTER
        pictures.append(
            figure(
                plots.quality_cost_plot(
                    points, levels, metric=words(metric), higher_is_better=better
                ),
                alt=f"{task}: {words(metric)} against multiply-adds: {values}",
                title=task,
            )
        )
    if not pictures:
        return None
    return section(
        "Quality against cost",
        paragraph(
            "Up is better, left is cheaper; the diamond is the searched network. LightGBM has no "
            "multiply-adds and is a dashed line. Logistic regression is in the table above."
        ),
        figures(pictures),
    )


def routes(pictures: Mapping[str, str]) -> Section | None:
    """The drawing of each task's route."""
    if not pictures:
        return None
    return section(
        "The routes that the search found",
        paragraph(
            "Each panel shows how a task makes its score, from left to right. A box is an expert, "
            "a small network with weights of its own, named by layer and number. Filled: the task "
            "uses it; outlined: only other tasks do. Lines say whose output is read, and a dashed "
            "line skips a layer. Dots below an expert are the tasks that share it, in the colours "
            "of their panels."
        ),
        figures(
            figure(svg, alt=f"The experts that {task} uses, layer by layer")
            for task, svg in pictures.items()
        ),
    )


def expert_use(use: np.ndarray, tasks: Sequence[str], experts: Sequence[str]) -> Section:
    """The heat map of experts by task."""
    most_used = "; ".join(
        f"{task} mostly {experts[int(np.argmax(row))]}"
        for task, row in zip(tasks, use, strict=True)
    )
    return section(
        "Expert use by task",
        paragraph("Darker: a larger share of the task's gates. Equal rows use the same experts."),
        figures(
            [figure(plots.expert_use_plot(use, tasks, experts), alt=f"Expert use: {most_used}")]
        ),
    )


def search(history: Sequence[Mapping[str, Any]], results: Results) -> Section | None:
    """How entropy, cost, temperature and validation quality changed over the search."""
    if not history:
        return None
    epochs = [entry.get("epoch", index) for index, entry in enumerate(history)]
    curves: dict[str, dict[str, list[float | None]]] = {}
    for key, label in (
        ("entropy", "entropy of the policy"),
        ("multiply_adds", "multiply-adds an example"),
        ("temperature", "temperature"),
    ):
        if any(entry.get(key) is not None for entry in history):
            curves[label] = {label: [entry.get(key) for entry in history]}
    for task in dict.fromkeys(t for entry in history for t in entry.get("validation", {})):
        metric = primary_of(results, task) if task in results["tasks"] else "metric"
        values = [entry.get("validation", {}).get(task) for entry in history]
        curves.setdefault(f"validation {words(metric)}", {})[task] = values
    pictures = [
        figure(
            plots.search_plot(epochs, lines, label=label),
            alt=f"{label} over {len(epochs)} epochs of the search, for {', '.join(lines)}",
            title=label[0].upper() + label[1:],
        )
        for label, lines in curves.items()
    ]
    if not pictures:
        return None
    return section(
        "How the search went",
        paragraph("Falling entropy means that the policy settles on fewer routes."),
        figures(pictures),
    )


def calibration(
    curves: Mapping[str, Mapping[str, ReliabilityCurve]], results: Results
) -> Section | None:
    """Reliability curves, one panel a binary task, and the effect of calibrating the bundle."""
    pictures = []
    for task, models in curves.items():
        shown = {model: curve for model, curve in models.items() if len(curve.predicted)}
        if shown:
            pictures.append(
                figure(
                    plots.reliability_plot(shown),
                    alt=f"{task}: observed rate against predicted probability, for "
                    + ", ".join(words(model) for model in shown),
                    title=task,
                )
            )
    gains = _calibration_gains(results)
    if not pictures:
        return section("Calibration", *gains) if gains else None
    return section(
        "Calibration",
        paragraph(
            "Each dot is a bin of equally many rows. On the dashed line, an event predicted with "
            "probability .1 happens in one row of ten; below the line, predictions are too high."
        ),
        figures(pictures),
        *gains,
    )


def _calibration_gains(results: Results) -> list[Html]:
    """Every probability column of the bundle before and after calibration."""
    calibrated = results.get("calibration")
    if not calibrated or not calibrated["columns"]:
        return []
    measured = [(name, when) for name in CALIBRATED for when in ("before", "after")]
    rows: list[list[Content]] = [
        [column, *(f"{gain[when][name]:.5f}" for name, when in measured)]
        for column, gain in calibrated["columns"].items()
    ]
    by = f", by {calibrated['segment']}" if calibrated["segment"] else ""
    introduction = (
        f"The bundle's probabilities are calibrated ({calibrated['method']}{by}): fitted on "
        "validation rows, measured here on test rows. All other figures of this page are those of "
        "the uncalibrated networks."
    )
    header = ["column", *(f"{words(name)} {when}" for name, when in measured)]
    return [paragraph(introduction), table(header, rows)]

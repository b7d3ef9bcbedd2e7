"""The report's sections on what the tasks cost one another, and on how they were weighed."""

from collections.abc import Mapping
from typing import Any

from recmtl.report import plots
from recmtl.report.front_plot import front_plot
from recmtl.report.page import Content, Section, figure, figures, paragraph, section, table
from recmtl.report.tables import words

__all__ = ["front", "weights"]

ON_LOSSES = ("uncertainty", "dwa", "famo", "gradnorm")


def front(results: Mapping[str, Any]) -> Section | None:
    """What emphasising a task's loss gained and cost on validation rows, and the chosen point."""
    record = results.get("front")
    if not record:
        return None
    points = {point["name"]: point for point in record["points"]}
    even, tasks = record["points"][0]["scores"], list(record["points"][0]["scores"])
    places, rows, kinds = {}, list[list[Content]](), []
    for name, point in points.items():
        changes = [point["scores"][task] - even[task] for task in tasks]
        gain = point["value"] - record["points"][0]["value"]
        places[name] = (sum(changes) / len(changes), gain)
        chosen = name == record["chosen"]
        verdict = "chosen" if chosen else "" if point["meets"] else "others are worse"
        rows.append([name, f"{gain:+.4f}", *(f"{change:+.4f}" for change in changes), verdict])
        kinds.append(["", "signed", *["signed"] * len(tasks), "text"])
    values = "; ".join(
        f"{name} {gain:+.4f} at mean {mean:+.4f}" for name, (mean, gain) in places.items()
    )
    drawn = figure(
        front_plot(places, chosen=record["chosen"]),
        alt=f"Gain of the aim against gain of the mean over the tasks: {values}",
    )
    return section(
        "What the tasks cost one another",
        paragraph(
            "Networks of the searched wiring, each trained with the loss of one task emphasised: "
            "the change of every task's score on validation rows against no emphasis, mean over "
            "the seeds. The searched network is trained as the chosen point; its figures on test "
            "rows are those above."
        ),
        figures([drawn]),
        table(["emphasis on", "aim", *tasks, ""], rows, kinds=kinds),
    )


def weights(record: Mapping[str, Any]) -> Section | None:
    """The weight of each task over the training of the searched network.

    Args:
        record: `method`, `tasks`, `epochs` and `weights` [stretches, T] (`weight_record`); empty
            if weights were fixed.
    """
    if not record:
        return None
    tasks, method = record["tasks"], record["method"]
    lines = {task: [at[number] for at in record["weights"]] for number, task in enumerate(tasks)}
    last = "; ".join(f"{task} {values[-1]:.3g}" for task, values in lines.items())
    drawn = figure(
        plots.search_plot(record["epochs"], lines, label="weight", axis="epoch of training"),
        alt=f"Weight of each task by epoch of training; at the end {last}",
    )
    what = "loss" if method in ON_LOSSES else "gradient at what tasks share"
    layer = f" Gradients are compared at {record['layer']}." if record.get("layer") else ""
    return section(
        "How the tasks were weighed",
        paragraph(
            f"By {words(method)}: the factor of each task's {what}, on top of its weight in the "
            f"schema and of training.balance, averaged over stretches of steps; 1 is as if weights "
            f"were fixed. At the end: {last}.{layer}"
        ),
        figures([drawn]),
    )

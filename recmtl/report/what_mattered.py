"""The report's opening: what moved the metric, in one picture, a table, and a sentence a task.

It reads `what_mattered` of results.json: steps of kind `plain`, `source`, `wiring` and `without`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from recmtl.report import plots
from recmtl.report.page import Content, Html, figure, join, paragraph, section, table
from recmtl.report.tables import format_gain, format_metric, words

__all__ = ["recommendations", "step_name", "summary", "what_mattered"]

Entry = Mapping[str, Any]
NAMES = {
    "plain": "ids and numbers, one shared tower",
    "ids": "ids",
    "numbers": "numbers",
    "counts": "lengths of lists",
    "values": "exact values of numbers",
    "statistics": "statistics of the past",
    "histories": "histories",
    "trees": "trees",
    "embeddings_apart": "embeddings apart",
    "towers_apart": "towers apart",
    "searched": "searched route",
}
SIGNS = {"plain": "", "source": "+ ", "wiring": "", "without": "without "}


def what_mattered(results: Mapping[str, Any]) -> Html | None:
    """The opening; None where the networks that it needs were not trained."""
    entries: Sequence[Entry] = results.get("what_mattered", ())
    if not entries or not entries[0].get("mean", {}).get("seeds"):
        return None
    shown = [entry for entry in entries if entry["kind"] != "without"]
    values = "; ".join(f"{step_name(e)} {format_gain(e['interval'])}" for e in shown[1:])
    seeds = max(entry["mean"]["seeds"] for entry in entries)
    luck = "" if seeds > 1 else " With one seed each, they do not hold the luck of training."
    steps = [_bar(entry) for entry in shown]
    return section(
        "What moved the metric",
        paragraph(summary(entries)),
        figure(
            plots.steps_plot(steps, start=float(entries[0]["mean"]["mean"])),
            alt=f"Gain of the mean over the tasks by step: {values}",
            kind="wide",
        ),
        Html(f"<ul>{''.join(f'<li>{line.markup}</li>' for line in recommendations(entries))}</ul>"),
        _gains(
            shown[1:],
            "Gain of each step over the step before it, of each wiring over one shared tower",
        ),
        *_left_out(entries),
        paragraph(
            "All networks cost about the same multiply-adds and are compared on test rows. "
            f"Intervals hold 95 %.{luck}",
            "quiet",
        ),
    )


def step_name(entry: Entry) -> str:
    """What a step adds, or leaves out, in words.

    >>> step_name({"step": "counts", "kind": "source"})
    '+ lengths of lists'
    """
    name = NAMES.get(entry["step"], words(entry["step"]))
    return f"{SIGNS[entry['kind']]}{name}"


def summary(entries: Sequence[Entry]) -> str:
    """What moved the mean most, and whether the wiring matters, in two sentences."""
    sources = [e for e in entries if e["kind"] == "source" and e["interval"]]
    wirings = [e for e in entries if e["kind"] == "wiring" and e["interval"]]
    proven = [e for e in sources if e["interval"]["verdict"] == "helped"]
    if proven:
        ordered = sorted(proven, key=lambda entry: -entry["interval"]["gain"])
        named = ", ".join(f"{_name(e)} ({format_gain(e['interval'])})" for e in ordered)
        first = f"What moved the mean over the tasks: {named}."
    elif sources:
        first = (
            "No source of knowledge beside ids and numbers is proven to move the mean: "
            f"{_all(sources)}."
        )
    else:
        first = "This log has no source of knowledge beside ids and numbers."
    return f"{first} {_wiring(wirings)}"


def _wiring(wirings: Sequence[Entry], task: str | None = None) -> str:
    """Whether how the tasks share matters, for the mean or a task."""
    gains = {entry["step"]: _gain(entry, task) for entry in wirings}
    judged = {step: gain for step, gain in gains.items() if gain.get("low") is not None}
    if not judged:
        return "How the tasks share was not judged."
    better = [step for step, gain in judged.items() if gain["verdict"] == "helped"]
    worse = [step for step, gain in judged.items() if gain["verdict"] == "hurt"]
    parts = []
    if better:
        best = max(better, key=lambda step: judged[step]["gain"])
        parts.append(
            f"how the tasks share matters: {NAMES.get(best, best)} is better than one shared tower "
            f"by {format_gain(judged[best])}"
        )
    if worse:
        named = " and ".join(f"{NAMES.get(s, s)} ({format_gain(judged[s])})" for s in worse)
        parts.append(f"proven worse than one shared tower: {named}")
    if not parts:
        low = min(gain["low"] for gain in judged.values())
        high = max(gain["high"] for gain in judged.values())
        parts.append(
            "how the tasks share does not matter: no wiring is more than "
            f"{max(high, 0):.4f} better or {max(-low, 0):.4f} worse than one shared tower"
        )
    line = "; ".join(parts)
    return f"{line[0].upper()}{line[1:]}."


def recommendations(entries: Sequence[Entry]) -> list[Html]:
    """For each task one line: the sources and the wiring to ship."""
    lines = []
    for task in entries[0]["tasks"]:
        sources = [e for e in entries if e["kind"] == "source" and e["kept"] is not False]
        proven = [e for e in sources if _gain(e, task).get("verdict") == "helped"]
        harmful = [e for e in sources if _gain(e, task).get("verdict") == "hurt"]
        parts = ["ids and numbers suffice"]
        if proven:
            parts = [f"ship {_all(proven, task)}"]
        if harmful:
            parts.append(f"it loses by {_all(harmful, task)}")
        wiring = _wiring([e for e in entries if e["kind"] == "wiring"], task)
        text = f": {'; '.join(parts)}. {wiring}"
        lines.append(join([Html(f"<strong>{_escaped(task)}</strong>"), Html(_escaped(text))]))
    return lines


def _gain(entry: Entry, task: str | None) -> Mapping[str, Any]:
    gain: Mapping[str, Any] = (
        entry["interval"] if task is None else entry["tasks"][task]["interval"]
    )
    return gain


def _name(entry: Entry) -> str:
    return NAMES.get(entry["step"], words(entry["step"]))


def _all(entries: Sequence[Entry], task: str | None = None) -> str:
    return ", ".join(f"{_name(e)} ({format_gain(_gain(e, task))})" for e in entries)


def _escaped(text: str) -> str:
    return paragraph(text).markup.removeprefix("<p>").removesuffix("</p>")


def _bar(entry: Entry) -> plots.StepBar:
    gain = entry["interval"]
    dropped = " (dropped)" if entry["kept"] is False and entry["kind"] == "source" else ""
    return plots.StepBar(
        f"{step_name(entry)}{dropped}",
        gain=gain.get("gain") or 0.0,
        low=gain.get("low"),
        high=gain.get("high"),
        verdict=gain.get("verdict", ""),
        stays=entry["kind"] in ("plain", "source") and not dropped,
    )


def _gains(entries: Sequence[Entry], caption: str) -> Html:
    """Mean and tasks of every step, coloured by their verdicts."""
    tasks = list(entries[0]["tasks"])
    rows: list[list[Content]] = []
    kinds = []
    for entry in entries:
        gains = [entry["interval"], *(entry["tasks"][task]["interval"] for task in tasks)]
        cost = entry["cost"].get("multiply_adds")
        shown = "-" if cost is None else f"{cost:,.0f}"
        rows.append(
            [step_name(entry), format_metric(entry["mean"]), *map(format_gain, gains), shown]
        )
        verdicts = [gain.get("verdict", "") for gain in gains]
        kinds.append(["", "", *(v if v in ("helped", "hurt") else "text" for v in verdicts), ""])
    header = ["step", "mean", "gain of the mean", *tasks, "multiply-adds"]
    return table(header, rows, caption=caption, kinds=kinds)


def _left_out(entries: Sequence[Entry]) -> list[Html]:
    """The searched network without each of its sources, folded."""
    without = [entry for entry in entries if entry["kind"] == "without"]
    if not without:
        return []
    shown = _gains(without, "What the searched network gains by leaving a source out").markup
    line = "The searched network without each of its sources"
    return [Html(f"<details><summary>{line}</summary>{shown}</details>")]

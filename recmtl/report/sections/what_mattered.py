"""The report's opening: what moved the metric, in one picture, a sentence a task, and a table.

It reads `what_mattered` of results.json: steps of kind `plain`, `source`, `wiring` and `without`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from recmtl.report import plots
from recmtl.report.page import (
    Content,
    Html,
    Section,
    figure,
    folded,
    listed,
    paragraph,
    section,
    table,
    true_minus,
)
from recmtl.report.tables import MISSING, format_gain, format_metric, format_number, words

__all__ = ["recommendation", "step_name", "summary", "what_mattered"]

Entry = Mapping[str, Any]
NAMES = {
    "plain": "ids and numbers, one shared tower",
    "counts": "lengths of lists",
    "values": "exact values of numbers",
    "statistics": "statistics of the past",
}
SIGNS = {"plain": "", "source": "+ ", "wiring": "sharing: ", "without": "without "}
SMALL = 0.005
"""A difference that does not matter: of AUC and the mean over the tasks, or as a share of RMSE."""


def what_mattered(results: Mapping[str, Any]) -> Section | None:
    """The opening; None where the networks that it needs were not trained."""
    entries: Sequence[Entry] = results.get("what_mattered", ())
    if not entries or entries[0]["mean"]["mean"] is None:
        return None
    shown = [entry for entry in entries if entry["kind"] != "without"]
    values = "; ".join(f"{step_name(e)} {format_gain(e['interval'])}" for e in shown[1:])
    start = float(entries[0]["mean"]["mean"])
    return section(
        "What moved the metric",
        paragraph(Html("<strong>{}</strong>").format(true_minus(summary(entries)))),
        figure(
            plots.steps_plot([_bar(entry) for entry in shown], start=start),
            alt=f"Gain of the mean over the tasks by step, from {start:.4f}: {values}",
            kind="wide",
        ),
        listed(_line(task, entries) for task in entries[0]["tasks"]),
        _gains(shown[1:]),
        paragraph(_how_to_read(entries), "quiet"),
        folded("Intervals of these gains", _intervals(shown[1:])),
        *_left_out([entry for entry in entries if entry["kind"] == "without"]),
    )


def step_name(entry: Entry) -> str:
    """What a step adds, or leaves out, in words.

    >>> step_name({"step": "counts", "kind": "source"})
    '+ lengths of lists'
    """
    return f"{SIGNS[entry['kind']]}{_name(entry)}"


def summary(entries: Sequence[Entry]) -> str:
    """What moved the mean, and whether sharing matters, in one sentence each."""
    sources = _of(entries, "source")
    better, worse = _judged(sources, "helped"), _judged(sources, "hurt")
    moved = [f"is moved by {_listed(better)}"] if better else []
    moved += [f"loses by {_listed(worse)}"] if worse else []
    first = f"The mean over the tasks {' and '.join(moved)}."
    if not sources:
        first = "This log has nothing beside ids and numbers."
    elif not moved:
        first = "Nothing beside ids and numbers is proven to move the mean over the tasks."
    return f"{first} {_capital(_sharing(_of(entries, 'wiring')))}."


def recommendation(entries: Sequence[Entry], task: str) -> str:
    """What to ship for a task: the sources that it gains by, and how it should share."""
    kept = [entry for entry in _of(entries, "source") if entry["kept"] is not False]
    better, worse = _judged(kept, "helped", task), _judged(kept, "hurt", task)
    parts = [f"ship {_listed(better, task)}" if better else "no further source is proven to help"]
    if worse:
        parts.append(f"it loses by {_listed(worse, task)}")
    return "; ".join([*parts, _sharing(_of(entries, "wiring"), task)])


def _of(entries: Iterable[Entry], kind: str) -> list[Entry]:
    """The entries of a kind that were compared with another."""
    return [entry for entry in entries if entry["kind"] == kind and entry["interval"]]


def _gain(entry: Entry, task: str | None) -> Mapping[str, Any]:
    """The gain of a step on a task, or on the mean."""
    of_step: Entry = entry if task is None else entry["tasks"][task]
    gain: Mapping[str, Any] = of_step["interval"]
    return gain


def _judged(entries: Iterable[Entry], verdict: str, task: str | None = None) -> list[Entry]:
    """The entries with a verdict, those of the largest difference first."""
    judged = [entry for entry in entries if _gain(entry, task).get("verdict") == verdict]
    return sorted(judged, key=lambda entry: -abs(_gain(entry, task)["gain"]))


def _sharing(wirings: Sequence[Entry], task: str | None = None) -> str:
    """Whether how the tasks share matters, against one shared tower."""
    gains = [_gain(entry, task) for entry in wirings if _gain(entry, task).get("low") is not None]
    if not gains:
        return "how to share was not judged"
    better, worse = (_judged(wirings, verdict, task) for verdict in ("helped", "hurt"))
    if better:
        return f"how to share matters: {_listed(better, task)} against one shared tower"
    if worse:
        return f"keep one shared tower; worse: {_listed(worse, task)}"
    most, least = max(gain["high"] for gain in gains), min(gain["low"] for gain in gains)
    excluded = (
        f"gains above {format_number(max(most, 0))} and losses above "
        f"{format_number(max(-least, 0))} are excluded"
    )
    is_small = max(most, -least) <= _small(wirings[0], task)
    line = "how to share does not matter" if is_small else "how to share is not proven to matter"
    return f"{line}: {excluded}"


def _small(entry: Entry, task: str | None) -> float:
    if task is None or entry["tasks"][task]["metric"] == "auc":
        return SMALL
    return SMALL * float(entry["tasks"][task]["mean"] or 0.0)


def _name(entry: Entry) -> str:
    return NAMES.get(entry["step"], words(entry["step"]))


def _listed(entries: Sequence[Entry], task: str | None = None) -> str:
    """Names with gains: `statistics of the past (+0.0214), trees (+0.0010)`."""
    gains = ((_name(e), format_number(_gain(e, task)["gain"], "+")) for e in entries)
    return ", ".join(f"{name} ({gain})" for name, gain in gains)


def _capital(line: str) -> str:
    return f"{line[:1].upper()}{line[1:]}"


def _line(task: str, entries: Sequence[Entry]) -> Html:
    return Html("<strong>{}</strong>: {}.").format(task, true_minus(recommendation(entries, task)))


def _bar(entry: Entry) -> plots.StepBar:
    gain = entry["interval"]
    is_dropped = entry["kept"] is False and entry["kind"] == "source"
    return plots.StepBar(
        f"{step_name(entry)} (dropped)" if is_dropped else step_name(entry),
        gain=gain.get("gain") or 0.0,
        low=gain.get("low"),
        high=gain.get("high"),
        verdict=gain.get("verdict", ""),
        stays=entry["kind"] in ("plain", "source") and not is_dropped,
    )


def _gains(entries: Sequence[Entry]) -> Html:
    """Mean and gains of every step, coloured by their verdicts."""
    tasks = list(entries[0]["tasks"])
    rows: list[list[Content]] = []
    kinds = []
    for entry in entries:
        gains = [_gain(entry, task) for task in (None, *tasks)]
        shown = [MISSING if _is_missing(g) else format_number(g["gain"], "+") for g in gains]
        cost = entry["cost"]["multiply_adds"]
        rows.append([step_name(entry), format_metric(entry["mean"]), *shown, f"{cost:,.0f}"])
        verdicts = [str(gain.get("verdict", "")) for gain in gains]
        coloured = (f"signed {v}" if v in ("helped", "hurt") else "" for v in verdicts)
        kinds.append(["", "", *coloured, ""])
    header = ["step", "mean", "gain", *tasks, "multiply-adds"]
    return table(header, rows, kinds=kinds)


def _intervals(entries: Sequence[Entry]) -> Html:
    tasks = list(entries[0]["tasks"])
    rows: list[list[Content]] = [
        [step_name(entry), *(format_gain(_gain(entry, task)) for task in (None, *tasks))]
        for entry in entries
    ]
    return table(["step", "mean", *tasks], rows)


def _is_missing(gain: Mapping[str, Any]) -> bool:
    return gain.get("gain") is None


def _how_to_read(entries: Sequence[Entry]) -> str:
    line = (
        "Each source is compared with what was heard before it, each way to share with one shared "
        "tower that hears the same; all networks have about the same multiply-adds. On test rows; "
        "green: the 95 % interval lies wholly on the better side, red: wholly on the worse side."
    )
    if any(sum(entry["interval"].get("seeds", ())) == 2 for entry in entries):
        line += (
            " With one network each, intervals do not hold the luck of training: before you act on "
            "a small difference, repeat it with evidence: {ablation_seeds: 3}."
        )
    return line


def _left_out(entries: Sequence[Entry]) -> list[Html]:
    """The searched network without each of its sources."""
    line = "The searched network without each of its sources"
    return [folded(line, _gains(entries))] if entries else []

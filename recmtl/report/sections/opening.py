"""The report's opening: what to do, in words, with what speaks against it; and a card a task."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from recmtl.report.page import Card, Content, Html, Section, cards, listed, paragraph, section
from recmtl.report.sections.what_mattered import summary
from recmtl.report.tables import (
    MISSING,
    better_worse,
    format_gain,
    format_metric,
    primary_of,
    words,
)

__all__ = ["advice", "recommendation", "title", "verdict"]

Results = Mapping[str, Any]
OPPONENTS = {"single_task": "a network trained for this task alone", "lightgbm": "LightGBM"}
RIVALS = {
    "lightgbm": "LightGBM",
    "single_task": "networks trained for each task alone",
    "logistic": "logistic regression",
}
"""What could be shipped in place of the searched network."""
MUCH = 0.25
"""A stability index above which a feature has changed much."""


def title(name: str, subtitle: str = "") -> Html:
    """The heading of the page, and a line below it."""
    head = Html("<h1>{}</h1>").format(name)
    return head + paragraph(subtitle, "quiet") if subtitle else head


def recommendation(results: Results, data: Mapping[str, Any]) -> Section | None:
    """What to ship, why, and what to look at before; None where nothing was compared."""
    advised = advice(results)
    if advised is None:
        return None
    line, kind = advised
    reasons = list(_reasons(results))
    cautions = list(_cautions(results, data))
    parts = [paragraph(line, "lead"), listed(reasons)]
    if cautions:
        parts += [paragraph(Html("<strong>Before you act on it:</strong>")), listed(cautions)]
    return section("Recommendation", *parts, kind=f"advice {kind}".strip())


def advice(results: Results) -> tuple[str, str] | None:
    """What to ship by the mean over the tasks, and the verdict that colours it.

    Returns:
        The sentence and `helped`, `hurt` or an empty text; None without a comparison.
    """
    gains = {name: results.get("mean", {}).get(name) for name in RIVALS}
    judged = {name: gain for name, gain in gains.items() if gain and gain["gain"] is not None}
    if not judged:
        return None
    worse = {name: gain for name, gain in judged.items() if gain["verdict"] == "hurt"}
    better = [name for name, gain in judged.items() if gain["verdict"] == "helped"]
    if worse:
        name = min(worse, key=lambda name: float(worse[name]["gain"]))
        return f"Ship {RIVALS[name]}, not the searched network: it does better on this log.", "hurt"
    if not better:
        return (
            "No proven difference: the searched network does as well as "
            f"{_listed([RIVALS[name] for name in judged])}. Ship what costs you least.",
            "",
        )
    line = f"Ship the searched network: it does better than {_listed([RIVALS[n] for n in better])}"
    even = [RIVALS[name] for name in judged if name not in better]
    if even:
        line += f"; it is not proven to differ from {_listed(even)}"
    return f"{line}.", "helped"


def _reasons(results: Results) -> Iterator[Content]:
    """The figures behind the advice: gains of the mean, what moved it, tasks, and cost."""
    gains = results.get("mean", {})
    shown = [
        f"{_tidy(format_gain(gains[name]))} over {rival}"
        for name, rival in RIVALS.items()
        if gains.get(name, {}).get("gain") is not None
    ]
    yield f"Gain of the mean over the tasks, with 95 % intervals: {'; '.join(shown)}."
    entries = results.get("what_mattered", ())
    if entries and entries[0]["mean"]["mean"] is not None:
        yield summary(entries)
    decided = {
        verdict: [t for t, entry in results["tasks"].items() if entry.get("verdict") == verdict]
        for verdict in ("helped", "hurt", "not proven")
    }
    said = [f"{verdict}: {', '.join(named)}" for verdict, named in decided.items() if named]
    if said:
        yield f"Sharing against a network for each task alone: {'; '.join(said)}."
    blended = [t for t, e in results.get("blend", {}).get("tasks", {}).items() if e["taken"]]
    if blended:
        yield f"The bundle serves a blend of several members for {', '.join(blended)}."
    costs = [results.get("cost", {}).get(name, {}) for name in ("searched", "single_task")]
    adds = [cost.get("multiply_adds") for cost in costs]
    if all(adds):
        yield (
            f"It takes {adds[0]:,.0f} multiply-adds a row for all tasks, "
            f"{adds[0] / adds[1]:.2f} times those of the networks for each task alone."
        )


def _cautions(results: Results, data: Mapping[str, Any]) -> Iterator[Content]:
    """What a reader should know before acting, each with a link to the section that shows it."""
    for line in results.get("left_out", ()):
        yield f"The time limit left something out: {line}."
    best = results.get("best_fixed", {}).get("mean", {})
    if best.get("verdict") == "hurt":
        line = (
            f"Of the other networks {words(best['model'])} does better on the mean over the tasks"
        )
        yield f"{line}: the searched one gains {_tidy(format_gain(best))} over it."
    seeds = [g["seeds"] for g in results.get("mean", {}).values() if isinstance(g, Mapping)]
    if seeds and all(max(pair) == 1 for pair in seeds):
        yield "Every model was trained once: the intervals do not hold the luck of training."
    left_out = [t for t in results["tasks"] if t not in results.get("mean", {}).get("tasks", [t])]
    if left_out:
        yield f"The mean leaves out what is too rare on the test rows: {', '.join(left_out)}."
    count = len(results.get("training", {}).get("warnings", ()))
    if count:
        yield _link("Not trained enough", _counted(count, "warning") + " of the training")
    moved = [
        name
        for name, entry in (results.get("drift") or {}).get("features", {}).items()
        if entry["distance"]["test"] - entry["chance"]["test"] > MUCH
    ]
    if moved:
        names = ", ".join(moved[:4]) + (" and others" if len(moved) > 4 else "")
        yield _link("Drift of the data", f"test rows differ much from train rows in {names}")
    count = len(data.get("warnings") or ())
    if count:
        yield _link("Data", _counted(count, "warning") + " of the data")


def _link(heading: str, line: str) -> Html:
    target = Section(heading, Html("")).id
    return Html('{} (<a href="#{}">{}</a>).').format(_capital(line), target, heading)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def verdict(results: Results) -> Section:
    """The verdict of each task in plain words."""
    tasks = results["tasks"]
    parts = []
    for verdict, verb in (
        ("helped", "helped"),
        ("hurt", "hurt"),
        ("not proven", "proved nothing for"),
    ):
        named = [task for task, entry in tasks.items() if entry.get("verdict") == verdict]
        if named:
            parts.append(f"{verb} {', '.join(named)}")
    summary = (
        f"Judged on test rows against a network trained for each task alone, sharing "
        f"{'; '.join(parts)}."
        if parts
        else "There is no single-task network to compare with, hence no verdict."
    )
    shown = cards(_card(task, results) for task in tasks)
    return section("Does sharing help?", paragraph(summary), shown)


def _card(task: str, results: Results) -> Card:
    entry, verdict = results["tasks"][task], results.get("verdicts", {}).get(task, {})
    decision = entry.get("verdict") or "no verdict"
    metric = primary_of(results, task)
    lines = []
    value = format_metric(entry.get("searched", {}).get(metric))
    if value != MISSING:
        lines.append(f"{_capital(words(metric))} of the searched network: {_tidy(value)}")
    for opponent, meaning in OPPONENTS.items():
        gain = verdict.get(opponent)
        if gain and gain.get("gain") is not None:
            comparison = _capital(better_worse(gain))
            link = "from" if comparison.startswith("No ") else "than"
            lines.append(f"{comparison} {link} {meaning}: {_tidy(format_gain(gain))}")
    kind = decision if decision in ("helped", "hurt") else "open"
    return Card(task, decision, lines, kind)


def _tidy(numbers: str) -> str:
    """Numbers with no line break inside a number or an interval."""
    value, bracket, rest = numbers.partition(" (")
    return value.replace(" ", "\u00a0") + bracket + rest.replace(" ", "\u00a0")


def _capital(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]

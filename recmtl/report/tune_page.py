"""The page of a tuning: what was chosen, what it is worth, and every trial as picture and table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recmtl.report.page import (
    Html,
    Section,
    figure,
    figures,
    listed,
    paragraph,
    section,
    table,
    write_page,
)
from recmtl.report.plots import LINE_COLOURS, MUTED, Axes, picture
from recmtl.report.tables import MISSING, format_gain, words

__all__ = ["tune_table", "value_text", "write_tune_page"]

Results = Mapping[str, Any]
CONFIGURED = "configured"
MARKERS = {"done": "o", "dropped": "v", "stopped": "s", "failed": "x"}


def write_tune_page(path: Path, results: Results, *, title: str) -> None:
    """Write the page; `path` holds either the whole new file or what it held before."""
    rows = results["rows"]
    subtitle = (
        f"{len(results['trials']) - 1} trials of {results['model']} on {rows['train']:,} train "
        f"rows, measured on {rows['validation']:,} validation rows; {results['cpu_s']:,.0f} CPU s. "
        "No test row was read."
    )
    parts: list[Section | Html] = [
        Html("<h1>{}</h1>").format(title) + paragraph(subtitle, "quiet"),
        _chosen(results),
        *([_worth(results)] if results["tasks"] else []),
        _finals(results),
        _pictures(results),
        _trials(results),
        _how_to_read(),
    ]
    write_page(path, title, parts)


def tune_table(results: Results) -> str:
    """What was chosen as plain text, for the end of a tuning."""
    width = max(len(row["path"]) for row in results["settings"])
    lines = [results["chosen"]["text"], ""]
    for row in results["settings"]:
        before, after = value_text(row[CONFIGURED]), value_text(row["chosen"])
        changed = f"  (configured: {before})" if after != before else ""
        lines.append(f"  {row['path']:{width}}  {after}{changed}")
    gain = results["mean"].get(CONFIGURED)
    if gain:
        lines += ["", f"mean over the tasks: {format_gain(gain)} on validation rows"]
    return "\n".join([*lines, *([""] if results["left_out"] else []), *results["left_out"]])


def value_text(value: Any) -> str:
    """A value of a setting as a person writes it.

    >>> value_text([64, 32]), value_text(0.00312), value_text(True), value_text(None)
    ('64, 32', '0.00312', 'true', 'none')
    """
    if isinstance(value, list | tuple):
        return ", ".join(map(value_text, value)) or "none"
    if value is None or isinstance(value, bool):
        return "none" if value is None else str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _chosen(results: Results) -> Section:
    rows = [
        [row["path"], value_text(row[CONFIGURED]), value_text(row["chosen"]), space]
        for row, space in zip(results["settings"], results["space"].values(), strict=True)
    ]
    kinds = [["", "", "helped" if row[1] != row[2] else "", ""] for row in rows]
    header = ["setting", "configured", "chosen", "tried"]
    notes = [listed(results["left_out"])] if results["left_out"] else []
    return section(
        "What was chosen",
        paragraph(results["chosen"]["text"]),
        table(header, rows, kinds=kinds),
        *notes,
    )


def _worth(results: Results) -> Section:
    """The chosen trial against the configuration, task by task."""
    rows, kinds = [], []
    for task, entry in [*results["tasks"].items(), ("mean over the tasks", results["mean"])]:
        gain = entry.get(CONFIGURED)
        verdict = gain["verdict"] if gain else "not proven"
        metric = words(entry["metric"]) if "metric" in entry else "score"
        rows.append([task, metric, format_gain(gain) if gain else MISSING, verdict])
        kinds.append(["", "", "", verdict if verdict in ("helped", "hurt") else ""])
    caption = (
        "Gain of the chosen settings over the configured ones, with its interval over validation "
        "rows and seeds. The settings were chosen on these rows, so the gain is likely to be "
        "smaller on others: prove it on test rows with recmtl run"
    )
    hurt = results["hurt"]
    note = f"The chosen settings are proven behind the configured ones on {', '.join(hurt)}."
    warning = [paragraph(note, "hurt")] if hurt else []
    header = ["task", "metric", "gain", "verdict"]
    return section("What it is worth", *warning, table(header, rows, caption=caption, kinds=kinds))


def _finals(results: Results) -> Section:
    """The best trials with more seeds."""
    tasks = list(results[CONFIGURED]["tasks"])
    rows, kinds = [], []
    for final in results["finals"]:
        scores = [_score(final["tasks"][task]) for task in tasks]
        spread = f" ± {final['std']:.4f}" if final["std"] is not None else ""
        name = f"trial {final['number']}" if final["number"] else "as configured"
        best = final["number"] == results["chosen"]["number"]
        place = "chosen" if best else "" if final["meets"] else "breaks the aim"
        cost = f"{final['multiply_adds']:,.0f}"
        rows.append([name, _score(final["score"]) + spread, *scores, cost, place])
        kinds.append(["", "helped" if best else "", *([""] * (len(tasks) + 2))])
    seeds = len(results[CONFIGURED]["seeds"])
    caption = f"Means over {seeds} seed{'s' * (seeds > 1)}, on validation rows"
    header = ["settings", "score", *tasks, "multiply-adds", ""]
    return section("Finals", table(header, rows, caption=caption, kinds=kinds))


def _pictures(results: Results) -> Section:
    first = str(results["rounds"][0])
    compared = [t for t in results["trials"] if t["by_round"].get(first) is not None]
    shown = [figure(_course_plot(results), alt="score of every trial, in order", title="Trials")]
    for row in results["settings"]:
        path = row["path"]
        points = [
            (t["values"].get(path, row[CONFIGURED]), t["by_round"][first], t["number"] == 0)
            for t in compared
        ]
        if points:
            alt = f"score after the first round, by {path}"
            plot = _setting_plot(points, scale=row["scale"], share=float(first))
            shown.append(figure(plot, alt=alt, title=path))
    return section("Trials as pictures", figures(shown))


def _course_plot(results: Results) -> str:
    """The score of each trial at its end, and the best so far of those trained to the end."""

    def draw(axes: Axes) -> None:
        best, line = -float("inf"), []
        for trial in results["trials"]:
            score = trial["score"]
            if score is None:
                continue
            done = trial["standing"] == "done"
            axes.plot([trial["number"]], [score], marker=MARKERS[trial["standing"]], markersize=6,
                      color=LINE_COLOURS[0] if done else MUTED, alpha=0.9)  # fmt: skip
            best = max(best, score) if done else best
            line.append((trial["number"], best))
        finite = [(number, value) for number, value in line if value > -float("inf")]
        axes.step(*zip(*finite, strict=True), where="post", color=LINE_COLOURS[1], linewidth=1.4)
        axes.locator_params(axis="x", nbins=6, integer=True)
        axes.set_xlabel("trial (0: as configured)")
        axes.set_ylabel("validation score")

    return picture(draw, height=2.9)


def _setting_plot(points: Sequence[tuple[Any, float, bool]], *, scale: str, share: float) -> str:
    """The score after the first round by the value of one setting; a diamond is as configured.

    Args:
        points: value, score, and whether it is that of the configuration.
        scale: `linear`, `log`, or `choices` that stand side by side.
        share: of the steps of the first round.
    """
    values = sorted((value for value, _, _ in points), key=_in_order)
    texts = list(dict.fromkeys(map(value_text, values)))

    def draw(axes: Axes) -> None:
        for value, score, is_first in points:
            place = texts.index(value_text(value)) if scale == "choices" else value
            axes.plot([place], [score], marker="D" if is_first else "o", markersize=6,
                      color=LINE_COLOURS[1 if is_first else 0], alpha=0.8)  # fmt: skip
        if scale == "choices":
            axes.set_xticks(range(len(texts)), texts)
            axes.margins(x=0.15)
        elif scale == "log" and values[0] > 0:
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter("{x:g}")
            axes.xaxis.set_minor_formatter("")
        axes.set_ylabel("score" if share == 1.0 else f"score at {share:.0%} of a training")

    return picture(draw, height=2.4)


def _in_order(value: Any) -> tuple[bool, float, str]:
    """The place of a value on an axis: numbers by size, before what is none."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return (not is_number, float(value) if is_number else 0.0, value_text(value))


def _trials(results: Results) -> Section:
    paths = list(results["space"])
    rows = []
    configured = {row["path"]: row[CONFIGURED] for row in results["settings"]}
    for trial in results["trials"]:
        values = [value_text({**configured, **trial["values"]}[path]) for path in paths]
        standing = trial["why"] or trial["standing"]
        facts = [_score(trial["score"]), f"{trial['trained']:.0%}", standing]
        rows.append([str(trial["number"]), *facts, f"{trial['cpu_s']:,.0f}", *values])
    header = ["trial", "score", "trained", "standing", "CPU s", *paths]
    return section("All trials", table(header, rows, caption="Sorted by a click on a head"))


def _how_to_read() -> Section:
    return section(
        "How to read this",
        listed(
            [
                "The score is the mean over the tasks by which trainings stop early, or the value "
                "of the aim, on validation rows. Scores of trials that ended early are those of "
                "that moment: compare them at equal shares only.",
                "A trial is dropped where the better half of its generation was ahead of it.",
                "The best of many trials is lucky, too: that is why the finals train it anew, and "
                "why the configuration stays unless another mean is better.",
            ]
        ),
    )


def _score(value: float | None) -> str:
    return MISSING if value is None else f"{value:.4f}"

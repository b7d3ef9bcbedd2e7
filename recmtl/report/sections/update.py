"""The report's section on an update: what changed, why, and each task against the parent."""

from collections.abc import Mapping
from typing import Any

from recmtl.report.page import Card, Section, cards, listed, paragraph, section, table
from recmtl.report.tables import MISSING, format_metric, format_number, primary_of, words
from recmtl.report.update_text import update_lines, verdict_lines

__all__ = ["update"]

Results = Mapping[str, Any]
KINDS = {"helped": ("better", "helped"), "hurt": ("worse", "hurt")}


def update(results: Results) -> Section | None:
    """What an update changed; None of a model that was trained from scratch."""
    if "update" not in results:
        return None
    facts, of_tasks = results["update"], verdict_lines(results)
    changed = update_lines(results)[: -len(of_tasks) or None]
    shown = cards(
        Card(task, *_marks(entry.get("verdict", ""), line))
        for (task, entry), line in zip(results["tasks"].items(), of_tasks, strict=True)
    )
    introduction = (
        "The bundle was trained on with added days. On their test rows, which nothing has learned "
        "from, it is compared with what it was before."
    )
    parts = [paragraph(introduction), listed(changed), shown, _quality(results)]
    test = facts.get("test")
    if test is not None and len(test["scores"]) > 1:
        rows = [[words(name), _score(score)] for name, score in test["scores"].items()]
        caption = "Every way to share, trained from scratch on the added days at equal cost"
        parts.append(table(["wiring", "validation score"], rows, caption=caption))
    return section("What changed, and why", *parts)


def _marks(verdict: str, line: str) -> tuple[str, list[str], str]:
    mark, kind = KINDS.get(verdict, ("no proven difference", "open"))
    return mark, [line.partition(": ")[2]], kind


def _quality(results: Results) -> Any:
    """The primary metric of each task for all three models, and their costs."""
    rows = []
    for name, title in (("searched", "updated"), ("parent", "parent"), ("constant", "constant")):
        cells = [
            format_metric(entry.get(name, {}).get(primary_of(results, task)))
            for task, entry in results["tasks"].items()
        ]
        adds = results["cost"].get(name, {}).get("multiply_adds")
        rows.append([title, *cells, MISSING if adds is None else format_number(adds)])
    heads = [f"{task} ({words(primary_of(results, task))})" for task in results["tasks"]]
    return table(["model", *heads, "multiply-adds"], rows, caption="On the same test rows")


def _score(value: float | None) -> str:
    return MISSING if value is None else f"{value:.4f}"

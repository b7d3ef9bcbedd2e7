"""The model card in Markdown: what a bundle predicts, from which columns, and how well."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from recmtl.schema import Schema

__all__ = ["model_card"]

MARKUP = re.compile(r"[&<>|`*\[\]\\]")
"""Signs with a meaning in Markdown or HTML."""
UNFIT = re.compile(r"[`|\\<>&]|\s\s|[^\S ]|^ | $")
USAGE = """\
## Use

```python
from recmtl import Ranker, Scorer

scores = Scorer.load("this/folder").score(rows)
```

Rows are a pandas DataFrame or an Arrow table with the input columns below; ids that were not
seen in training are allowed and share one embedding. Scores are predictions for the population of
the training log; they say nothing of cause, and drift with it.
"""


def model_card(
    schema: Schema,
    inputs: Sequence[str],
    columns: Sequence[str],
    metrics: Mapping[str, Any],
    notes: str = "",
) -> str:
    """Describe a model: its tasks and their verdicts, its scored columns, its input columns.

    Args:
        schema: names the tasks and their labels.
        inputs: names of the input columns.
        columns: names of the scored columns.
        metrics: results.json, or less of it; what is absent is left out or shown as `-`.
        notes: Markdown to add at the end.
    """
    lines = [
        f"# {_plain(schema.name)}",
        "",
        "A multi-task recommendation model of recmtl.",
        "",
        USAGE,
    ]
    lines += ["## Tasks", ""]
    lines += [
        "| task | kind | label | verdict against its own single-task model |",
        "|---|---|---|---|",
    ]
    for task in schema.tasks:
        verdict = _verdict(metrics, task.name)
        cells = (task.name, task.kind, task.label.column, verdict)
        lines.append(f"| {' | '.join(map(_plain, cells))} |")
    lines += ["", "## Scored columns", "", ", ".join(map(_code, columns)), ""]
    lines += ["## Input columns", "", ", ".join(map(_code, inputs)), ""]
    lines += _blend(metrics)
    lines += _calibration(metrics)
    if metrics.get("fingerprint"):
        lines += [f"Data fingerprint: {_code(metrics['fingerprint'])}", ""]
    return "\n".join(lines) + (f"\n{notes.strip()}\n" if notes.strip() else "")


def _blend(metrics: Mapping[str, Any]) -> list[str]:
    """The weights of a blend, as a table; no lines where one network scores every task."""
    blend = metrics.get("blend")
    if not isinstance(blend, Mapping) or not any(t["taken"] for t in blend["tasks"].values()):
        return []
    members = blend["members"]
    lines = ["## Blend", "", "Weights of the members' logits:", ""]
    lines += [f"| task | {' | '.join(map(_plain, members))} |", "|---" * (len(members) + 1) + "|"]
    for task, entry in blend["tasks"].items():
        weights = [f"{entry['weights'][name]:.2f}" for name in members]
        lines.append(f"| {_plain(task)} | {' | '.join(weights)} |")
    return [*lines, ""]


def _calibration(metrics: Mapping[str, Any]) -> list[str]:
    """What calibration changed, as a table; no lines if results.json has nothing of it."""
    calibration = metrics.get("calibration")
    if not isinstance(calibration, Mapping):
        return []
    lines, segment = ["## Calibration", ""], calibration["segment"]
    if calibration["columns"]:
        by = f", by {_code(segment)}" if segment else ""
        method = _plain(calibration["method"])
        lines += [f"{method}, fitted on validation rows{by}; test rows before -> after:"]
        lines += ["", "| column | log loss | Brier score | expected calibration error |"]
        lines += ["|---|---|---|---|"]
    for column, gain in calibration["columns"].items():
        cells = [
            f"{gain['before'][name]:.5f} -> {gain['after'][name]:.5f}"
            for name in ("log_loss", "brier", "ece")
        ]
        lines.append(f"| {_code(column)} | {' | '.join(cells)} |")
    kept = ", ".join(
        f"{_plain(task)} {_plain(share)}" for task, share in calibration["kept_negatives"].items()
    )
    if kept:
        lines += ["", f"Corrected for the share of negative rows that the log has kept: {kept}."]
    return [*lines, ""]


def _verdict(metrics: Mapping[str, Any], task: str) -> str:
    tasks = metrics.get("tasks")
    facts = tasks.get(task) if isinstance(tasks, Mapping) else None
    return str(facts.get("verdict", "-")) if isinstance(facts, Mapping) else "-"


def _plain(text: object) -> str:
    """A name as text of a table's cell or a heading: on one line, and neither Markdown nor HTML.

    >>> _plain("a|b <i>")
    'a&#124;b &#60;i&#62;'
    """
    return MARKUP.sub(lambda sign: f"&#{ord(sign[0])};", " ".join(str(text).split()))


def _code(name: object) -> str:
    """A name as code, or as plain text if Markdown's code cannot hold it."""
    text = str(name)
    return _plain(text) if not text or UNFIT.search(text) else f"`{text}`"

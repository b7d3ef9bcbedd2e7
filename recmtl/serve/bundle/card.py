"""The model card in Markdown: what a bundle predicts, from which columns, and how well."""

from collections.abc import Mapping, Sequence
from typing import Any

from recmtl.schema import Schema

__all__ = ["model_card"]

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
    lines = [f"# {schema.name}", "", "A multi-task recommendation model of recmtl.", "", USAGE]
    lines += ["## Tasks", ""]
    lines += [
        "| task | kind | label | verdict against its own single-task model |",
        "|---|---|---|---|",
    ]
    for task in schema.tasks:
        verdict = _verdict(metrics, task.name)
        lines.append(f"| {task.name} | {task.kind} | {task.label.column} | {verdict} |")
    lines += ["", "## Scored columns", "", ", ".join(f"`{name}`" for name in columns), ""]
    lines += ["## Input columns", "", ", ".join(f"`{name}`" for name in inputs), ""]
    lines += _calibration(metrics)
    if metrics.get("fingerprint"):
        lines += [f"Data fingerprint: `{metrics['fingerprint']}`", ""]
    return "\n".join(lines) + (f"\n{notes.strip()}\n" if notes.strip() else "")


def _calibration(metrics: Mapping[str, Any]) -> list[str]:
    """What calibration changed, as a table; no lines if results.json has nothing of it."""
    calibration = metrics.get("calibration")
    if not isinstance(calibration, Mapping):
        return []
    lines, segment = ["## Calibration", ""], calibration["segment"]
    if calibration["columns"]:
        by = f", by `{segment}`" if segment else ""
        method = calibration["method"]
        lines += [f"{method}, fitted on validation rows{by}; test rows before -> after:"]
        lines += ["", "| column | log loss | Brier score | expected calibration error |"]
        lines += ["|---|---|---|---|"]
    for column, gain in calibration["columns"].items():
        cells = [
            f"{gain['before'][name]:.5f} -> {gain['after'][name]:.5f}"
            for name in ("log_loss", "brier", "ece")
        ]
        lines.append(f"| `{column}` | {' | '.join(cells)} |")
    kept = ", ".join(f"{task} {share}" for task, share in calibration["kept_negatives"].items())
    if kept:
        lines += ["", f"Corrected for the share of negative rows that the log has kept: {kept}."]
    return [*lines, ""]


def _verdict(metrics: Mapping[str, Any], task: str) -> str:
    tasks = metrics.get("tasks")
    facts = tasks.get(task) if isinstance(tasks, Mapping) else None
    return str(facts.get("verdict", "-")) if isinstance(facts, Mapping) else "-"

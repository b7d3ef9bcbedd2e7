"""The model card: what a bundle predicts, from which columns, and how well, as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from recmtl.schema import Schema

__all__ = ["model_card"]

USE = """\
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
    """Describe a model: its tasks, its scored columns, its inputs, its verdict by task."""
    lines = [f"# {schema.name}", "", "A multi-task recommendation model of recmtl.", "", USE]
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
    if metrics.get("fingerprint"):
        lines += [f"Data fingerprint: `{metrics['fingerprint']}`", ""]
    return "\n".join(lines) + (f"\n{notes.strip()}\n" if notes.strip() else "")


def _verdict(metrics: Mapping[str, Any], task: str) -> str:
    tasks = metrics.get("tasks")
    facts = tasks.get(task) if isinstance(tasks, Mapping) else None
    return str(facts.get("verdict", "-")) if isinstance(facts, Mapping) else "-"

"""The content of results.json as frames: verdicts, models, metrics, and what moved the metric.

All metrics are of test rows, but for those of `importance_frame`. All gains are those of
`recmtl.evaluate.transfer_test`: above 0 is better, whether or not the metric should be high.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from recmtl.report.sections.what_mattered import step_name
from recmtl.report.tables import model_names, primary_of

__all__ = [
    "drift_frame",
    "importance_frame",
    "leaderboard_frame",
    "metrics_frame",
    "slices_frame",
    "verdict_frame",
    "what_mattered_frame",
]

COSTS = ("parameters", "multiply_adds", "train_s", "cpu_s", "score_rows_per_s")
GAINS = ("gain", "low", "high")
BESIDE = ("searched", "single_task", "lightgbm")
"""The models whose metric stands in a verdict."""


def verdict_frame(results: Mapping[str, Any]) -> pd.DataFrame:
    """One row a task: what became of it by sharing.

    Columns: `verdict` (helped, hurt, not proven); `metric`, the task's primary one; `searched`,
    `single_task` and `lightgbm`, its mean over the seeds; `gain` of the searched network over one
    that was trained for the task alone, with its interval `low` to `high`; `rows`, of test.
    """
    lines = {}
    for task, entry in results["tasks"].items():
        metric, verdict = primary_of(results, task), results.get("verdicts", {}).get(task, {})
        gains = verdict.get("single_task", {})
        lines[task] = {
            "verdict": entry.get("verdict"),
            "metric": metric,
            **{model: _mean(entry, model, metric) for model in BESIDE},
            **{name: gains.get(name) for name in GAINS},
            "rows": verdict.get("rows"),
        }
    return _frame(lines, "task")


def leaderboard_frame(results: Mapping[str, Any]) -> pd.DataFrame:
    """One row a model, the best score first.

    Columns: `score`, the mean over the tasks of AUC, and of R2 for regressions; `std` of it over
    the `seeds`; each task's primary metric, `<task> <metric>`; `gain` of the searched network over
    this model on the mean over the tasks, `low` to `high`; and the cost: `parameters`,
    `multiply_adds` an example, `train_s`, `cpu_s`, `score_rows_per_s`.
    """
    scores, costs, gains = (results.get(name, {}) for name in ("score", "cost", "mean"))
    metrics = {task: primary_of(results, task) for task in results["tasks"]}
    lines = {}
    for model in model_names(results):
        score, gain = scores.get(model, {}), gains.get(model, {})
        lines[model] = {
            "score": score.get("mean"),
            "std": score.get("std"),
            "seeds": score.get("seeds"),
            **{
                f"{task} {metric}": _mean(results["tasks"][task], model, metric)
                for task, metric in metrics.items()
            },
            **{name: gain.get(name) for name in GAINS},
            **{name: costs.get(model, {}).get(name) for name in COSTS},
        }
    return _frame(lines, "model").sort_values("score", ascending=False, kind="stable")


def metrics_frame(results: Mapping[str, Any]) -> pd.DataFrame:
    """One row for each task, model and metric: `mean` and `std` over the `seeds`."""
    lines = [
        {"task": task, "model": model, "metric": metric, **cell}
        for task, entry in results["tasks"].items()
        for model in model_names({"tasks": {task: entry}})
        for metric, cell in entry[model].items()
    ]
    return pd.DataFrame(lines, columns=["task", "model", "metric", "mean", "std", "seeds"])


def what_mattered_frame(results: Mapping[str, Any]) -> pd.DataFrame:
    """One row a step, in the order of the report, which names them the same.

    Columns: `kind` (plain, source, wiring, without); `kept`, whether the networks of the study hear
    the source; `mean`, the score; its `gain` over the step that it is compared with, `low` to
    `high`, and the `verdict` on it; the gain on each task, `<task> gain`; `multiply_adds`.
    """
    return _frame(dict(_steps(results)), "step")


def importance_frame(results: Mapping[str, Any], kind: str = "features") -> pd.DataFrame:
    """One row a feature, or a source of knowledge, the most important first; on validation rows.

    Columns: `source` (of features); for each task `<task> <metric>`, what its primary metric loses
    if the values are shuffled, and `<task> std` over the repeats. What matters most to any task
    comes first.

    Args:
        results: content of results.json.
        kind: `features` or `sources`.
    """
    lines: dict[str, dict[str, Any]] = {}
    for task, entry in results["importance"]["tasks"].items():
        largest = max((abs(cell["loss"] or 0.0) for cell in entry[kind].values()), default=0.0)
        for name, cell in entry[kind].items():
            line = lines.setdefault(name, {"source": cell.get("source"), "most": 0.0})
            line |= {f"{task} {entry['metric']}": cell["loss"], f"{task} std": cell["std"]}
            line["most"] = max(line["most"], (cell["loss"] or 0.0) / (largest or 1.0))
    ordered = sorted(lines.items(), key=lambda item: -item[1].pop("most"))
    frame = _frame(dict(ordered), kind.removesuffix("s"))
    return frame if kind == "features" else frame.drop(columns="source")


def slices_frame(results: Mapping[str, Any]) -> pd.DataFrame:
    """One row for each feature, slice of it and task: where the searched network is weak.

    Columns: `feature`, `slice`, `share` of the test rows, `task`, `rows` on which it is defined,
    `metric`, its mean for `searched`, `single_task` and `lightgbm`, and the `gain` over the
    single task, `low` to `high`.
    """
    lines = [
        {
            "feature": entry["feature"],
            "slice": part["name"],
            "share": part["share"],
            "task": task,
            "rows": cell["rows"],
            "metric": cell["metric"],
            **{model: cell["models"].get(model, {}).get("mean") for model in BESIDE},
            **{name: (cell.get("single_task") or {}).get(name) for name in GAINS},
        }
        for entry in results["slices"]
        for part in entry["slices"]
        for task, cell in part["tasks"].items()
    ]
    return pd.DataFrame([_with_nan(line) for line in lines])


def drift_frame(results: Mapping[str, Any]) -> pd.DataFrame:
    """One row a feature, the one that drifts most first.

    Columns: `kind`; `validation` and `test`, the distance from the train rows (population stability
    index: below 0.1 little has changed, above 0.25 much); `<part> missing`, a share.
    """
    lines = {
        name: {
            "kind": entry["kind"],
            **entry["distance"],
            **{f"{part} missing": share for part, share in entry["missing"].items()},
        }
        for name, entry in results["drift"]["features"].items()
    }
    return _frame(lines, "feature").sort_values("test", ascending=False, kind="stable")


def _steps(results: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for entry in results.get("what_mattered", ()):
        gains = entry["interval"]
        yield (
            step_name(entry),
            {
                "kind": entry["kind"],
                "kept": entry["kept"],
                "mean": entry["mean"]["mean"],
                **{name: gains.get(name) for name in (*GAINS, "verdict")},
                **{
                    f"{task} gain": of_task["interval"].get("gain")
                    for task, of_task in entry["tasks"].items()
                },
                "multiply_adds": entry["cost"]["multiply_adds"],
            },
        )


def _mean(entry: Mapping[str, Any], model: str, metric: str) -> float | None:
    value: float | None = entry.get(model, {}).get(metric, {}).get("mean")
    return value


def _frame(lines: Mapping[str, Mapping[str, Any]], index: str) -> pd.DataFrame:
    """A frame with a row for each name; numbers that are absent are NaN."""
    rows = {name: _with_nan(line) for name, line in lines.items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(index)


def _with_nan(line: Mapping[str, Any]) -> dict[str, Any]:
    return {name: float("nan") if value is None else value for name, value in line.items()}

"""A page of Markdown from results.json: all models, all tasks, costs beside quality."""

from collections.abc import Mapping
from typing import Any

from recmtl.evaluate.tables import model_names, primary_of, words

__all__ = ["benchmark_page"]

# Only sharing can help or hurt; against another kind of model the network is ahead or behind.
AGAINST = {
    "single_task": {"helped": "helped", "hurt": "hurt", "not proven": "not proven"},
    "lightgbm": {"helped": "ahead", "hurt": "behind", "not proven": "not proven"},
}


def benchmark_page(name: str, results: Mapping[str, Any], manifest: Mapping[str, Any]) -> str:
    """Quality and cost of every model, the verdicts, and what the searches agreed on."""
    tasks = list(results["tasks"])
    rows = manifest["rows"]
    lines = [
        f"# {name}",
        "",
        f"Rows: {rows['train']:,} train, {rows['validation']:,} validation, {rows['test']:,} test. "
        "Routes, epochs and candidates were chosen on validation rows; the figures are of the test "
        "rows, mean ± sample "
        f"standard deviation over seeds. Data fingerprint `{results['fingerprint'][:16]}`.",
        "",
        *_quality(results, tasks),
        "",
        *_verdicts(results, tasks),
        "",
        *_sharing(results),
    ]
    return "\n".join(lines) + "\n"


def _quality(results: Mapping[str, Any], tasks: list[str]) -> list[str]:
    metrics = {task: primary_of(results, task) for task in tasks}
    heads = [f"{task} ({words(metrics[task])})" for task in tasks]
    lines = [
        "| model | seeds | "
        + " | ".join(heads)
        + " | parameters | multiply-adds | train s | rows/s |",
        "|---" * (len(tasks) + 6) + "|",
    ]
    for model in model_names(results):
        found = [results["tasks"][task].get(model, {}).get(metrics[task]) for task in tasks]
        seeds = max((cell["seeds"] for cell in found if cell), default=0)
        cost = results["cost"][model]
        cells = [words(model), str(seeds), *map(_cell, found), *_cost(cost)]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _cell(cell: Mapping[str, Any] | None) -> str:
    if not cell or cell["mean"] is None:
        return "-"
    spread = f" ± {cell['std']:.4f}" if cell["seeds"] > 1 else ""
    return f"{cell['mean']:.4f}{spread}"


def _cost(cost: Mapping[str, float | None]) -> list[str]:
    names = ("parameters", "multiply_adds", "train_s", "score_rows_per_s")
    return ["-" if cost[name] is None else f"{cost[name]:,.0f}" for name in names]


def _verdicts(results: Mapping[str, Any], tasks: list[str]) -> list[str]:
    lines = ["| task | against | gain | interval | verdict |", "|---|---|---|---|---|"]
    for task in tasks:
        for opponent in AGAINST:
            gain = results["verdicts"][task].get(opponent)
            if gain is not None and gain["gain"] is not None:
                bounds = [gain["low"], gain["high"]]
                interval = "-" if None in bounds else f"{bounds[0]:+.4f} to {bounds[1]:+.4f}"
                lines.append(
                    f"| {task} | {words(opponent)} | {gain['gain']:+.4f} | {interval} "
                    f"| {AGAINST[opponent][gain['verdict']]} |"
                )
    return lines


def _sharing(results: Mapping[str, Any]) -> list[str]:
    sharing = results["sharing"]
    tasks = sharing["tasks"]
    lines = [
        f"Experts that two tasks share (Jaccard), mean of {sharing['seeds']} searches:",
        "",
        "| | " + " | ".join(tasks) + " |",
        "|---" * (len(tasks) + 1) + "|",
    ]
    for task, overlaps in zip(tasks, sharing["overlap"], strict=True):
        lines.append(f"| {task} | " + " | ".join(f"{value:.2f}" for value in overlaps) + " |")
    planted = sharing.get("planted")
    if planted:
        lines += [
            "",
            f"Planted pairs share {planted['related']:.2f}, others {planted['unrelated']:.2f}; "
            f"difference by seed {', '.join(f'{gap:+.2f}' for gap in planted['gap_by_seed'])}.",
        ]
    return lines

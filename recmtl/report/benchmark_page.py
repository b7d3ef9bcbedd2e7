"""A page of Markdown from results.json: all models, all tasks, costs beside quality."""

from collections.abc import Mapping
from typing import Any

from recmtl.report.tables import (
    MISSING,
    Markdown,
    code_block,
    markdown,
    markdown_table,
    model_names,
    primary_of,
    words,
)

__all__ = ["benchmark_page", "model_description", "validation_page"]

# Only sharing can help or hurt; compared with another network, the searched one is ahead or behind.
HELPED = {"helped": "helped", "hurt": "hurt"}
AHEAD = {"helped": "ahead", "hurt": "behind"}
MOST_DIFFERENCES = 6
MOST_DESCRIBED = 4_900
"""Letters of a description; MLflow takes 5,000."""

Results = Mapping[str, Any]


def benchmark_page(name: str, results: Results, manifest: Mapping[str, Any]) -> str:
    """Quality and cost of every model, the verdicts, and what the searches agreed on."""
    rows = manifest["rows"]
    lines = [
        f"# {markdown(name)}",
        "",
        f"Rows: {rows['train']:,} train, {rows['validation']:,} validation, {rows['test']:,} test. "
        "Routes, epochs and candidates were chosen on validation rows; the figures are of the test "
        "rows, mean ± sample standard deviation over seeds; the last is the mean over the tasks "
        f"(AUC, R² of values). Data fingerprint `{results['fingerprint'][:16]}`.",
        "",
        *_quality(results),
        *_against_best(results),
        *_against_some(results),
        *_against_all(results),
        *_sharing(results["sharing"]),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def validation_page(name: str, results: Results, manifest: Mapping[str, Any]) -> str:
    """Quality on validation rows and cost of every model; nothing of test rows."""
    rows = manifest["rows"]
    lines = [
        f"# {markdown(name)}: validation rows",
        "",
        f"Rows: {rows['train']:,} train, {rows['validation']:,} validation. Figures of the "
        "validation rows, mean ± sample standard deviation over seeds; the last is the mean over "
        "the tasks (AUC, R² of values).",
        "",
        *_quality(results),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def model_description(
    results: Results, manifest: Mapping[str, Any], *, data: str, routes: str
) -> str:
    """A registered model in short: its tasks with verdicts, its data and its routes.

    Args:
        results: content of results.json.
        manifest: of the encoded log.
        data: where the log lies.
        routes: the routes as text.
    """
    rows = manifest["rows"]
    tasks = [
        [task, words(primary_of(results, task)), *_task_cells(results, task)]
        for task in results["tasks"]
    ]
    lines = [
        *markdown_table(["task", "metric", "on test rows", "over a single task", "verdict"], tasks),
        f"Data: {markdown(data)}, rows: {rows['train']:,} train, {rows['validation']:,} "
        f"validation, {rows['test']:,} test; fingerprint `{results['fingerprint'][:16]}`.",
        "",
        *code_block(routes),
    ]
    text = "\n".join(lines)
    return text if len(text) <= MOST_DESCRIBED else f"{text[: MOST_DESCRIBED - 6]}\n…\n```"


def _task_cells(results: Results, task: str) -> list[str]:
    entry, gains = results["tasks"][task], results["verdicts"].get(task, {})
    value = _cell(entry.get("searched", {}).get(primary_of(results, task)))
    gain = gains.get("single_task")
    return [value, _gain(gain, HELPED)[0] if gain else MISSING, entry.get("verdict", MISSING)]


def _quality(results: Results) -> list[str]:
    metrics = {task: primary_of(results, task) for task in results["tasks"]}
    heads = [f"{task} ({words(metric)})" for task, metric in metrics.items()]
    costs = ["parameters", "multiply-adds", "train s", "rows/s"]
    rows = []
    for model in model_names(results):
        cells = [results["tasks"][task].get(model, {}).get(m) for task, m in metrics.items()]
        cells.append(results["score"].get(model))
        seeds = max((cell["seeds"] for cell in cells if cell), default=0)
        rows.append([words(model), seeds, *map(_cell, cells), *_cost(results["cost"][model])])
    return markdown_table(["model", "seeds", *heads, "mean", *costs], rows)


def _cell(cell: Mapping[str, Any] | None) -> str:
    if not cell or cell["mean"] is None:
        return MISSING
    spread = f" ± {cell['std']:.4f}" if cell["seeds"] > 1 else ""
    return f"{cell['mean']:.4f}{spread}"


def _cost(cost: Mapping[str, float | None]) -> list[str]:
    names = ("parameters", "multiply_adds", "train_s", "score_rows_per_s")
    return [MISSING if cost[name] is None else f"{cost[name]:,.0f}" for name in names]


def _against_best(results: Results) -> list[str]:
    """The searched network against the best fixed model of each task, picked on these test rows."""
    best = results["best_fixed"]
    rows = [
        [task, words(gain["model"]), *_gain(gain, AHEAD)]
        for task, gain in [*best["tasks"].items(), ("mean", best["mean"])]
        if gain
    ]
    introduction = (
        "The searched network against the fixed model that does best on the task; which one that "
        "is was picked on these test rows, in its favour. Intervals of 95 % over rows and seeds:"
    )
    left_out = [task for task in results["tasks"] if task not in results["mean"]["tasks"]]
    if left_out:
        names = ", ".join(map(markdown, left_out))
        introduction = f"{introduction[:-1]}; the mean leaves out {names}, rare on these rows:"
    head = ["task", "best fixed model", "gain", "interval", "verdict"]
    return [introduction, "", *markdown_table(head, rows)] if rows else []


def _against_some(results: Results) -> list[str]:
    rows = [
        [task, words(opponent), *_gain(gains[opponent], verdicts)]
        for task, gains in _judged(results)
        for opponent, verdicts in (("single_task", HELPED), ("lightgbm", AHEAD))
        if gains.get(opponent, {}).get("gain") is not None
    ]
    return markdown_table(["task", "against", "gain", "interval", "verdict"], rows)


def _against_all(results: Results) -> list[str]:
    judged = _judged(results)
    models = [m for m in model_names(results) if any(m in gains for _, gains in judged)]
    rows = [[words(model), *(_mark(gains.get(model)) for _, gains in judged)] for model in models]
    introduction = (
        "Gain of the searched network over each model, bold where the interval excludes 0:"
    )
    return (
        [introduction, "", *markdown_table(["over", *(task for task, _ in judged)], rows)]
        if rows
        else []
    )


def _judged(results: Results) -> list[tuple[str, Mapping[str, Any]]]:
    return [*results["verdicts"].items(), ("mean", results["mean"])]


def _gain(gain: Mapping[str, Any], verdicts: Mapping[str, str]) -> list[str]:
    bounds = [gain["low"], gain["high"]]
    interval = MISSING if None in bounds else f"{bounds[0]:+.4f} to {bounds[1]:+.4f}"
    return [f"{gain['gain']:+.4f}", interval, verdicts.get(gain["verdict"], "not proven")]


def _mark(gain: Mapping[str, Any] | None) -> str:
    if not gain or gain["gain"] is None:
        return MISSING
    value = f"{gain['gain']:+.4f}"
    return value if gain["verdict"] == "not proven" else Markdown(f"**{value}**")


def _sharing(sharing: Mapping[str, Any]) -> list[str]:
    tasks = sharing["tasks"]
    rows = [
        [task, *(f"{value:.2f}" for value in overlaps)]
        for task, overlaps in zip(tasks, sharing["overlap"], strict=True)
    ]
    introduction = f"Experts that two tasks share (Jaccard), mean of {sharing['seeds']} searches:"
    return [
        introduction,
        "",
        *markdown_table(["", *tasks], rows),
        *_agreement(sharing),
        *_planted(sharing),
    ]


def _agreement(sharing: Mapping[str, Any]) -> list[str]:
    if "agreement" not in sharing:
        return []
    line = f"Agreement of the searches of different seeds: {sharing['agreement']:.2f}"
    if "agreement_of_random_routes" in sharing:
        line += f"; of random routes {sharing['agreement_of_random_routes']:.2f}"
    differs = [
        f"{' and '.join(map(markdown, pair['tasks']))} "
        f"({pair['lowest']:.2f} to {pair['highest']:.2f})"
        for pair in sharing["differs"][:MOST_DIFFERENCES]
    ]
    line += f". They differ most in what is shared by {', '.join(differs)}." if differs else "."
    return [line, ""]


def _planted(sharing: Mapping[str, Any]) -> list[str]:
    planted = sharing.get("planted")
    if not planted:
        return []
    gaps = ", ".join(f"{gap:+.2f}" for gap in planted["gap_by_seed"])
    return [
        f"Planted pairs share {planted['related']:.2f}, others {planted['unrelated']:.2f}; "
        f"difference by seed {gaps}.",
        "",
    ]

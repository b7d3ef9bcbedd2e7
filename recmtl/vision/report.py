"""The report of a study on images: scores and costs of every model, and what the policies chose."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recmtl.report.page import Html, Section, figure, paragraph, section, table, write_page
from recmtl.report.tables import MISSING, format_metric, markdown_table, model_names, words
from recmtl.vision.metrics.meter import higher_is_better

__all__ = ["VisionReport", "best_table", "summary_table", "vision_table", "write_vision_report"]

Results = Mapping[str, Any]
COSTS = ("parameters", "multiply_adds", "train_s", "score_rows_per_s")


@dataclass(frozen=True)
class VisionReport:
    """Content of the page.

    Attributes:
        title: heading.
        results: content of the study's results.json.
        pictures: name -> SVG text of the network that a policy or a tree chose.
    """

    title: str
    results: Results
    pictures: Mapping[str, str] = field(default_factory=dict)


def summary_table(results: Results) -> tuple[list[str], list[list[str]]]:
    """Head and rows: each model's primary metrics, gains over single-task models, and costs."""
    primary: Mapping[str, str] = results["primary"]
    heads = [f"{task} ({words(metric)})" for task, metric in primary.items()]
    head = ["model", "seeds", *heads, "mean", "gain by task %", "flat %"]
    head += ["parameters", "multiply-adds"]
    head += [f"of {words(results['share']['of'])}", "train s", "images/s"]
    rows = []
    for model in model_names(results):
        scores = [results["tasks"][task].get(model, {}).get(m) for task, m in primary.items()]
        scores.append(results["score"].get(model))
        seeds = max((score["seeds"] for score in scores if score), default=0)
        gains = [results["gains"].get(model, {}).get(name) for name in ("by_task", "flat")]
        cost = results["cost"][model]
        share = results["share"]["multiply_adds"].get(model)
        numbers = [MISSING if cost[name] is None else f"{cost[name]:,.0f}" for name in COSTS]
        numbers.insert(2, MISSING if share is None else f"{share:.0%}")
        cells = [*map(format_metric, scores), *map(format_metric, gains)]
        rows.append([words(model), str(seeds), *cells, *numbers])
    return head, rows


def best_table(results: Results) -> tuple[list[str], list[list[str]]]:
    """Head and rows: how far each model's mean score is behind the best, and at what cost.

    A model is close if it is at most a sample standard deviation of the best model's seeds behind;
    with one seed there is no deviation.
    """
    by_model = {name: results["score"].get(name) for name in model_names(results)}
    scores = {n: score for n, score in by_model.items() if score and score["mean"] is not None}
    if not scores:
        return ["model"], []
    best = max(scores, key=lambda name: float(scores[name]["mean"]))
    most, spread = (float(scores[best][part]) for part in ("mean", "std"))
    rows = []
    for name, score in scores.items():
        behind, share = most - float(score["mean"]), results["share"]["multiply_adds"].get(name)
        close = "yes" if behind <= spread else "no"
        close = close if scores[best]["seeds"] > 1 else MISSING
        cost = MISSING if share is None else f"{share:.1%}"
        rows.append([words(name), f"{behind:.4f}", close, cost])
    head = [f"behind {words(best)}, the best", f"within its ± {spread:.4f}"]
    return ["model", *head, f"of the multiply-adds of {words(results['share']['of'])}"], rows


def vision_table(results: Results) -> str:
    """The summary as Markdown, and how far each model is behind the best."""
    tables = (summary_table(results), best_table(results))
    return "\n".join("\n".join(markdown_table(*content)) for content in tables)


def write_vision_report(path: Path, content: VisionReport) -> None:
    """Write the page; an interrupted write leaves `path` as it was."""
    results = content.results
    head, rows = summary_table(results)
    explanation = (
        "Figures are of test images, mean ± sample standard deviation over seeds; every choice "
        "was made on validation images. Gains are relative to the single-task models. By task, "
        "positive is better; flat over all metrics, negative is better."
    )
    parts: list[Section | Html] = [
        Html("<h1>{}</h1>").format(content.title),
        section(
            "What every model scores and costs",
            paragraph(explanation),
            table(head, rows),
            table(*best_table(results)),
        ),
        *(_task(task, results) for task in results["tasks"]),
        *(_pictures(content.pictures)),
        section("Data", paragraph(f"Fingerprint {results['fingerprint']}.", "quiet")),
    ]
    write_page(path, content.title, parts)


def _task(task: str, results: Results) -> Section:
    """Every metric of one task, one column per metric."""
    models = [name for name in model_names(results) if name in results["tasks"][task]]
    metrics = list(dict.fromkeys(m for name in models for m in results["tasks"][task][name]))
    heads = [f"{words(m)} {'↑' if higher_is_better(m) else '↓'}" for m in metrics]
    rows: Sequence[Sequence[str]] = [
        [words(name), *(format_metric(results["tasks"][task][name].get(m)) for m in metrics)]
        for name in models
    ]
    return section(f"Task {task}", table(["model", *heads], rows))


def _pictures(pictures: Mapping[str, str]) -> list[Section]:
    if not pictures:
        return []
    explanation = (
        "Each panel shows one task: filled boxes are the blocks that it uses, outlined ones only "
        "other tasks use. A dashed line skips a block; if the block is filled, only some of the "
        "images skip it."
    )
    shown = [
        figure(svg, alt=f"What each task uses of {name}", title=name, kind="wide")
        for name, svg in pictures.items()
    ]
    return [section("What the policies chose", paragraph(explanation), *shown)]

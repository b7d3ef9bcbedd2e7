"""The report's sections of words and tables: each maps a part of the results to HTML.

A section whose part is absent is None and is left out.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from recmtl.report.page import (
    Content,
    Html,
    Section,
    folded,
    join,
    paragraph,
    section,
    table,
    terms,
)
from recmtl.report.tables import (
    LOWER_IS_BETTER,
    MISSING,
    format_metric,
    model_names,
    primary_of,
    words,
)

__all__ = [
    "blend",
    "cost",
    "how_to_read",
    "quality",
    "race",
    "sharing",
    "training",
]

Results = Mapping[str, Any]


def training(results: Results) -> Section | None:
    """Networks that were not trained enough, in words; None where all were."""
    warnings = results.get("training", {}).get("warnings", ())
    if not warnings:
        return None
    return section("Not trained enough", *(paragraph(f"{w[0].upper()}{w[1:]}.") for w in warnings))


def quality(results: Results) -> Section:
    """All models x tasks on the primary metric, the best marked; all metrics folded below."""
    tasks, models = results["tasks"], model_names(results)
    best = {task: _best(results, task) for task in tasks}
    rows: list[list[Content]] = []
    kinds = []
    for model in models:
        cells = [
            format_metric(tasks[task].get(model, {}).get(primary_of(results, task)))
            for task in tasks
        ]
        rows.append([words(model), *cells])
        kinds.append(["", *("best" if best[task] == model else "" for task in tasks)])
    header = ["model", *(f"{task} ({words(primary_of(results, task))})" for task in tasks)]
    return section(
        "All models",
        paragraph(
            "Test rows of each task's own population; mean ± standard deviation over seeds where "
            "there are several. A star marks the best mean of the column, proven or not."
        ),
        table(header, rows, kinds=kinds),
        *(_all_metrics(task, results) for task in tasks),
    )


def _all_metrics(task: str, results: Results) -> Html:
    entry = results["tasks"][task]
    models = [model for model in model_names(results) if model in entry]
    metrics = list(dict.fromkeys(metric for model in models for metric in entry[model]))
    joint = [metric for metric in metrics if metric.startswith("joint_")]
    tables = []
    for columns in ([metric for metric in metrics if metric not in joint], joint):
        rows: list[list[Content]] = [
            [words(model), *(format_metric(entry[model].get(metric)) for metric in columns)]
            for model in models
        ]
        if columns:
            tables.append(table(["model", *(words(metric) for metric in columns)], rows))
    return folded(f"{task}: all metrics", join(tables))


def _best(results: Results, task: str) -> str | None:
    metric = primary_of(results, task)
    means = {
        model: summary["mean"]
        for model in model_names(results)
        if (summary := results["tasks"][task].get(model, {}).get(metric))
        and summary["mean"] is not None
    }
    choose = min if metric in LOWER_IS_BETTER else max
    return choose(means, key=lambda model: means[model]) if means else None


def cost(results: Results) -> Section | None:
    """What each model costs."""
    entries = results.get("cost", {})
    if not entries:
        return None
    compared = [model for model in model_names(results) if model in entries]
    rows: list[list[Content]] = [
        [
            words(model),
            *(_whole(entries[model].get(key)) for key in ("parameters", "multiply_adds")),
            *(_count(entries[model].get(key)) for key in ("train_s", "cpu_s")),
            _whole(entries[model].get("score_rows_per_s")),
        ]
        for model in compared + [model for model in entries if model not in compared]
    ]
    header = ["model", "parameters", "multiply-adds", "training, s", "CPU, s", "scored rows/s"]
    return section(
        "Cost",
        paragraph(
            "Parameters count all tasks together; multiply-adds are those of one example. "
            "LightGBM's parameters are its leaves, and its times include its tuning. Times were "
            "measured on this machine in this run; CPU seconds add those of all threads."
        ),
        table(header, rows),
        *_cost_of_trees(results.get("trees", {})),
        *_without(entries),
    )


def _without(entries: Mapping[str, Mapping[str, float]]) -> Iterator[Html]:
    """A line for each model whose memory did not hold the whole log."""
    for model, entry in entries.items():
        counts = [
            f"{entry[key]:,.0f} {what}"
            for key, what in (("rows_left_out", "train rows"), ("columns_left_out", "columns"))
            if entry.get(key)
        ]
        if counts:
            yield paragraph(
                f"The model “{words(model)}” was fitted without {' and '.join(counts)}, to bound "
                "its memory."
            )


def _cost_of_trees(trees: Mapping[str, float]) -> Iterator[Html]:
    """A line on the trees that networks hear, if they do: no network's cost counts them."""
    if trees:
        yield paragraph(
            f"Networks that hear trees need them too: {_count(trees['trees'])} trees of together "
            f"{_count(trees['leaves'])} leaves, grown in {trees['grow_cpu_s']:,.0f} CPU seconds, "
            f"take {trees['cpu_us_per_row']:.1f} microseconds of CPU a row, as long as "
            f"{_count(trees['multiply_adds'])} multiply-adds do on this machine."
        )


def blend(results: Results) -> Section | None:
    """The weights of what the bundle blends, and what they gain on validation rows."""
    facts = results.get("blend")
    if not facts:
        return None
    names = list(next(iter(facts["tasks"].values()))["weights"])
    rows: list[list[Content]] = []
    for task, entry in facts["tasks"].items():
        weights = [f"{entry['weights'][name]:.2f}" for name in names]
        gain = MISSING
        if entry["gain"] is not None:
            gain = f"{entry['gain']:+.5f} ± {entry['error']:.5f}"
        rows.append([task, *weights, gain, "blended" if entry["taken"] else "one network"])
    return section(
        "What the bundle blends",
        paragraph(
            "A task's logits are the weighted mean of its members' logits. The first member is the "
            "chosen network; a task keeps it alone if the blend surely raises the loss on "
            "validation rows that had no part in its weights: by more than two standard errors, "
            "with both as well calibrated as they can be. Few telling rows pull the weights to "
            "equal ones. The model “blend” of the other tables "
            "is this one; its cost counts all of its networks."
        ),
        table(["task", *(words(name) for name in names), "loss is lower by", "scored by"], rows),
    )


def sharing(results: Results) -> Section | None:
    """The share of their experts that each pair of tasks has in common, over all searches."""
    overlaps = results.get("sharing")
    if not overlaps:
        return None
    names = list(overlaps["tasks"])
    rows: list[list[Content]] = []
    for i, name in enumerate(names):
        pairs = zip(overlaps["overlap"][i], overlaps["std"][i], strict=True)
        cells = [f"{mean:.2f} ± {std:.2f}" for mean, std in pairs]
        rows.append([name, *(cell if j != i else MISSING for j, cell in enumerate(cells))])
    parts = [
        paragraph(
            "Experts that both tasks use, as a share of the experts that either uses: 1 means one "
            "network for both, 0 nothing in common. Mean ± standard deviation of "
            f"{overlaps['seeds']} searches; a small deviation means that the searches agree."
        ),
        table(["", *names], rows),
    ]
    planted = overlaps.get("planted")
    if planted:
        parts.append(
            paragraph(
                "This log is simulated, so the answer is known: related tasks share "
                f"{planted['related']:.2f} of their experts, unrelated tasks "
                f"{planted['unrelated']:.2f}."
            )
        )
    return section("Who shares with whom", *parts)


def race(results: Results) -> Section | None:
    """Who won the races of the searches, and how all ways to share did in them."""
    votes = results.get("sharing", {}).get("race")
    if not votes:
        return None
    rows: list[list[Content]] = [
        [
            row["name"].replace("_", " "),
            f"{row['wins']} of {len(votes['by_seed'])}",
            _count(row["seeds"]),
            f"{row['score']:.4f} ± {row['std']:.4f}" if row["seeds"] > 1 else f"{row['score']:.4f}",
        ]
        for row in votes["classes"]
    ]
    return section(
        "Which way to share won",
        paragraph(
            "Each search ends with a race: the network of the found route against those of other "
            "ways to share, at the same cost where there is a budget. The seeds vote for the "
            "network that is then trained with every seed. Here "
            f"{votes['says'].replace('_', ' ')}. Scores are those of validation rows, higher is "
            "better; a network that was dropped early is taken to gain what the others then gained."
        ),
        table(["way to share", "races won", "races", "mean score"], rows),
    )


def how_to_read(results: Results) -> Section:
    """The terms and the statistics, in plain words."""
    verdicts = list(results.get("verdicts", {}).values())
    first = verdicts[0] if verdicts else {}
    unit = "whole groups (users, requests)" if first.get("unit") == "group" else "rows"
    seeds = [gain["seeds"] for v in verdicts for gain in v.values() if isinstance(gain, dict)]
    single = seeds and all(max(pair) == 1 for pair in seeds)
    entries = {
        "helped, hurt, not proven": "The searched network is compared with a network trained for "
        "the task alone, on the task's primary metric. Helped: the whole interval of the gain is "
        "above 0. Hurt: the whole interval is below 0. Not proven: the interval contains 0, so "
        "chance alone could explain the gain.",
        "gain and interval": "Difference of the means over seeds; positive is better. The "
        f"interval ({first.get('confidence', 0.95):.0%}) covers the luck of the test rows "
        f"({first.get('resamples', 200)} draws of {unit} with replacement, the same for both "
        f"models) and of the training seeds. {_of_samples(first.get('train_samples', 0))} "
        f"{_at_once(first.get('false_discovery', 0.0))}",
        "own population": "A task is measured only on the rows where it is defined: a conversion "
        "rate on clicked rows. Metrics that start with “joint” judge click and conversion "
        "together, on all rows.",
        "AUC": "How often a positive row gets a higher score than a negative one; 0.5 is chance.",
        "NDCG, MAP, MRR, hit rate, recall at 10": "Where the positive rows of a group stand among "
        "its ten with the highest scores; 1 is best. Groups without a positive are left out.",
        "normalized entropy": "Log loss divided by the log loss of always predicting the base "
        "rate; below 1 is better than that.",
        "calibration ratio": "Mean prediction divided by the observed rate; 1 is right on average.",
        "multiply-adds": "Counted from the network's shape, for the forward pass of one example.",
    }
    if single:
        entries["one seed"] = (
            "Every model was trained once here, so the intervals do not cover the luck of "
            "training. Several seeds make a verdict firmer."
        )
    return section("How to read this page", terms(entries.items()))


def _whole(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.0f}"


def _count(value: float | None) -> str:
    if value is None:
        return MISSING
    return f"{value:,.1f}" if isinstance(value, float) and abs(value) < 100 else f"{value:,.0f}"


def _of_samples(samples: int) -> str:
    """Whether intervals cover the luck of the train rows."""
    if samples:
        return (
            "Against single-task networks and LightGBM it covers the luck of the train rows, too: "
            f"all three were trained once more on each of {samples} samples of them."
        )
    return "It does not cover the luck of the train rows."


def _at_once(false_discovery: float) -> str:
    """What is done about several tasks that are judged at once."""
    if false_discovery:
        return (
            f"Of all verdicts other than not proven, at most {false_discovery:.0%} are false on "
            "average (Benjamini and Hochberg); those that would break this are not proven."
        )
    return "Each task has its own interval: among many tasks, a few verdicts may be due to chance."

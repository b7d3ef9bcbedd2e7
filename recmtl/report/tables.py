"""The results as plain text, for the end of a run and for logs: the verdict, and all models."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from recmtl.masking import one_line

__all__ = [
    "LOWER_IS_BETTER",
    "MISSING",
    "Markdown",
    "better_worse",
    "code_block",
    "format_gain",
    "format_metric",
    "format_number",
    "markdown",
    "markdown_table",
    "model_names",
    "model_table",
    "primary_of",
    "verdict_table",
    "words",
]

# The order in which models are listed; a model not named here comes after these.
MODEL_ORDER = (
    "searched",
    "blend",
    "single_task",
    "all_apart",
    "separate",
    "towers_apart",
    "embeddings_apart",
    "shared_bottom",
    "cross_stitch",
    "omoe",
    "mmoe",
    "ml_mmoe",
    "cgc",
    "ple",
    "ple_shared",
    "dselect_k",
    "adatt",
    "pepnet",
    "poso",
    "dbmtl",
    "stem",
    "snr_aver",
    "snr_trans",
    "mtnas",
    "adashare",
    "dynashare",
    "branched",
    "recmtl_grid",
    "full_grid",
    "random_route",
    "lightgbm",
    "logistic",
    "constant",
)
MISSING = "-"
"""Shown where there is no value."""
LOWER_IS_BETTER = frozenset({"rmse", "mae", "log_loss", "poisson_deviance"})
WORDS = {
    "auc": "AUC",
    "rmse": "RMSE",
    "mae": "MAE",
    "log_loss": "log loss",
    "ece": "ECE",
    "brier": "Brier score",
    "gauc": "grouped AUC",
    "ndcg_at_10": "NDCG at 10",
    "map_at_10": "MAP at 10",
    "mrr_at_10": "MRR at 10",
    "pr_auc": "PR AUC",
    "r2": "R²",
    "xauc": "XAUC",
    "weighted_kappa": "weighted kappa",
    "poisson_deviance": "Poisson deviance",
    "lightgbm": "LightGBM",
    "cross_stitch": "cross-stitch",
    "omoe": "OMoE",
    "mmoe": "MMoE",
    "ml_mmoe": "ML-MMoE",
    "cgc": "CGC",
    "ple": "PLE",
    "ple_shared": "PLE, shared gate on shared experts",
    "adatt": "AdaTT",
    "dbmtl": "DBMTL",
    "dselect_k": "DSelect-k",
    "pepnet": "PEPNet",
    "poso": "POSO",
    "stem": "STEM",
    "snr_aver": "SNR-Aver",
    "snr_trans": "SNR-Trans",
    "mtnas": "MTNAS routes",
    "adashare": "AdaShare",
    "dynashare": "DynaShare",
    "branched": "branched tree",
    "recmtl_grid": "recmtl grid",
    "dwa": "DWA",
    "famo": "FAMO",
    "gradnorm": "GradNorm",
    "pcgrad": "PCGrad",
    "mgda": "MGDA",
    "imtl_g": "IMTL-G",
    "aligned_mtl": "Aligned-MTL",
    "upgrad": "UPGrad",
    "cagrad": "CAGrad",
    "nash_mtl": "Nash-MTL",
}


def words(name: str) -> str:
    """A metric's or model's name as people write it: `pr_auc` -> PR AUC, `mmoe` -> MMoE."""
    if name.startswith("joint_"):
        return f"joint {words(name.removeprefix('joint_'))}"
    return WORDS.get(name, name.replace("_", " "))


def model_names(results: Mapping[str, Any]) -> list[str]:
    """Every model that has a metric of some task, in the order of `MODEL_ORDER`."""
    present = dict.fromkeys(
        name for entry in results["tasks"].values() for name in entry if name != "verdict"
    )
    ordered = [name for name in MODEL_ORDER if name in present]
    return ordered + [name for name in present if name not in MODEL_ORDER]


def primary_of(results: Mapping[str, Any], task: str) -> str:
    """The task's primary metric: that of its verdict, else read off the metrics that it has."""
    verdict = results.get("verdicts", {}).get(task)
    if verdict:
        return str(verdict["metric"])
    metrics = {m for name, e in results["tasks"][task].items() if name != "verdict" for m in e}
    if "rmse" in metrics:
        return "rmse"
    return "log_loss" if "accuracy" in metrics else "auc"


def format_metric(summary: Mapping[str, Any] | None) -> str:
    """`0.7312 ± 0.0008`; without the spread for one seed, a dash where there is no value."""
    if not summary or summary.get("mean") is None:
        return MISSING
    spread = f" ± {format_number(summary['std'])}" if summary.get("seeds", 0) > 1 else ""
    return f"{format_number(summary['mean'])}{spread}"


def format_gain(gain: Mapping[str, Any] | None) -> str:
    """`+0.0061 (+0.0020 to +0.0102)`; a dash where there is no opponent or no value."""
    if not gain or gain.get("gain") is None:
        return MISSING
    if gain.get("low") is None or gain.get("high") is None:
        return f"{format_number(gain['gain'], '+')} (no interval)"
    low, high = (format_number(gain[end], "+") for end in ("low", "high"))
    return f"{format_number(gain['gain'], '+')} ({low} to {high})"


def better_worse(gain: Mapping[str, Any] | None) -> str:
    """A gain's verdict as a comparison: `better`, `worse`, `no proven difference`, or a dash."""
    if not gain or gain.get("gain") is None:
        return MISSING
    comparison = {"helped": "better", "hurt": "worse"}
    return comparison.get(gain["verdict"], "no proven difference")


def verdict_table(results: Mapping[str, Any]) -> str:
    """One row a task: primary metric of single task, LightGBM and searched, gain and verdict.

    Below it is what a time limit has left out.
    """
    header = ["task", "metric", "single task", "LightGBM", "searched", "gain", "verdict"]
    rows = []
    for task, entry in results["tasks"].items():
        metric = primary_of(results, task)
        verdict = results.get("verdicts", {}).get(task, {})
        values = [
            format_metric(entry.get(model, {}).get(metric))
            for model in ("single_task", "lightgbm", "searched")
        ]
        gain = format_gain(verdict.get("single_task"))
        rows.append([task, metric, *values, gain, entry.get("verdict", MISSING)])
    left_out = [f"left out for want of time: {line}" for line in results.get("left_out", ())]
    return "\n".join([_table(header, rows), *left_out])


def model_table(results: Mapping[str, Any]) -> str:
    """One row a model, one column a task: the primary metric as mean ± std over seeds."""
    tasks = list(results["tasks"])
    header = ["model", *(f"{task} ({primary_of(results, task)})" for task in tasks)]
    rows = [
        [
            model,
            *(
                format_metric(results["tasks"][t].get(model, {}).get(primary_of(results, t)))
                for t in tasks
            ),
        ]
        for model in model_names(results)
    ]
    return _table(header, rows)


def format_number(value: float, sign: str = "") -> str:
    """A metric or a difference with as many digits as its size asks for."""
    size = abs(value)
    digits = 4 if size < 10 else 2 if size < 1000 else 0
    return f"{value:{sign}.{digits}f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head, *body = ([one_line(cell) for cell in line] for line in (header, *rows))
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    lines = [head, ["-" * width for width in widths], *body]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    r"""The lines of a table in Markdown, the last one empty; see `markdown` for its cells.

    >>> markdown_table(["a|b"], [["*c*"], [Markdown("*c*")]])
    ['| a\\|b |', '| --- |', '| \\*c\\* |', '| *c* |', '']
    """
    cells = [[markdown(cell) for cell in line] for line in (head, *rows)]
    lines = [cells[0], ["---"] * len(head), *cells[1:]]
    return [f"| {' | '.join(line)} |" for line in lines] + [""]


class Markdown(str):
    """Text that is Markdown already; everything else is escaped before it enters a page."""


def markdown(text: object) -> str:
    r"""Text as Markdown that shows it as it is, on one line: no markup, HTML, table or link.

    >>> markdown("<b>a|b</b>\n`c`")
    '&lt;b&gt;a\\|b&lt;/b&gt; \\`c\\`'
    """
    if isinstance(text, Markdown):
        return text
    line = one_line(str(text)).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # Underscores within a word, as in most names, are no markup.
    return re.sub(r"([\\`*\[\]|~$]|(?<!\w)_|_(?!\w))", r"\\\1", line)


def code_block(text: str) -> list[str]:
    """Lines of Markdown that show text of several lines as it is."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}text", *text.rstrip("\n").split("\n"), fence]

"""The figures of serving as a page of Markdown; only what was measured stands on it."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.serving.chaos import SUITES
from benchmarks.serving.latency import THEIRS

ARMS = {
    "request_onnx": ("recmtl, `rank_request`, ONNX Runtime", "raw user and candidates to top 20"),
    "rows_onnx": ("recmtl, `rank`, ONNX Runtime", "300 raw rows to top 20"),
    "request_torch": ("recmtl, `rank_request`, torch", "raw user and candidates to top 20"),
    "rows_torch": ("recmtl, `rank`, torch", "300 raw rows to top 20"),
    "network_onnx": ("recmtl's network alone, ONNX Runtime", "encoded rows to scores"),
    "network_torch": ("recmtl's network alone, torch", "encoded rows to scores"),
    "from_raw": ("torch-rechub, scikit-learn's encoders and `predict`", "300 raw rows to scores"),
    "documented": ("torch-rechub, `MTLTrainer.predict`", "encoded rows to scores"),
    "module": ("torch-rechub's bare module", "encoded rows to scores"),
}


def page(found: Mapping[str, Any]) -> str:
    """The page of all that was measured."""
    lines = [
        "# Serving: latency, memory, calibration, chaos",
        "",
        "Written by `python -m benchmarks.serving`; the figures are in `serving.json` beside it.",
        "",
    ]
    parts = {"latency": _latency, "soak": _soak, "calibration": _calibration, "chaos": _chaos}
    for name, write in parts.items():
        if name in found:
            lines += [*write(found[name]), ""]
    return "\n".join(lines)


def _text(*sentences: str) -> Iterator[str]:
    """A paragraph, and the empty line after it."""
    yield from [*textwrap.wrap(" ".join(sentences), 100, break_on_hyphens=False), ""]


def _latency(found: Mapping[str, Any]) -> Iterator[str]:
    before, after = found["load"]
    yield from [f"## One request of {found['candidates']} candidates on one core", ""]
    yield from _text(
        "`python -m benchmarks.serving latency`: the simulated shop log, an MMoE of eight experts,",
        "four tasks, towers of 32, random weights. recmtl and torch-rechub (0.9.0, in a virtual",
        "environment of its own) each run in a process with one thread, pinned to the same core,",
        "in turns:",
        f"{found['rounds']} rounds, {found['requests']:,} requests an arm, each another user's.",
        "Ratios are medians over the rounds of the rounds' medians, with the lowest and highest.",
    )
    yield from _text(
        "`rank` and `rank_request` get raw columns (text, integers, lists, missing values); their",
        "time includes look-up and scaling, the network, the formula, ranking and the returned",
        "frame. torch-rechub's way to predict is `MTLTrainer.predict` on a `DataLoader` of a",
        "`PredictDataset` of encoded columns, one batch of all candidates; from raw columns its",
        "examples get there with scikit-learn's `LabelEncoder` and `MinMaxScaler` and its",
        "`pad_sequences`. Its times end with the scores. Like with like: raw to the top 20 against",
        "raw to scores, encoded to scores against the same. The bare module is the least that",
        "its users can pay. The networks have equal widths; torch-rechub's takes each of the ten",
        "numbers as one input and has a BatchNorm after each product, recmtl's gives every number",
        "an embedding.",
    )
    yield f"{found['processor']}; load average {before:.2f} before and {after:.2f} after."
    for name, size in found["sizes"].items():
        yield from ["", f"### Experts {name}", ""]
        yield (
            f"Parameters: recmtl {size['ours']['parameters']:,}, torch-rechub "
            f"{size['peer']['parameters']:,}."
        )
        yield ""
        yield "| arm | from, to | p50 ms | p99 ms | peer raw / arm | encoded / arm | module / arm |"
        yield "|---|---|---|---|---|---|---|"
        for arm, (title, scope) in ARMS.items():
            told = size["arms"][arm]
            ratios = [_ratio(size["ratios"][other].get(arm)) for other in THEIRS]
            figures = f"{told['p50_ms']:.2f} | {told['p99_ms']:.2f}"
            yield f"| {title} | {scope} | {figures} | {' | '.join(ratios)} |"


def _ratio(found: Mapping[str, float] | None) -> str:
    if found is None:
        return "-"
    return f"{found['median']:.1f} ({found['low']:.1f} to {found['high']:.1f})"


def _soak(found: Mapping[str, Any]) -> Iterator[str]:
    series = found["series_s_mb"]
    yield from ["## Memory under load", ""]
    yield from _text(
        f"`python -m benchmarks.serving soak`: {found['threads']} threads sent",
        f"{found['requests']:,} requests of 300 candidates in {found['seconds'] / 60:.0f} minutes,",
        f"in turns to a ranker with {' and one with '.join(found['engines'])};",
        f"{len(found['faults'])} failed. Without the first tenth of the time, resident memory was",
        f"{found['first_third_mb']:.1f} MB in the first third and {found['last_third_mb']:.1f} MB",
        f"in the last; a straight line through it rises by {found['mb_a_minute']:.2f} MB a minute,",
        f"through the last third by {found['mb_a_minute_last_third']:.2f}.",
    )
    yield from [
        "| minute | MB |",
        "|---|---|",
    ]
    for seconds, resident in series[:: max(1, len(series) // 12)]:
        yield f"| {seconds / 60:.1f} | {resident:.1f} |"
    yield f"| {series[-1][0] / 60:.1f} | {series[-1][1]:.1f} |"


def _calibration(found: Mapping[str, Any]) -> Iterator[str]:
    yield from ["## Calibration on real data", ""]
    yield from _text(
        "`python -m benchmarks.serving calibration`: one MMoE with the data set's own",
        "configuration and seed 0; maps are fitted on validation rows, figures are those of test",
        "rows. ECE: expected calibration error.",
    )
    for data, told in found.items():
        rows = told["rows"]
        yield from [f"### {data}", ""]
        yield f"Maps fitted on {rows['validation']:,} rows, judged on {rows['test']:,}."
        yield ""
        yield "| column | log loss | Platt | isotonic | ECE | Platt | isotonic |"
        yield "|---|---|---|---|---|---|---|"
        platt, isotonic = told["gains"]["platt"], told["gains"]["isotonic"]
        for column, gain in platt.items():
            cells = [
                f"{side[metric]:.5f}"
                for metric in ("log_loss", "ece")
                for side in (gain["before"], gain["after"], isotonic[column]["after"])
            ]
            yield f"| {column} | {' | '.join(cells)} |"
        yield ""


def _chaos(found: Mapping[str, Any]) -> Iterator[str]:
    yield from [
        "## Chaos",
        "",
        "`make chaos` runs these; `python -m benchmarks.serving chaos` notes what they did.",
        "",
        "| what | tests | passed | left out | minutes |",
        "|---|---|---|---|---|",
    ]
    for suite, what in SUITES.items():
        told = found.get(suite, {"tests": 0})
        if not told["tests"]:
            yield f"| {what} | not run | | | |"
            continue
        passed = told["tests"] - told["failures"] - told["errors"] - told["skipped"]
        left_out = ", ".join(told["left_out"]) or "none"
        minutes = f"{told['seconds'] / 60:.1f}"
        yield f"| {what} | {told['tests']} | {passed} | {left_out} | {minutes} |"

"""The page on serving, in Markdown; it shows the parts that were measured."""

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.pages import paragraph
from benchmarks.serving.chaos import SUITES
from benchmarks.serving.heard import ENGINES, HEARD
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


def page(figures: Mapping[str, Any]) -> str:
    """The page of all parts that were measured."""
    lines = [
        "# Serving: latency, memory, calibration, chaos",
        "",
        "Written by `python -m benchmarks.serving`; the figures are in `serving.json` beside it.",
        "",
    ]
    parts = {
        "latency": _latency,
        "heard": _heard,
        "soak": _soak,
        "calibration": _calibration,
        "chaos": _chaos,
    }
    for name, write in parts.items():
        if name in figures:
            lines += [*write(figures[name]), ""]
    return "\n".join(lines)


def _latency(figures: Mapping[str, Any]) -> Iterator[str]:
    before, after = figures["load"]
    yield from [f"## One request of {figures['candidates']} candidates on one core", ""]
    yield from paragraph(
        "`python -m benchmarks.serving latency`: the simulated shop log and an MMoE of eight",
        "experts with four tasks, towers of 32 and random weights. recmtl and torch-rechub",
        "(0.9.0, in a virtual environment of its own) run in two processes with one thread each,",
        f"pinned to the same core, and take turns: {figures['rounds']} rounds,",
        f"{figures['requests']:,} requests an arm, each of another user. A ratio is the median",
        "over the rounds of the ratios of the rounds' medians, with the lowest and the highest.",
    )
    yield from paragraph(
        "`rank` and `rank_request` take raw columns (text, integers, lists, missing values).",
        "Their time includes look-up and scaling, the network, the formula, ranking and the",
        "returned frame. torch-rechub predicts with `MTLTrainer.predict` on a `DataLoader` of a",
        "`PredictDataset` of encoded columns, here one batch of all candidates; its examples",
        "encode raw columns with scikit-learn's `LabelEncoder` and `MinMaxScaler` and its own",
        "`pad_sequences`. Its time ends with the scores. Compare like with like: raw to the top",
        "20 with raw to scores, encoded to scores with the same. The bare module is the least",
        "time that its users can reach. The networks have equal widths; torch-rechub's takes",
        "each of the ten numbers as one input and has a BatchNorm after each product, while",
        "recmtl's gives every number an embedding.",
    )
    yield f"{figures['processor']}; load average {before:.2f} before and {after:.2f} after."
    for name, size in figures["sizes"].items():
        yield from ["", f"### Experts {name}", ""]
        yield (
            f"Parameters: recmtl {size['ours']['parameters']:,}, torch-rechub "
            f"{size['peer']['parameters']:,}."
        )
        yield ""
        yield "| arm | from, to | p50 ms | p99 ms | peer raw / arm | encoded / arm | module / arm |"
        yield "|---|---|---|---|---|---|---|"
        for arm, (title, scope) in ARMS.items():
            of_arm = size["arms"][arm]
            ratios = [_ratio(size["ratios"][other].get(arm)) for other in THEIRS]
            milliseconds = f"{of_arm['p50_ms']:.2f} | {of_arm['p99_ms']:.2f}"
            yield f"| {title} | {scope} | {milliseconds} | {' | '.join(ratios)} |"


def _heard(figures: Mapping[str, Any]) -> Iterator[str]:
    yield from ["## A request with a history and with trees", ""]
    yield from paragraph(
        "`python -m benchmarks.serving heard`: `rank_request`, from raw user and",
        f"{figures['candidates']} raw candidates to the top 20. The networks have eight experts of",
        "64-32 and random weights; one reads the user's list of items against each candidate and",
        "not by its mean, one hears trees, one both. One process, one thread, one core,",
        f"taking turns: {figures['rounds']} rounds, {figures['requests']:,} requests an arm. A",
        "ratio is the median over the rounds of the ratios of the rounds' medians, with the lowest",
        f"and the highest. {figures['processor']}.",
    )
    yield "| hears | engine | multiply-adds | leaves | p50 ms | p99 ms | to neither |"
    yield "|---|---|---|---|---|---|---|"
    for heard, title in HEARD.items():
        cost = figures["costs"][heard]
        leaves = f"{cost['leaves']:,.0f}" if "leaves" in cost else "-"
        for engine, name in ENGINES.items():
            arm, ratio = (figures[part][f"{heard}_{engine}"] for part in ("arms", "ratios"))
            cells = f"{cost['network']:,.0f} | {leaves} | {arm['p50_ms']:.2f} | {arm['p99_ms']:.2f}"
            yield f"| {title} | {name} | {cells} | {_times(ratio)} |"


def _times(ratio: Mapping[str, float]) -> str:
    return f"{ratio['median']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})"


def _ratio(ratio: Mapping[str, float] | None) -> str:
    if ratio is None:
        return "-"
    return f"{ratio['median']:.1f} ({ratio['low']:.1f} to {ratio['high']:.1f})"


def _soak(figures: Mapping[str, Any]) -> Iterator[str]:
    series = figures["series_s_mb"]
    yield from ["## Memory under load", ""]
    yield from paragraph(
        f"`python -m benchmarks.serving soak`: {figures['threads']} threads sent",
        f"{figures['requests']:,} requests of 300 candidates in {figures['seconds'] / 60:.0f}",
        f"minutes, alternately to a ranker with {' and to one with '.join(figures['engines'])};",
        f"{len(figures['faults'])} requests failed. After the first tenth of the time, resident",
        f"memory had a median of {figures['first_third_mb']:.1f} MB in the first third and of",
        f"{figures['last_third_mb']:.1f} MB in the last. A straight line through it rises by",
        f"{figures['mb_a_minute']:.2f} MB a minute, one through the last third by",
        f"{figures['mb_a_minute_last_third']:.2f}.",
    )
    yield from [
        "| minute | MB |",
        "|---|---|",
    ]
    for seconds, resident in series[:: max(1, len(series) // 12)]:
        yield f"| {seconds / 60:.1f} | {resident:.1f} |"
    yield f"| {series[-1][0] / 60:.1f} | {series[-1][1]:.1f} |"


def _calibration(figures: Mapping[str, Any]) -> Iterator[str]:
    yield from ["## Calibration on real data", ""]
    yield from paragraph(
        "`python -m benchmarks.serving calibration`: one MMoE with the data set's configuration",
        "and seed 0. Maps are fitted on validation rows and judged on test rows. ECE: expected",
        "calibration error.",
    )
    for data, of_log in figures.items():
        rows = of_log["rows"]
        yield from [f"### {data}", ""]
        yield f"Maps fitted on {rows['validation']:,} rows, judged on {rows['test']:,}."
        yield ""
        yield "| column | log loss | Platt | isotonic | ECE | Platt | isotonic |"
        yield "|---|---|---|---|---|---|---|"
        platt, isotonic = of_log["gains"]["platt"], of_log["gains"]["isotonic"]
        for column, gain in platt.items():
            cells = [
                f"{side[metric]:.5f}"
                for metric in ("log_loss", "ece")
                for side in (gain["before"], gain["after"], isotonic[column]["after"])
            ]
            yield f"| {column} | {' | '.join(cells)} |"
        yield ""


def _chaos(figures: Mapping[str, Any]) -> Iterator[str]:
    yield from [
        "## Chaos",
        "",
        "`make chaos` runs these; `python -m benchmarks.serving chaos` records their results.",
        "",
        "| what | tests | passed | left out | minutes |",
        "|---|---|---|---|---|",
    ]
    for suite, what in SUITES.items():
        counts = figures.get(suite, {"tests": 0})
        if not counts["tests"]:
            yield f"| {what} | not run | | | |"
            continue
        passed = counts["tests"] - counts["failures"] - counts["errors"] - counts["skipped"]
        left_out = ", ".join(counts["left_out"]) or "none"
        minutes = f"{counts['seconds'] / 60:.1f}"
        yield f"| {what} | {counts['tests']} | {passed} | {left_out} | {minutes} |"

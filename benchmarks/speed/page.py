"""The figures of speed as a page of Markdown; only what was measured stands on it."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.speed.shape import EMBEDDING, NETWORKS, TASKS, TOWER, VOCABULARIES
from recmtl.report.tables import markdown_table

ARMS = {
    "recmtl": "recmtl",
    "recmtl_onnx": "recmtl, `--network onnx`",
    "recmtl_pruned": "recmtl, pruned to a quarter of the multiply-adds",
    "recmtl_pruned_onnx": "recmtl, pruned, `--network onnx`",
    "recmtl_2048": "recmtl, `--chunk-rows 2048`",
    "recmtl_pruned_2048": "recmtl, pruned, `--chunk-rows 2048`",
    "onnx": "ONNX Runtime alone",
    "plain_sparse": "plain PyTorch, SparseAdam on the table",
    "plain_dense": "plain PyTorch, fused dense Adam",
    "rechub": "torch-rechub 0.9.0, as shipped",
    "rechub_fused": "torch-rechub 0.9.0, fused Adam",
    "deepctr": "DeepCTR-Torch 0.3.0, as shipped (L2 over tables)",
    "deepctr_no_l2": "DeepCTR-Torch 0.3.0, no L2",
    "deepctr_fused": "DeepCTR-Torch 0.3.0, no L2, fused Adam",
}
HEAD = (
    "arm",
    "train, rows/s of CPU",
    "of wall",
    "recmtl is times as fast",
    "score, rows/s",
    "peak MB",
)
AUCS = [f"AUC {task}" for task in TASKS]
SCORING_HEAD = ("arm", "rows/s of CPU", "of wall", "peak MB")
LEAST_SCORED = {
    ("recmtl", "deepctr"): 1.8,
    ("recmtl_onnx", "deepctr"): 1.8,
    ("recmtl_onnx", "onnx"): 1,
    ("recmtl_pruned", "deepctr"): 4,
    ("recmtl_pruned_onnx", "deepctr"): 4,
    ("recmtl_pruned", "recmtl"): 2.5,
}
LEAST_PRUNED, LEAST_PREPARED = 2.5, 3
LEAST = {
    "large": {
        "plain_sparse": 1.15,
        "rechub": 5,
        "deepctr": 7,
        "rechub_fused": 2,
        "deepctr_fused": 2,
    },
    "small": {"plain_sparse": 1, "plain_dense": 1, "rechub_fused": 1.6, "deepctr_fused": 1.6},
}
"""How many times as fast recmtl is to be: fixed before the first measurement."""

TRIED = (
    "`torch.compile`: 54 ms in place of 32. bfloat16: half as fast; float16: no faster.",
    "oneDNN's product with bias and ReLU: 0.4 to 0.6 ms less, by an operator that is not public.",
    "One matrix for experts and gates: no faster than one product each that reads the same lane.",
    "Huge pages: 0.6 ms less with 1.3 million ids, nothing with 20 thousand.",
    "Micro-batches that fit the cache, weights and moments of the table side by side: no gain.",
)
"""One-off figures; none was worth what it would add."""


def page(found: Mapping[str, Any]) -> str:
    """The page of all that was measured."""
    lines = [
        "# Speed: rows trained and scored a second, and where a step goes",
        "",
        "Written by `make bench`; the figures are in `speed.json` beside it.",
        "",
    ]
    if "prepare" in found:
        lines += [*_preparing(found["prepare"])]
    for threads in (1, 2):
        if f"training_{threads}" in found:
            lines += [*_training(found[f"training_{threads}"])]
        if threads == 1 and "trees" in found:
            lines += [*_trees(found["trees"])]
        if f"beside_{threads}" in found:
            lines += [*_beside(found[f"beside_{threads}"], threads)]
        if f"scoring_{threads}" in found:
            lines += [*_scoring(found[f"scoring_{threads}"])]
    if "breakdown" in found:
        lines += [*_breakdown(found["breakdown"])]
    return "\n".join(lines)


def _text(*sentences: str) -> Iterator[str]:
    """A paragraph, and the empty line after it."""
    yield from [*textwrap.wrap(" ".join(sentences), 100, break_on_hyphens=False), ""]


def _preparing(found: Mapping[str, Any]) -> Iterator[str]:
    before, after = found["load"]
    yield from ["## Preparing", ""]
    yield from _text(
        f"The simulated log below, {found['rows']:,} rows, from a Parquet file to what is trained",
        f"from: values counted, encoded and written, {found['repeats']} times in turns, a fresh",
        "process each. FuxiCTR 2.3.10 is its `FeatureProcessor` and `build_dataset`, as shipped;",
        "Ray is up before the clock starts. Processor seconds are those of all processes. recmtl",
        "also splits the rows, checks labels, fingerprints what it writes and describes it.",
        f"{found['processor']}, load {before:.1f} before and {after:.1f} after.",
    )
    head = ["ids", "recmtl, rows/s of CPU", "of wall", "FuxiCTR, rows/s of CPU", "of wall", "ratio"]
    rows = []
    for size, told in found["sizes"].items():
        middle, least, most = told["ratio"]["cpu"]
        speeds = [
            f"{told['arms'][arm][clock][0]:,.0f}"
            for arm in ("prepare", "fuxictr")
            for clock in ("cpu", "wall")
        ]
        verdict = f"{middle:.2f} ({least:.2f} to {most:.2f})"
        rows.append([f"{sum(VOCABULARIES[size]):,}", *speeds, verdict])
    yield from markdown_table(head, rows)
    met = all(told["ratio"]["cpu"][0] >= LEAST_PREPARED for told in found["sizes"].values())
    verdict = "reached" if met else "missed"
    yield from _text(
        f"Target, set beforehand: {LEAST_PREPARED} times in processor time, {verdict}."
    )


def _training(found: Mapping[str, Any]) -> Iterator[str]:
    threads, (before, after) = found["threads"], found["load"]
    yield from [f"## Training on {_threads(threads)}", ""]
    columns = len(VOCABULARIES["large"])
    yield from _text(
        f"A simulated log of {columns} categorical columns with skewed ids;",
        f"{NETWORKS['mmoe'].title}, linear gates, towers [{TOWER}], embedding",
        f"{EMBEDDING}, {len(TASKS)} binary tasks, batches of {found['batch']:,}, learning rate",
        "0.001, no decay, float32. Every arm is a process of its own and reads the same arrays;",
        f"they take turns: {found['slices']} slices of {found['steps']} steps each, after one that",
        "warms up. Rows a second of processor time are the median (least to most) of the slices,",
        "ratios the medians of those of single slices. AUC is that of the whole epoch's weights on",
        "test rows, one seed: it shows that all of them learn. Scoring is from encoded columns in",
        "memory to probabilities.",
        f"{found['processor']}, load {before:.1f} before and {after:.1f} after.",
    )
    yield from _text(
        "recmtl's optimiser of the table is lazy, as SparseAdam is: moments of rows outside the",
        "batch do not decay. The peers have dense Adam, which they ship; what a fused one gives,",
        "and DeepCTR-Torch without its L2 over whole tables, are arms of their own. torch-rechub",
        "has a BatchNorm after every product; the others have none.",
    )
    for size, told in found["sizes"].items():
        arms = told["arms"]
        parameters = arms[next(iter(arms))]["parameters"]
        yield from [f"### {sum(VOCABULARIES[size]):,} ids, {parameters:,} parameters", ""]
        yield from [*_arms(told), *_text(*_verdicts(size, told["ratios"]))]


def _trees(found: Mapping[str, Any]) -> Iterator[str]:
    yield from ["## Trees", ""]
    yield from _text(
        "LightGBM, one model a task of 500 rounds at most, stopped on a tenth of the train rows,",
        "one thread, measured once: the baseline of [results](../results/README.md), which is no",
        "network and shares nothing. Train rows by the processor seconds of both models.",
    )
    head = ["ids", "leaves", "train, rows/s", "score, rows/s", "peak MB"]
    rows = [
        [
            *(f"{n:,.0f}" for n in (sum(VOCABULARIES[size]), told["leaves"], told["train"])),
            *(f"{told[name]:,.0f}" for name in ("score", "peak_mb")),
            *(f"{told['auc'][task]:.4f}" for task in TASKS),
        ]
        for size, told in found["sizes"].items()
    ]
    yield from markdown_table([*head, *AUCS], rows)


def _beside(found: Mapping[str, Any], threads: int) -> Iterator[str]:
    yield from [f"## Other networks on {_threads(threads)}", ""]
    yield from _text(
        f"The same on {sum(VOCABULARIES['small']):,} ids, reported without a target: in the wide",
        "one the products of matrices bind everybody.",
    )
    for name, told in found.items():
        ((_, of_size),) = told["sizes"].items()
        yield from [f"### {NETWORKS[name].title}", "", *_arms(of_size)]


def _arms(found: Mapping[str, Any]) -> list[str]:
    rows = [_arm(name, arm, found["ratios"][name]) for name, arm in found["arms"].items()]
    return markdown_table([*HEAD, *AUCS], rows)


def _arm(name: str, arm: Mapping[str, Any], ratio: Mapping[str, Sequence[float]]) -> list[str]:
    middle, least, most = arm["train"]["cpu"]
    return [
        ARMS[name],
        f"{middle:,.0f} ({least:,.0f} to {most:,.0f})",
        f"{arm['train']['wall'][0]:,.0f}",
        "1"
        if name == "recmtl"
        else f"{ratio['cpu'][0]:.2f} ({ratio['cpu'][1]:.2f} to {ratio['cpu'][2]:.2f})",
        f"{arm['score']['cpu'][0]:,.0f}",
        f"{arm['peak_mb']:,.0f}",
        *(f"{arm['auc'][task]:.4f}" for task in TASKS),
    ]


def _verdicts(size: str, ratios: Mapping[str, Any]) -> Iterator[str]:
    yield "Targets, set beforehand:"
    told = [
        f"{ARMS[arm]} {least} times, {'reached' if ratios[arm]['cpu'][0] >= least else 'missed'}"
        for arm, least in LEAST[size].items()
        if arm in ratios
    ]
    if "recmtl_pruned" in ratios:
        times = 1.0 / ratios["recmtl_pruned"]["cpu"][0]
        verdict = "reached" if times >= LEAST_PRUNED else "missed"
        told.append(f"pruned {LEAST_PRUNED} times the full network, {verdict} ({times:.2f})")
    yield f"{'; '.join(told)}."


def _scoring(found: Mapping[str, Any]) -> Iterator[str]:
    threads, (before, after) = found["threads"], found["load"]
    yield from [f"## Scoring, Parquet to Parquet, on {_threads(threads)}", ""]
    yield from _text(
        f"The same network scores a file of {found['rows']:,} rows of integers into another file,",
        f"{found['repeats']} times in turns. recmtl is `score_parquet`: it looks every value up in",
        "its vocabularies, watches drift, and puts parts in place so that a kill costs nothing.",
        "The others get the same file, whose integers are their ids already: pyarrow reads it, the",
        "library's `predict` scores it, pyarrow writes. Medians of the repeats, ratios of theirs.",
        f"{found['processor']}, load {before:.1f} before and {after:.1f} after.",
    )
    for size, told in found["sizes"].items():
        ours, ratios = dict.fromkeys(own for own, _ in LEAST_SCORED), told["ratios"]
        head = [*SCORING_HEAD, *(f"times as fast is {ARMS[name]}" for name in ours)]
        rows = [
            [
                ARMS[name],
                *(f"{arm['score'][clock][0]:,.0f}" for clock in ("cpu", "wall")),
                f"{arm['peak_mb']:,.0f}",
                *(f"{ratios[own][name]['cpu'][0]:.2f}" for own in ours),
            ]
            for name, arm in told["arms"].items()
        ]
        yield from [f"### {sum(VOCABULARIES[size]):,} ids", "", *markdown_table(head, rows)]
        yield from _text(
            "Targets, set beforehand, in processor time:",
            "; ".join(
                f"{ARMS[own]} {least} times {ARMS[arm]}, "
                f"{'reached' if ratios[own][arm]['cpu'][0] >= least else 'missed'}"
                for (own, arm), least in LEAST_SCORED.items()
            )
            + ".",
        )


def _threads(count: int) -> str:
    return "one thread" if count == 1 else f"{count} threads"


def _breakdown(found: Mapping[str, Any]) -> Iterator[str]:
    yield from ["## Where a step goes", ""]
    yield from _text(
        "`python -m benchmarks.speed breakdown`: recmtl's step of the same network, part by part,",
        "milliseconds on one thread (medians; of the feed, which reads many batches at once, the",
        "mean). The floor is what the same process measures bare: the multiply-adds of forward and",
        "backward at the rate of a product of 1,024 x 1,024, the look-up of the batch's rows, and",
        "reading and writing the distinct rows of weights and both moments once.",
    )
    for size, told in found.items():
        parts, floor = told["parts_ms"], told["floor_ms"]
        step, least = sum(parts.values()), sum(floor.values())
        yield from [f"### {sum(VOCABULARIES[size]):,} ids", ""]
        rows = [*([name, f"{time:.2f}", f"{time / step:.0%}"] for name, time in parts.items())]
        yield from markdown_table(["part", "ms", "share"], rows)
        yield from _text(
            f"Together {step:.1f} ms; the floor is {least:.1f} ms",
            f"({floor['products']:.1f} products at {told['peak_gflops']:.0f} GFLOP/s,",
            f"{floor['gather']:.1f} look-up,",
            f"{floor['update']:.1f} rows): {step / least:.2f} times the floor (target 1.5).",
            f"A batch has {told['distinct_rows']:,.0f} distinct rows. {told['processor']}.",
        )
    yield from ["### What was tried on the step and not kept", ""]
    yield from (f"- {line}" for line in TRIED)

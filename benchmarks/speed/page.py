"""The page on speed, in Markdown; it shows the parts that were measured."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.pages import paragraph
from benchmarks.speed.shape import EMBEDDING, NETWORKS, TASKS, TOWER, VOCABULARIES
from recmtl.report.tables import Markdown, markdown_table

ARMS = {
    "recmtl": "recmtl",
    "recmtl_onnx": Markdown("recmtl, `--network onnx`"),
    "recmtl_pruned": "recmtl, pruned to a quarter of the multiply-adds",
    "recmtl_pruned_onnx": Markdown("recmtl, pruned, `--network onnx`"),
    "recmtl_2048": Markdown("recmtl, `--chunk-rows 2048`"),
    "recmtl_pruned_2048": Markdown("recmtl, pruned, `--chunk-rows 2048`"),
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
"""The least speed-up of recmtl over each arm; fixed before the first measurement."""

TRIED = (
    "`torch.compile`: 54 ms instead of 32. bfloat16: half as fast; float16: no faster.",
    "oneDNN's product with bias and ReLU: 0.4 to 0.6 ms less, but the operator is not public.",
    "One matrix for experts and gates: no faster than a product for each that reads the same lane.",
    "Huge pages: 0.6 ms less with 1.3 million ids, nothing with 20 thousand.",
    "Micro-batches that fit the cache, weights and moments of the table side by side: no gain.",
)
"""Single measurements; no gain was worth the code."""


def page(figures: Mapping[str, Any]) -> str:
    """The page of all parts that were measured."""
    lines = [
        "# Speed: rows trained and scored a second, and where a step goes",
        "",
        "Written by `make bench`; the figures are in `speed.json` beside it.",
        "",
    ]
    if "prepare" in figures:
        lines += [*_preparing(figures["prepare"])]
    for threads in (1, 2):
        if f"training_{threads}" in figures:
            lines += [*_training(figures[f"training_{threads}"])]
        if threads == 1 and "trees" in figures:
            lines += [*_trees(figures["trees"])]
        if f"beside_{threads}" in figures:
            lines += [*_beside(figures[f"beside_{threads}"], threads)]
        if f"scoring_{threads}" in figures:
            lines += [*_scoring(figures[f"scoring_{threads}"])]
    if "breakdown" in figures:
        lines += [*_breakdown(figures["breakdown"])]
    return "\n".join(lines)


def _preparing(figures: Mapping[str, Any]) -> Iterator[str]:
    before, after = figures["load"]
    yield from ["## Preparing", ""]
    yield from paragraph(
        f"The simulated log below, {figures['rows']:,} rows, from a Parquet file to an encoded",
        f"log: values are counted, encoded and written, {figures['repeats']} times in turns with",
        "a fresh process each. FuxiCTR 2.3.10 runs its `FeatureProcessor` and `build_dataset` as",
        "shipped; Ray is started before the clock. Processor seconds are those of all processes.",
        "recmtl also splits the rows, checks labels, and takes fingerprints and a description of",
        f"its output. {figures['processor']}, load {before:.1f} before and {after:.1f} after.",
    )
    head = ["ids", "recmtl, rows/s of CPU", "of wall", "FuxiCTR, rows/s of CPU", "of wall", "ratio"]
    rows = []
    for size, of_size in figures["sizes"].items():
        middle, least, most = of_size["ratio"]["cpu"]
        speeds = [
            f"{of_size['arms'][arm][clock][0]:,.0f}"
            for arm in ("prepare", "fuxictr")
            for clock in ("cpu", "wall")
        ]
        verdict = f"{middle:.2f} ({least:.2f} to {most:.2f})"
        rows.append([f"{sum(VOCABULARIES[size]):,}", *speeds, verdict])
    yield from markdown_table(head, rows)
    met = all(of_size["ratio"]["cpu"][0] >= LEAST_PREPARED for of_size in figures["sizes"].values())
    verdict = "reached" if met else "missed"
    yield from paragraph(
        f"Target, set beforehand: {LEAST_PREPARED} times as fast in processor time, {verdict}."
    )


def _training(figures: Mapping[str, Any]) -> Iterator[str]:
    threads, (before, after) = figures["threads"], figures["load"]
    yield from [f"## Training on {_threads(threads)}", ""]
    columns = len(VOCABULARIES["large"])
    yield from paragraph(
        f"A simulated log of {columns} categorical columns with skewed ids;",
        f"{NETWORKS['mmoe'].title}, linear gates, towers [{TOWER}], embedding {EMBEDDING},",
        f"{len(TASKS)} binary tasks, batches of {figures['batch']:,}, learning rate 0.001, no",
        "decay, float32. Every arm is a process of its own and reads the same arrays. They take",
        f"turns: one slice to warm up, then {figures['slices']} slices of {figures['steps']}",
        "steps each. Rows a second of processor time are the median (least to most) over the",
        "slices; a ratio is the median of the ratios of single slices. AUC is measured on test",
        "rows after the whole epoch, with one seed, to show that all arms learn. Scoring goes",
        f"from encoded columns in memory to probabilities. {figures['processor']}, load",
        f"{before:.1f} before and {after:.1f} after.",
    )
    yield from paragraph(
        "recmtl's optimiser of the table is lazy, like SparseAdam: moments of rows outside the",
        "batch do not decay. The peers ship a dense Adam; a fused one, and DeepCTR-Torch",
        "without its L2 over whole tables, are arms of their own. torch-rechub has a BatchNorm",
        "after every product; the others have none.",
    )
    for size, of_size in figures["sizes"].items():
        arms = of_size["arms"]
        parameters = arms[next(iter(arms))]["parameters"]
        yield from [f"### {sum(VOCABULARIES[size]):,} ids, {parameters:,} parameters", ""]
        yield from [*_arms(of_size), *paragraph(*_verdicts(size, of_size["ratios"]))]


def _trees(figures: Mapping[str, Any]) -> Iterator[str]:
    yield from ["## Trees", ""]
    yield from paragraph(
        "LightGBM, one model a task of at most 500 rounds, stopped by a tenth of the train rows,",
        "on one thread, measured once. It is the baseline of [results](../results/README.md); it",
        "is no network and shares nothing. Train rows are divided by the processor seconds of",
        "both models.",
    )
    head = ["ids", "leaves", "train, rows/s", "score, rows/s", "peak MB"]
    rows = [
        [
            *(f"{n:,.0f}" for n in (sum(VOCABULARIES[size]), of_size["leaves"], of_size["train"])),
            *(f"{of_size[name]:,.0f}" for name in ("score", "peak_mb")),
            *(f"{of_size['auc'][task]:.4f}" for task in TASKS),
        ]
        for size, of_size in figures["sizes"].items()
    ]
    yield from markdown_table([*head, *AUCS], rows)


def _beside(figures: Mapping[str, Any], threads: int) -> Iterator[str]:
    yield from [f"## Other networks on {_threads(threads)}", ""]
    yield from paragraph(
        f"The same on {sum(VOCABULARIES['small']):,} ids, reported without a target: in the wide",
        "network matrix products limit every arm.",
    )
    for name, of_network in figures.items():
        ((_, of_size),) = of_network["sizes"].items()
        yield from [f"### {NETWORKS[name].title}", "", *_arms(of_size)]


def _arms(figures: Mapping[str, Any]) -> list[str]:
    rows = [_arm(name, arm, figures["ratios"][name]) for name, arm in figures["arms"].items()]
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
    outcomes = [
        f"{ARMS[arm]} {least} times, {'reached' if ratios[arm]['cpu'][0] >= least else 'missed'}"
        for arm, least in LEAST[size].items()
        if arm in ratios
    ]
    if "recmtl_pruned" in ratios:
        times = 1.0 / ratios["recmtl_pruned"]["cpu"][0]
        verdict = "reached" if times >= LEAST_PRUNED else "missed"
        outcomes.append(f"pruned {LEAST_PRUNED} times the full network, {verdict} ({times:.2f})")
    yield f"{'; '.join(outcomes)}."


def _scoring(figures: Mapping[str, Any]) -> Iterator[str]:
    threads, (before, after) = figures["threads"], figures["load"]
    yield from [f"## Scoring, Parquet to Parquet, on {_threads(threads)}", ""]
    yield from paragraph(
        f"The same network scores a file of {figures['rows']:,} rows of integers into another",
        f"file, {figures['repeats']} times in turns. recmtl runs `score_parquet`: it looks up",
        "every value in its vocabularies, watches for drift, and moves finished parts into place",
        "so that a kill costs nothing. The other arms get the same file, whose integers are",
        "already their ids: pyarrow reads it, the library's `predict` scores it, pyarrow writes.",
        f"Figures are medians of the repeats and of their ratios. {figures['processor']}, load",
        f"{before:.1f} before and {after:.1f} after.",
    )
    for size, of_size in figures["sizes"].items():
        ours, ratios = dict.fromkeys(our_arm for our_arm, _ in LEAST_SCORED), of_size["ratios"]
        head = [*SCORING_HEAD, *(Markdown(f"times as fast is {ARMS[name]}") for name in ours)]
        rows = [
            [
                ARMS[name],
                *(f"{arm['score'][clock][0]:,.0f}" for clock in ("cpu", "wall")),
                f"{arm['peak_mb']:,.0f}",
                *(f"{ratios[our_arm][name]['cpu'][0]:.2f}" for our_arm in ours),
            ]
            for name, arm in of_size["arms"].items()
        ]
        yield from [f"### {sum(VOCABULARIES[size]):,} ids", "", *markdown_table(head, rows)]
        yield from paragraph(
            "Targets, set beforehand, in processor time:",
            "; ".join(
                f"{ARMS[our_arm]} {least} times {ARMS[arm]}, "
                f"{'reached' if ratios[our_arm][arm]['cpu'][0] >= least else 'missed'}"
                for (our_arm, arm), least in LEAST_SCORED.items()
            )
            + ".",
        )


def _threads(count: int) -> str:
    return "one thread" if count == 1 else f"{count} threads"


def _breakdown(figures: Mapping[str, Any]) -> Iterator[str]:
    yield from ["## Where a step goes", ""]
    yield from paragraph(
        "`python -m benchmarks.speed breakdown`: recmtl's step of the same network, part by",
        "part, in milliseconds on one thread. Figures are medians; the feed, which reads many",
        "batches at once, has the mean. The floor is measured in the same process: the",
        "multiply-adds of forward and backward at the rate of a product of 1,024 x 1,024, the",
        "look-up of the batch's rows, and reading and writing the distinct rows of weights and",
        "of both moments once.",
    )
    for size, of_size in figures.items():
        parts, floor = of_size["parts_ms"], of_size["floor_ms"]
        step, least = sum(parts.values()), sum(floor.values())
        yield from [f"### {sum(VOCABULARIES[size]):,} ids", ""]
        rows = [*([name, f"{time:.2f}", f"{time / step:.0%}"] for name, time in parts.items())]
        yield from markdown_table(["part", "ms", "share"], rows)
        yield from paragraph(
            f"Together {step:.1f} ms; the floor is {least:.1f} ms",
            f"({floor['products']:.1f} products at {of_size['peak_gflops']:.0f} GFLOP/s,",
            f"{floor['gather']:.1f} look-up,",
            f"{floor['update']:.1f} rows): {step / least:.2f} times the floor (target 1.5).",
            f"A batch has {of_size['distinct_rows']:,.0f} distinct rows. {of_size['processor']}.",
        )
    yield from ["### What was tried on the step and not kept", ""]
    yield from (f"- {line}" for line in TRIED)

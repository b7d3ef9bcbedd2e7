"""What a head costs in a step of training: `python -m benchmarks.watch_time.step_cost`.

One network of three tasks, two binary ones and a number, whose head changes. Steps of all networks
alternate on the same batch; the figures are ratios of median processor times to the plain
regression by squared error. Figures and page are written to `docs/benchmarks/head_cost.*`.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.pages import paragraph
from benchmarks.processes import ROOT
from recmtl.atomic import write_text
from recmtl.data.batches import TableBatch
from recmtl.data.encoding import Encoding, NumericField
from recmtl.grid import mmoe
from recmtl.model import ModelSizes, TabularModel
from recmtl.model.heads import HeadSpec, fitted
from recmtl.schema import Head
from recmtl.train.config import Training
from recmtl.train.loop import take_step
from recmtl.train.optimizer import Optimizer

__all__ = ["HEADS", "measured", "page", "stepper"]

OUT = ROOT / "docs" / "benchmarks" / "head_cost.json"
PLAIN, BATCH, WARM = "plain regression", 1024, 5
HEADS: Mapping[str, Head | None] = {
    PLAIN: None,
    "ziln": Head("ziln", quantiles=(0.1, 0.5, 0.9)),
    "cread": Head("cread"),
    "d2q": Head("d2q", duration="number 0"),
    "poisson": Head("poisson"),
    "negative_binomial": Head("negative_binomial"),
    "ordinal": Head("ordinal"),
}
CLASSES = 5
ENCODING = Encoding(
    table_rows=1_300_000,
    single=tuple(f"id {number}" for number in range(20)),
    lists=(),
    numeric=tuple(NumericField(f"number {n}", "piecewise", 32) for n in range(10)),
)
"""1.3 million ids, 20 categories and 10 numbers a row."""


def batch_of(dice: np.random.Generator, encoding: Encoding = ENCODING) -> TableBatch:
    """Random rows with a click, a like and a count."""
    ids = dice.integers(1, encoding.table_rows, (BATCH, encoding.id_columns))
    numbers = dice.uniform(0, 32, (BATCH, encoding.numeric_columns)).astype(np.float32)
    number = dice.poisson(dice.gamma(1.0, 3.0, BATCH)).astype(np.float32)
    events = dice.integers(0, 2, (2, BATCH)).astype(np.float32)
    labels = torch.from_numpy(np.stack([*events, number], 1))
    return TableBatch(torch.from_numpy(ids), torch.from_numpy(numbers), labels, torch.ones(BATCH))


def stepper(
    head: Head | None, batch: TableBatch, encoding: Encoding = ENCODING
) -> Callable[[], float]:
    """Takes a step and gives its processor seconds."""
    label = batch.labels[:, 2].numpy()
    spec = HeadSpec("number", "regression", mean=float(label.mean()), std=float(label.std()))
    if head is not None and head.kind == "ordinal":
        classes = tuple(str(number) for number in range(CLASSES))
        spec = replace(spec, kind="multiclass", classes=classes)
        label = np.minimum(label, CLASSES - 1)
    spec = fitted(replace(spec, head=head), label, None, batch.numeric[:, 0].numpy())
    labels = torch.cat([batch.labels[:, :2], torch.from_numpy(label)[:, None]], 1)
    rows = replace(batch, labels=labels)
    torch.manual_seed(0)
    heads = (*(HeadSpec(name, "binary", mean=0.5) for name in ("click", "like")), spec)
    layout = mmoe(len(heads), experts=8, widths=(64, 32))
    model = TabularModel(encoding, heads, layout=layout, sizes=ModelSizes(embedding=8))
    optimizer = Optimizer(model.train(), Training(batch_size=BATCH), total_steps=10_000)

    def step() -> float:
        began = time.process_time()
        take_step(model, optimizer, rows)
        return time.process_time() - began

    return step


def measured(steps: int, encoding: Encoding = ENCODING) -> dict[str, Any]:
    """Median processor seconds of a step with every head."""
    torch.set_num_threads(1)
    batch = batch_of(np.random.default_rng(0), encoding)
    steppers = {name: stepper(head, batch, encoding) for name, head in HEADS.items()}
    times: dict[str, list[float]] = {name: [] for name in steppers}
    for number in range(steps + WARM):
        for name, step in steppers.items():
            seconds = step()
            times[name] += [seconds] if number >= WARM else []
    medians = {name: median(seconds) for name, seconds in times.items()}
    return {"rows": BATCH, "ids": encoding.table_rows, "steps": steps, "step_s": medians}


def page(figures: Mapping[str, Any]) -> str:
    """The figures as a page of Markdown."""
    lines = ["# Cost of a head", ""]
    lines += paragraph(
        "`python -m benchmarks.watch_time.step_cost`: processor time of a training step of",
        f"{figures['rows']:,} rows on one core, by the head of one of three tasks. The network has",
        f"{figures['ids']:,} ids, 20 categorical and 10 numeric features and eight experts.",
        f"Medians of {figures['steps']} steps in which all heads took turns, beside the plain",
        "regression.",
    )
    lines += ["| head | ms a step | of a plain regression's |", "|---|---|---|"]
    plain = figures["step_s"][PLAIN]
    for name, seconds in figures["step_s"].items():
        lines.append(f"| {name} | {1000 * seconds:.1f} | {seconds / plain:.3f} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Measure, and write `docs/benchmarks/head_cost.{json,md}`."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.watch_time.step_cost", description=__doc__
    )
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--page", action="store_true", help="only rewrite the page")
    options = parser.parse_args()
    if not options.page:
        write_text(OUT, json.dumps(measured(options.steps), indent=1) + "\n")
    text = page(json.loads(OUT.read_text(encoding="utf-8")))
    write_text(OUT.with_suffix(".md"), text)
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

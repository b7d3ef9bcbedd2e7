"""What a head costs in a step of training: `python -m benchmarks.watch_time.step_cost`.

One network of three tasks, two binary ones and a number, whose head changes. A step of all of it is
timed with a plain regression; of the heads alone forward pass, loss and backward pass. Networks of
equal size differ by more than their heads do, by where their tables lie in memory. Rounds
alternate, and the figures are medians of processor times. Figures and page are written to
`docs/benchmarks/head_cost.*`.
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
from recmtl.model.heads import HeadSpec, TabularHeads, fitted
from recmtl.schema import Head
from recmtl.train.config import Training
from recmtl.train.loop import take_step
from recmtl.train.optimizer import Optimizer

__all__ = ["HEADS", "measured", "page"]

OUT = ROOT / "docs" / "benchmarks" / "head_cost.json"
PLAIN, STEP, BATCH, WIDTH, WARM = "plain regression", "step", 1024, 32, 5
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


def specs_of(head: Head | None, batch: TableBatch) -> tuple[tuple[HeadSpec, ...], TableBatch]:
    """The tasks with this head of the number, and the rows with labels that it takes."""
    label = batch.labels[:, 2].numpy()
    spec = HeadSpec("number", "regression", mean=float(label.mean()), std=float(label.std()))
    if head is not None and head.kind == "ordinal":
        classes = tuple(str(number) for number in range(CLASSES))
        spec = replace(spec, kind="multiclass", classes=classes)
        label = np.minimum(label, CLASSES - 1)
    spec = fitted(replace(spec, head=head), label, None, batch.numeric[:, 0].numpy())
    labels = torch.cat([batch.labels[:, :2], torch.from_numpy(label)[:, None]], 1)
    events = (HeadSpec(name, "binary", mean=0.5) for name in ("click", "like"))
    return (*events, spec), replace(batch, labels=labels)


def stepper(batch: TableBatch, encoding: Encoding = ENCODING) -> Callable[[], object]:
    """Takes a step of a network with a plain regression."""
    specs, rows = specs_of(None, batch)
    torch.manual_seed(0)
    layout = mmoe(len(specs), experts=8, widths=(64, 32))
    model = TabularModel(encoding, specs, layout=layout, sizes=ModelSizes(embedding=8))
    optimizer = Optimizer(model.train(), Training(batch_size=BATCH), total_steps=10_000)
    return lambda: take_step(model, optimizer, rows)


def heads_of(
    head: Head | None, batch: TableBatch, encoding: Encoding = ENCODING
) -> Callable[[], object]:
    """Takes the part of a step that the heads are: from lanes to their gradient."""
    specs, rows = specs_of(head, batch)
    torch.manual_seed(0)
    names = [number.name for number in encoding.numeric]
    heads = TabularHeads(specs, width=WIDTH, tower=ModelSizes().tower, numbers=names)
    lanes = torch.randn(len(rows), len(specs), WIDTH, requires_grad=True)

    def part() -> None:
        logits = heads(lanes, rows.numeric)
        heads.losses(logits, rows.labels, rows.weight).sum().backward()

    return part


def measured(steps: int, encoding: Encoding = ENCODING) -> dict[str, Any]:
    """Median processor seconds of a step, and of every head."""
    torch.set_num_threads(1)
    batch = batch_of(np.random.default_rng(0), encoding)
    runs = {STEP: stepper(batch, encoding)}
    runs |= {name: heads_of(head, batch, encoding) for name, head in HEADS.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(steps + WARM):
        for name, run in runs.items():
            began = time.process_time()
            run()
            times[name] += [time.process_time() - began] if number >= WARM else []
    medians = {name: median(seconds) for name, seconds in times.items()}
    step = medians.pop(STEP)
    facts = {"rows": BATCH, "ids": encoding.table_rows, "steps": steps}
    return {**facts, "step_s": step, "heads_s": medians}


def page(figures: Mapping[str, Any]) -> str:
    """The figures as a page of Markdown."""
    lines = ["# Cost of a head", ""]
    lines += paragraph(
        "`python -m benchmarks.watch_time.step_cost`: processor time of a training step of",
        f"{figures['rows']:,} rows on one core, by the head of one of three tasks. The network has",
        f"{figures['ids']:,} ids, 20 categorical and 10 numeric features and eight experts.",
        f"Such a step takes {1000 * figures['step_s']:.1f} ms with a plain regression. The table",
        "has what the heads of all three tasks take of it, forward pass, loss and backward pass,",
        "and how much more that is than with a plain regression, as a share of the step: medians",
        f"of {figures['steps']} rounds in which all took turns.",
    )
    lines += ["| head | ms | more, of a step |", "|---|---|---|"]
    plain = figures["heads_s"][PLAIN]
    for name, seconds in figures["heads_s"].items():
        more = (seconds - plain) / figures["step_s"]
        lines.append(f"| {name} | {1000 * seconds:.2f} | {more:.1%} |")
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

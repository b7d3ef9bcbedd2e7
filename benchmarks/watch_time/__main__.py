"""What is a watch-time head worth? Each against a regression of `log1p`, on KuaiRand-Pure.

python -m benchmarks.watch_time [--seeds 5] [--first 0] [--arms ziln d2q] [--rows N] [--page]

The data lies in the folder that `RECMTL_DATA` names. Figures and page are written after every
training, and trainings whose figures are there are not repeated. With `--rows`, evenly spaced rows
of the log are taken, and nothing is written: a try. `--page` only rewrites the page.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.board.logs import data_folder
from benchmarks.processes import ROOT
from benchmarks.watch_time.arms import ARMS, Arm, encoded, schema_of, trained
from benchmarks.watch_time.page import page
from recmtl.atomic import write_text
from recmtl.schema import Schema
from recmtl.train.config import Config

OUT = ROOT / "docs" / "benchmarks" / "watch_time.json"
DATA = "kuairand_pure/log_0425_0430.parquet"
SCHEMA = ROOT / "datasets" / "kuairand_pure" / "schema.yaml"
CONFIG = "pipelines/configs/kuairand_pure/recmtl.yaml"
ROWS = "the last of six days of KuaiRand-Pure"


def run(
    data: Path,
    schema: Schema,
    config: Config,
    seeds: Sequence[int],
    *,
    arms: Sequence[str] = tuple(ARMS),
    rows: int | None = None,
    done: Sequence[tuple[str, int]] = (),
) -> Iterator[tuple[str, int, Arm]]:
    """Every arm with every seed, but those that are done."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = encoded(data, schema, folder, rows=rows)
        for seed in seeds:
            for arm in arms:
                if (arm, seed) not in done:
                    yield arm, seed, trained(log, arm, config, seed, folder / "states")


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what is not trained yet, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watch_time", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--rows", type=int, help="a try on so many rows, which writes nothing")
    parser.add_argument("--page", action="store_true", help="only rewrite the page")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    figures = _figures()
    if not options.page:
        seeds = range(options.first, options.first + options.seeds)
        runs = [(name, int(seed)) for name, of in figures["arms"].items() for seed in of]
        done = [] if options.rows else runs
        settings = {"arms": options.arms, "rows": options.rows, "done": done}
        data, config = data_folder() / DATA, Config.load(ROOT / CONFIG)
        for name, seed, arm in run(data, schema_of(SCHEMA), config, seeds, **settings):
            measures = ", ".join(f"{key} {value:.4f}" for key, value in arm.metrics.items())
            sys.stdout.write(f"{name} {seed}: {measures}, {arm.cpu_s:.0f} CPU s\n")
            sys.stdout.flush()
            figures["arms"].setdefault(name, {})[str(seed)] = vars(arm)
            if not options.rows:
                _write(figures)
    if not options.rows:
        _write(figures)
    return 0


def _figures() -> dict[str, Any]:
    if OUT.is_file():
        figures: dict[str, Any] = json.loads(OUT.read_text(encoding="utf-8"))
        return figures
    return {"rows": ROWS, "config": CONFIG, "arms": {}}


def _write(figures: dict[str, Any]) -> None:
    write_text(OUT, json.dumps(figures, indent=1) + "\n")
    write_text(OUT.with_suffix(".md"), page(figures))


if __name__ == "__main__":
    sys.exit(main())

"""One step in a process of its own: `... STEP FOLDER`; prints rows, seconds and peak as JSON."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import torch

from benchmarks.scale.simulated import schema
from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
from recmtl.grid import catalog
from recmtl.model import ModelSizes, TabularModel
from recmtl.serve import Scorer, save_bundle, score_parquet
from recmtl.train.config import Training
from recmtl.train.loop import train
from recmtl.train.tabular_problem import TabularProblem

SETTINGS = Training(batch_size=4096, epochs=1, checks=1)


def prepared(folder: Path) -> int:
    """Encode the log; returns its rows."""
    log = prepare(str(folder / "log"), schema(), folder / "encoded")
    return sum(log.manifest["rows"].values())


def network(problem: TabularProblem) -> TabularModel:
    """A small MMoE, so that the time goes to data rather than products."""
    layout = catalog.mmoe(len(problem.tasks), experts=2, widths=(32, 16))
    return problem.network(layout, ModelSizes(8, tower=(8,)))


def trained(folder: Path) -> int:
    """Train for one pass; returns the train rows."""
    problem = TabularProblem.of(EncodedLog.open(folder / "encoded"))
    torch.manual_seed(0)
    train(network(problem), problem, SETTINGS, seed=0)
    return len(problem.train)


def scored(folder: Path) -> int:
    """Score the whole log with random weights, Parquet to Parquet; returns its rows."""
    log = EncodedLog.open(folder / "encoded")
    model = network(TabularProblem.of(log)).eval()
    rows = pq.ParquetFile(folder / "log" / "part-00000.parquet").read_row_group(0).slice(0, 64)
    bundle = folder / "bundle"
    save_bundle(bundle, model=model, encoder=log.encoder(), rows=rows, metrics={})
    return score_parquet(Scorer.load(bundle), folder / "log", folder / "scores").scored_rows


STEPS: dict[str, Callable[[Path], int]] = {"prepare": prepared, "train": trained, "score": scored}


def main(step: str, folder: Path) -> None:
    """Run the step and print its figures."""
    torch.set_num_threads(1)
    wall, processor = time.perf_counter(), time.process_time()
    figures: dict[str, float] = {"rows": STEPS[step](folder)}
    figures |= {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - processor}
    lines = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    sys.stdout.write(json.dumps({**figures, "peak_mb": peak / 1024}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))

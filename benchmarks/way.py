"""The way of the data through the modules of the package, counted while it runs.

`python -m benchmarks.way [RUN]` follows three ways and prints, for each, the rooms that it enters,
in order; RUN is the output folder of a finished `make run`. A room is a module one of whose
functions is called. A way back is a pair of rooms where the first calls the second, which was
entered before it: a place at which a reader who follows the calls has to turn round.
`docs/architecture.md` holds the figures.

    column to logit     a batch of one categorical column: its ids, the network, a logit
    score to verdict    scores of the test rows of all models of RUN, up to what results.json holds
    first step          functions of the project that wait for the first training step of the job

Python's profiler finds the rooms, so that no list of functions is kept by hand.
"""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

import recmtl
from recmtl.data.encoded_log import EncodedLog
from recmtl.data.prepare import prepare
from recmtl.data.reader import open_log
from recmtl.grid import mmoe
from recmtl.job.outcome import judged_results, trained_models
from recmtl.job.problem_kind import TABULAR_PROBLEMS
from recmtl.job.study import Study
from recmtl.job.work.items import all_items
from recmtl.model import ModelSizes, TabularModel
from recmtl.schema import Schema, parse_schema
from recmtl.simulate import truth_path
from recmtl.train.config import Config
from recmtl.train.optimizer import Optimizer
from recmtl.train.tabular_problem import TabularProblem

PACKAGE = Path(recmtl.__file__).parent
ROOT = PACKAGE.parent
CONFIG = ROOT / "pipelines" / "configs" / "simulated" / "recmtl.yaml"
ROWS = 2_000
SCHEMA = """
version: 1
name: way
features:
  city: {kind: categorical}
tasks:
  click: {kind: binary, label: click}
split: {by: random}
"""


def follow(call: Callable[[], object]) -> tuple[list[str], list[str]]:
    """The rooms that a call enters in their order, and its ways back.

    The call is made once before, so that what is built once and kept is not counted.
    """
    call()
    rooms: dict[str, int] = {}
    calls: set[tuple[str, str]] = set()

    def profile(frame: FrameType, event: str, _: Any) -> None:
        room = _room(frame)
        if event != "call" or not room:
            return
        rooms.setdefault(room, len(rooms))
        above = frame.f_back
        while above is not None and not _room(above):
            above = above.f_back
        if above is not None:
            calls.add((_room(above), room))

    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.setprofile(None)
    back = [f"{a} -> {b}" for a, b in sorted(calls) if rooms[b] < rooms[a]]
    return list(rooms), back


def _room(frame: FrameType) -> str:
    path = Path(frame.f_code.co_filename)
    is_function = not frame.f_code.co_name.startswith("<")
    return str(path.relative_to(PACKAGE)) if is_function and PACKAGE in path.parents else ""


def made_up_log(folder: Path) -> tuple[Path, Schema]:
    """A log of one categorical column and one label."""
    dice = np.random.default_rng(0)
    cities = pa.array([f"city {code}" for code in dice.integers(0, 30, ROWS)])
    path = folder / "log.parquet"
    pq.write_table(pa.table({"city": cities, "click": dice.integers(0, 2, ROWS)}), path)
    return path, parse_schema(SCHEMA, source="way")


def column_to_logit(log: EncodedLog, path: Path) -> Callable[[], object]:
    """Encode a batch of the log and predict."""
    problem, encoder = TabularProblem.of(log), log.encoder()
    layout = mmoe(1, experts=2, widths=(4,))
    model = TabularModel(problem.encoding, problem.heads, layout=layout, sizes=ModelSizes())
    model.eval()
    batch = next(iter(open_log(str(path)).batches(["city"])))
    columns, rows = {"city": batch.columns.column("city")}, batch.rows

    def call() -> object:
        encoded = encoder.encode_canonical(columns, rows, batch.place)
        return model.predict(torch.from_numpy(encoded.ids), torch.from_numpy(encoded.numeric))

    return call


def score_to_verdict(run: Path) -> Callable[[], object]:
    """Judge the models of a finished run of the main job on the simulated log."""
    config = Config.load(CONFIG)
    problem = TabularProblem.of(EncodedLog.open(run / "log"))
    study = Study(run, kind=TABULAR_PROBLEMS, problem=problem, config=config)
    models = trained_models(study, all_items(config))
    truth = truth_path(run / "simulated.parquet")
    return lambda: judged_results(study, models, fingerprint="", truth=truth)


class _FirstStepError(Exception):
    """Ends the job at its first training step."""


def frames_to_the_first_step(folder: Path) -> list[str]:
    """Functions of the project on the stack when the job's optimiser is first asked for a step."""
    frames: list[str] = []
    step = Optimizer.step

    def first(self: Optimizer, *_: object) -> None:
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            path = Path(frame.f_code.co_filename)
            if ROOT in path.parents and path.name != "way.py":
                frames.append(f"{path.relative_to(ROOT)}:{frame.f_code.co_name}")
            frame = frame.f_back
        raise _FirstStepError

    from recmtl.command.main import main  # a command, imported where it is run

    config = folder / "config.yaml"
    config.write_text("workers: 1\n")
    Optimizer.step = first  # type: ignore[method-assign]
    try:
        main(["run", "--out", str(folder / "run"), "--config", str(config)])
    except _FirstStepError:
        return frames[::-1]
    finally:
        Optimizer.step = step  # type: ignore[method-assign]
    return []


def main(run: Path | None) -> None:
    """Follow all ways and print them; that of scores needs a finished `run`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{folder}/mlflow.db"
        path, schema = made_up_log(folder)
        log = prepare(str(path), schema, folder / "log")
        ways = {"column to logit": column_to_logit(log, path)}
        if run is not None:
            ways["score to verdict"] = score_to_verdict(run)
        for title, call in ways.items():
            rooms, back = follow(call)
            sys.stdout.write(f"{title}: {len(rooms)} rooms, {len(back)} ways back\n")
            sys.stdout.write("".join(f"    {room}\n" for room in rooms))
            sys.stdout.write("".join(f"    back: {pair}\n" for pair in back))
        frames = frames_to_the_first_step(folder)
        sys.stdout.write(f"first step: {len(frames)} functions\n")
        sys.stdout.write("".join(f"    {frame}\n" for frame in frames))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)

"""One request of 300 candidates on one core, recmtl beside torch-rechub.

Each library runs in a process of its own, both on the same core, in turns: a round gives every arm
some requests, so that all arms see the same machine.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving.shop import FOLDER, REQUESTS, ROOT, ROWS, SIZES, make

PEER = "torch-rechub==0.9.0"
OURS = ("request_onnx", "rows_onnx", "request_torch", "rows_torch", "network_onnx", "network_torch")
THEIRS = ("from_raw", "documented", "module")


def measure(*, quick: bool) -> dict[str, Any]:
    """Every arm of every size, and ratios of the rounds' medians."""
    rounds, each = (3, 5) if quick else (20, 50)
    sizes = list(SIZES)[: 1 if quick else None]
    python = _peer_environment(FOLDER / "peer")
    make(FOLDER, sizes)
    before = os.getloadavg()[0]
    found = {name: _size(name, python, rounds, each) for name in sizes}
    return {
        "peer": PEER, "candidates": ROWS, "rounds": rounds, "requests": rounds * each,
        "load": [before, os.getloadavg()[0]], "processor": _processor(), "sizes": found,
    }  # fmt: skip


def _peer_environment(folder: Path) -> Path:
    """The peer in a virtual environment of its own, made once."""
    python = folder / "bin" / "python"
    if not (folder / ".installed").is_file():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        command = [str(python), "-m", "pip", "install", "--quiet", PEER, "-c", "constraints.txt"]
        subprocess.run(command, cwd=ROOT, check=True)
        (folder / ".installed").touch()
    return python


def _size(name: str, python: Path, rounds: int, each: int) -> dict[str, Any]:
    size = SIZES[name]
    times: dict[str, list[list[int]]] = {arm: [] for arm in (*OURS, *THEIRS)}
    with ExitStack() as held:
        mine = [sys.executable, "-m", "benchmarks.serving.ours", str(FOLDER), name]
        theirs = [str(python), "-m", "benchmarks.serving.peer", str(FOLDER), name]
        ours = held.enter_context(_worker(mine))
        peer = held.enter_context(_worker([*theirs, str(size.embedding)]))
        facts = {"ours": ours.facts, "peer": peer.facts}
        for turn in range(-1, rounds):  # the first one warms up
            for arm in times:
                worker = ours if arm in OURS else peer
                taken = worker.run(arm, turn * each % (REQUESTS - each), each)
                if turn >= 0:
                    times[arm].append(taken)
    medians = {arm: [statistics.median(one) for one in some] for arm, some in times.items()}
    ratios = {
        other: {arm: _ratio(medians[other], medians[arm]) for arm in OURS} for other in THEIRS
    }
    return {**facts, "arms": {arm: _told(some) for arm, some in times.items()}, "ratios": ratios}


def _ratio(theirs: list[float], ours: list[float]) -> dict[str, float]:
    found = sorted(other / own for other, own in zip(theirs, ours, strict=True))
    return {"median": statistics.median(found), "low": found[0], "high": found[-1]}


def _told(rounds: list[list[int]]) -> dict[str, float]:
    milliseconds = np.concatenate(rounds) / 1e6
    return {
        "p50_ms": float(np.median(milliseconds)),
        "p99_ms": float(np.quantile(milliseconds, 0.99)),
    }


class _Worker:
    """A process that waits for orders, see `benchmarks.serving.worker`."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.facts = self._answer()

    def run(self, arm: str, first: int, count: int) -> list[int]:
        """Nanoseconds of some requests."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{arm} {first} {count}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(map(str, self._process.args))}: ended")
        return json.loads(line)


@contextmanager
def _worker(command: list[str]) -> Iterator[_Worker]:
    one = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    environment = {**os.environ, **one, "PYTHONPATH": str(ROOT)}
    core = max(os.sched_getaffinity(0))
    log = FOLDER / f"{command[2].rpartition('.')[2]}.log"
    with log.open("w") as errors:
        process = subprocess.Popen(
            command, env=environment, cwd=ROOT, text=True, stderr=errors,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        os.sched_setaffinity(process.pid, {core})
        try:
            yield _Worker(process)
        finally:
            process.kill()
            process.wait()


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"

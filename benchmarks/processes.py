"""The processes that are measured: one for each library, in an environment of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.worker import ANSWER

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build"


def peer_environment(requirement: str, *also: str) -> Path:
    """The interpreter of a virtual environment with one peer, made on the first call."""
    folder = BUILD / "peers" / requirement.partition("==")[0]
    python, marker = folder / "bin" / "python", folder / ".installed"
    there = set(marker.read_text().split()) if marker.is_file() else set()
    missing = {requirement, *also} - there
    if missing:
        if not python.is_file():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "-c", "constraints.txt"]
        subprocess.run([*pip, *sorted(missing)], cwd=ROOT, check=True)
        marker.write_text("\n".join(sorted(there | missing)))
    return python


class Worker:
    """A process that carries out orders, see `benchmarks.worker`.

    Attributes:
        facts: what the process announced when it started.
    """

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.facts = self._answer()

    def run(self, order: str, *numbers: int) -> Any:
        """Send an order; returns its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(" ".join([order, *map(str, numbers)]) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(ANSWER):
                return json.loads(line.removeprefix(ANSWER))
        raise SystemExit(
            f"{' '.join(map(str, self._process.args))}: ended without an answer; see its log"
        )


@contextmanager
def worker(
    command: Sequence[str], log: Path, threads: int = 1, *, pinned: bool = True
) -> Iterator[Worker]:
    """Start a process, on the last core if `pinned`; its standard error goes to `log`."""
    number = str(threads)
    thread_counts = {"OMP_NUM_THREADS": number, "MKL_NUM_THREADS": number}
    environment = {**os.environ, **thread_counts, "PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with (
        log.open("w") as errors,
        subprocess.Popen(command, env=environment, cwd=ROOT, stderr=errors, **pipes) as process,
    ):
        if pinned:
            os.sched_setaffinity(process.pid, {max(os.sched_getaffinity(0))})
        try:
            yield Worker(process)
        finally:
            process.kill()


@contextmanager
def on_one_core() -> Iterator[None]:
    """Keep this process on the last core it may use."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def processor() -> str:
    """The name of the processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"

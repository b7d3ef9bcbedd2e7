"""Do the pieces of a study in several processes: the same results, sooner.

Every process opens the encoded log for itself; what it reads of it is mapped and hence shared. A
piece leaves its result in the folder, so that nothing but progress travels back.
"""

import os
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from recmtl.errors import RecmtlError
from recmtl.job.problem_kind import ProblemKind
from recmtl.job.study import Study
from recmtl.job.work_items import WorkItem
from recmtl.train.config import Config
from recmtl.train.loop import OnProgress, silent
from recmtl.train.training_state import ValidationCheck

__all__ = ["complete", "cores"]

# More processes than this are an explicit choice: each holds PyTorch and its own optimiser state.
MOST_BY_DEFAULT = 8
SECONDS_BETWEEN_TELLING = 0.2

Told = tuple[str, int, int, ValidationCheck | None]


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def complete(
    study: Study[Any, Any], pieces: Sequence[WorkItem], finished: Callable[[WorkItem], None]
) -> None:
    """Do what is missing of the pieces, each after what it needs; `finished` is told of each.

    Raises:
        RecmtlError: a piece failed, or its process was killed. Pieces under way are finished
            first, so that their work is not lost; no other is begun.
    """
    missing = [piece for piece in pieces if not study.has(piece)]
    processes = study.config.workers or min(cores(), MOST_BY_DEFAULT)
    if min(processes, len(missing)) > 1:
        _Crew(study, missing, finished=finished).work(min(processes, len(missing)))
        return
    for number, piece in enumerate(missing, start=1):
        on_progress = _numbered(study.on_progress, f"{number}/{len(missing)}")
        replace(study, on_progress=on_progress).do(piece)
        finished(piece)


@dataclass
class _Worker:
    """A process, the line to it, and what it is doing."""

    process: BaseProcess
    line: Connection
    on_progress: OnProgress = silent
    piece: WorkItem | None = None


class _Crew:
    """Processes that take one piece after another."""

    def __init__(
        self,
        study: Study[Any, Any],
        missing: Sequence[WorkItem],
        *,
        finished: Callable[[WorkItem], None],
    ) -> None:
        self.study, self.missing, self.finished = study, list(missing), finished
        self.pieces = len(missing)
        self.workers: list[_Worker] = []
        self.fault: Exception | None = None

    def work(self, processes: int) -> None:
        """Do all pieces; the processes end with this call, however it ends."""
        try:
            self.workers = [_start(self.study) for _ in range(processes)]
            self._hand_out()
            while busy := [worker for worker in self.workers if worker.piece is not None]:
                ready = wait([worker.line for worker in busy])
                done = [self._hear(worker) for worker in busy if worker.line in ready]
                # Telling takes a moment, in which no process should wait for work.
                self._hand_out()
                for piece in done:
                    if piece is not None:
                        self.finished(piece)
        finally:
            for worker in self.workers:
                worker.process.terminate()
                worker.process.join()
                worker.line.close()
        if self.fault is not None:
            raise self.fault

    def _hand_out(self) -> None:
        for worker in self.workers:
            if worker.piece is not None or self.fault is not None:
                continue
            undone = {*self.missing, *(w.piece for w in self.workers if w.piece is not None)}
            ready = [piece for piece in self.missing if piece.needs not in undone]
            if ready:
                worker.piece = ready[0]
                self.missing.remove(worker.piece)
                number = self.pieces - len(self.missing)
                worker.on_progress = _numbered(self.study.on_progress, f"{number}/{self.pieces}")
                # Should the process be gone, its line tells so when it is heard.
                with suppress(ConnectionError):
                    worker.line.send(worker.piece)

    def _hear(self, worker: _Worker) -> WorkItem | None:
        """Take a message; returns the piece if it says that it is done."""
        piece = worker.piece
        try:
            message: Told | Exception | None = worker.line.recv()
        except (EOFError, ConnectionError):
            worker.process.join()
            message = RecmtlError(
                f"{piece}: its process was ended (exit code {worker.process.exitcode}), perhaps "
                "for want of memory; run again to go on, with fewer workers in the configuration"
            )
        if isinstance(message, tuple):
            worker.on_progress(*message)
            return None
        worker.piece = None
        if message is None:
            return piece
        self.fault = self.fault or message
        return None


def _start(study: Study[Any, Any]) -> _Worker:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    arguments = (theirs, study.folder, study.kind, study.config)
    process = context.Process(target=_serve, args=arguments, daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _serve(
    line: Connection, folder: Path, kind: ProblemKind[Any, Any], config: Config
) -> None:
    """Do the pieces that come along the line until it is closed."""
    # The interrupt key reaches all processes of a terminal; the first one ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(config.threads or 1)
    study: Study[Any, Any] | None = None
    try:
        while True:
            piece = line.recv()
            try:
                if study is None:
                    problem = kind.open(folder, config)
                    study = Study(folder, kind, problem, config, _telling(line))
                study.do(piece)
            except ConnectionError:
                raise
            except RecmtlError as error:
                line.send(error)
            except Exception:
                line.send(RuntimeError(f"{piece}:\n{traceback.format_exc()}"))
            else:
                line.send(None)
    except (EOFError, ConnectionError):
        return


def _numbered(on_progress: OnProgress, number: str) -> OnProgress:
    """A watch that also tells which of how many pieces is meant."""

    def numbered(what: str, done: int, total: int, check: ValidationCheck | None) -> None:
        on_progress(f"{number} {what}", done, total, check)

    return numbered


def _telling(line: Connection) -> OnProgress:
    """A watch that tells of checks and ends at once, and of other progress a few times a second."""
    told = 0.0

    def on_progress(what: str, done: int, total: int, check: ValidationCheck | None) -> None:
        nonlocal told
        now = time.perf_counter()
        if check is not None or done >= total or now - told > SECONDS_BETWEEN_TELLING:
            told = now
            line.send((what, done, total, check))

    return on_progress

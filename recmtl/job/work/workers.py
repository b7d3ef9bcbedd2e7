"""Do the work items of a study, in this process or in several: the same results, sooner.

Every worker process opens the problem for itself; the arrays of an encoded log are mapped, so that
processes share their memory. A work item leaves its result in the study's folder, and only progress
travels back. `progress_display` in `recmtl.job.console` shows it.
"""

import os
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from typing import Any, TypeAlias

import torch

from recmtl.errors import RecmtlError
from recmtl.interrupts import without_signals
from recmtl.job.problem_kind import ProblemKind
from recmtl.job.study import C, P, Study
from recmtl.job.work.items import WorkItem, with_needed
from recmtl.masking import mask
from recmtl.train.config import Config
from recmtl.train.loop import OnProgress, silent
from recmtl.train.training_state import ValidationCheck

__all__ = ["complete", "cores"]

# More processes than this are an explicit choice: each holds PyTorch and its own optimiser state.
MOST_BY_DEFAULT = 8
SECONDS_BETWEEN_MESSAGES = 0.2

Progress: TypeAlias = tuple[str, int, int, ValidationCheck | None]
"""The arguments of `OnProgress`, on their way from a worker process."""


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def complete(
    study: Study[P, C], items: Iterable[WorkItem], finished: Callable[[WorkItem], None]
) -> None:
    """Do what is missing of the work items, each after the one it needs.

    Args:
        study: whose work they are.
        items: models to train, or searches; what they need is added.
        finished: called with each work item as soon as it is done.

    Raises:
        ConfigError: the study's budget cannot be met by some network; nothing is begun.
        RecmtlError: a work item failed, or its process was killed. Work items under way are
            finished first, so that their work is not lost; no other is begun.
    """
    items = with_needed(items)
    study.check(items)
    missing = [item for item in items if not study.has(item)]
    processes = min(study.config.workers or min(cores(), MOST_BY_DEFAULT), len(missing))
    if processes > 1:
        _Crew(study, missing, finished=finished).work(processes)
        return
    for number, item in enumerate(missing, start=1):
        on_progress = _numbered(study.on_progress, f"{number}/{len(missing)}")
        replace(study, on_progress=on_progress).do(item)
        finished(item)


@dataclass
class _Worker:
    """A process, the connection to it, and the work item that it is doing."""

    process: BaseProcess
    connection: Connection
    on_progress: OnProgress = silent
    item: WorkItem | None = None


class _Crew:
    """Processes that take one work item after another."""

    def __init__(
        self,
        study: Study[Any, Any],
        missing: Sequence[WorkItem],
        *,
        finished: Callable[[WorkItem], None],
    ) -> None:
        self.study, self.missing, self.finished = study, list(missing), finished
        self.total = len(missing)
        self.workers: list[_Worker] = []
        self.fault: Exception | None = None

    def work(self, processes: int) -> None:
        """Do all work items; the processes end with this call, however it ends."""
        try:
            self.workers = [_start(self.study) for _ in range(processes)]
            self._hand_out()
            while busy := [worker for worker in self.workers if worker.item is not None]:
                ready = wait([worker.connection for worker in busy])
                done = [self._receive(worker) for worker in busy if worker.connection in ready]
                # `finished` takes a moment, in which no process should wait for work.
                self._hand_out()
                for item in done:
                    if item is not None:
                        self.finished(item)
        finally:
            for worker in self.workers:
                worker.process.kill()  # what it writes is whole or absent
                worker.process.join()
                worker.connection.close()
        if self.fault is not None:
            raise self.fault

    def _hand_out(self) -> None:
        """Give every idle worker an item that waits for none, unless one has failed."""
        for worker in self.workers:
            if worker.item is not None or self.fault is not None:
                continue
            undone = {*self.missing, *(w.item for w in self.workers if w.item is not None)}
            ready = [item for item in self.missing if item.needs not in undone]
            if ready:
                worker.item = ready[0]
                self.missing.remove(worker.item)
                number = self.total - len(self.missing)
                worker.on_progress = _numbered(self.study.on_progress, f"{number}/{self.total}")
                # If the process has ended, the next receive finds its connection closed.
                with suppress(ConnectionError):
                    worker.connection.send(worker.item)

    def _receive(self, worker: _Worker) -> WorkItem | None:
        """Take a message; returns the work item if the message says that it is done."""
        item = worker.item
        try:
            message: Progress | Exception | None = worker.connection.recv()
        except (EOFError, ConnectionError):
            worker.process.join()
            message = RecmtlError(
                f"{item}: its process was ended (exit code {worker.process.exitcode}), perhaps "
                "for want of memory; run again to go on, with fewer workers in the configuration"
            )
        if isinstance(message, tuple):
            worker.on_progress(*message)
            return None
        worker.item = None
        if message is None:
            return item
        self.fault = self.fault or message
        return None


def _start(study: Study[Any, Any]) -> _Worker:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    arguments = (theirs, study.folder, study.kind, study.config)
    process = context.Process(target=_serve, args=arguments, daemon=True)
    # They may reach all processes of a terminal or a service; the first one ends the others.
    with without_signals():
        process.start()
    theirs.close()
    return _Worker(process, ours)


def _serve(
    connection: Connection, folder: Path, kind: ProblemKind[Any, Any], config: Config
) -> None:
    """Do the work items that arrive until the connection is closed."""
    Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(config.threads or 1)
    study: Study[Any, Any] | None = None
    try:
        while True:
            item = connection.recv()
            try:
                if study is None:
                    problem = kind.open(folder, config)
                    study = Study(folder, kind, problem, config, _sending(connection))
                study.do(item)
            except ConnectionError:
                raise
            except RecmtlError as error:
                connection.send(error)
            except Exception:
                connection.send(RuntimeError(mask(f"{item}:\n{traceback.format_exc()}")))
            else:
                connection.send(None)
    except (EOFError, ConnectionError):
        return


def _end_with_parent() -> None:
    """End this process with the first one, however that ends: the folder is then another job's."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _numbered(on_progress: OnProgress, number: str) -> OnProgress:
    """Progress whose name begins with the number of its work item, such as `3/12`."""

    def numbered(what: str, done: int, total: int, check: ValidationCheck | None) -> None:
        on_progress(f"{number} {what}", done, total, check)

    return numbered


def _sending(connection: Connection) -> OnProgress:
    """Send checks and the end of a work item at once, other progress a few times a second."""
    sent = 0.0

    def on_progress(what: str, done: int, total: int, check: ValidationCheck | None) -> None:
        nonlocal sent
        now = time.perf_counter()
        if check is not None or done >= total or now - sent > SECONDS_BETWEEN_MESSAGES:
            sent = now
            connection.send((what, done, total, check))

    return on_progress

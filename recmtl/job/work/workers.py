"""Do the work items of a study, in this process or in several: the same results, sooner.

Every worker process opens the problem for itself; the arrays of an encoded log are mapped, so that
processes share their memory. A work item leaves its result in the study's folder, and only progress
travels back. `progress_display` in `recmtl.job.console` shows it.
"""

import math
import os
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeAlias

import torch

from recmtl.engines.child_process import start_child
from recmtl.engines.team import team
from recmtl.errors import RecmtlError
from recmtl.job.problem_kind import ProblemKind
from recmtl.job.study import C, P, Study
from recmtl.job.work.agenda import Agenda
from recmtl.job.work.forecast import Forecast
from recmtl.job.work.items import WorkItem, with_needed
from recmtl.job.work.priority import groups_of
from recmtl.job.work.team_work import do_together
from recmtl.masking import mask
from recmtl.ranks import RanksStoppedError, ranks
from recmtl.train.config import Config
from recmtl.train.loop import OnProgress
from recmtl.train.training_state import ValidationCheck

__all__ = ["complete", "cores", "processes_of"]

# More processes than this are an explicit choice: each holds PyTorch and its own optimiser state.
MOST_BY_DEFAULT = 8
SECONDS_BETWEEN_MESSAGES, SECONDS_BETWEEN_OUTLOOKS, LONGEST_WAIT = 0.2, 0.5, 1.0

Progress: TypeAlias = tuple[str, int, int, ValidationCheck | None]
"""The arguments of `OnProgress`, on their way from a worker process."""


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def study_agenda(
    study: Study[Any, Any], items: Sequence[WorkItem], *, done: Sequence[WorkItem], processes: int
) -> Agenda:
    """What comes next of a study's items: what the verdict rests on, then more evidence."""
    rows, tasks, config = len(study.problem.train), len(study.problem.tasks), study.config
    forecast = Forecast(config, tasks=tasks, rows=rows, seconds_a_unit=study.limit.unit)
    groups, until = groups_of(items, config), study.limit.until
    return Agenda(groups, forecast, done=done, processes=processes, until=until)


def complete(
    study: Study[P, C],
    items: Iterable[WorkItem],
    finished: Callable[[WorkItem], None],
    agenda_of: Callable[..., Agenda] = study_agenda,
) -> None:
    """Do what is missing of the work items, each after the one it needs.

    Args:
        study: whose work they are; worker processes open one of its class.
        items: models to train, or searches; what they need is added.
        finished: called with each work item as soon as it is done.
        agenda_of: makes their agenda, see `study_agenda`.

    Raises:
        ConfigError: the study's budget cannot be met by some network; nothing is begun.
        RecmtlError: a work item failed, or its process was killed. Work items under way are
            finished first, so that their work is not lost; no other is begun.
    """
    items = with_needed(items, study.config)
    study.check(items)
    done = [item for item in items if study.has(item)]
    most = 1 if team() is not None else processes_of(study.config)
    processes = min(most, len(items) - len(done))
    if processes < 1:
        return
    watch = _Watch(study, agenda_of(study, items, done=done, processes=processes))
    if processes > 1:
        _Crew(study, watch, finished=finished).work(processes)
        return
    while (item := watch.agenda.take()) is not None:
        try:
            do_together(replace(study, on_progress=partial(watch.move, item, stops=True)), item)
        except (_TimeIsUp, RanksStoppedError):
            return
        watch.finish(item)
        finished(item)


def processes_of(config: Config) -> int:
    """The most processes that do the work items of a study."""
    return config.workers or min(cores(), MOST_BY_DEFAULT)


class _TimeIsUp(Exception):
    """A piece that nothing depends on is given up; what it has saved is gone on with next time."""


class _Watch:
    """What comes next, and what is shown of it.

    Args:
        study: whose items they are.
        agenda: of the items.
    """

    def __init__(self, study: Study[Any, Any], agenda: Agenda) -> None:
        self.study, self.agenda, self.shown = study, agenda, -math.inf
        self.show()

    def move(
        self,
        item: WorkItem,
        what: str,
        done: int,
        total: int,
        check: ValidationCheck | None,
        *,
        stops: bool = False,
    ) -> None:
        """Take the progress of an item, and end an item that is not needed once time is up."""
        self.agenda.forecast.move(item, what, done, total)
        self.study.on_progress(what, done, total, check)
        if time.monotonic() - self.shown > SECONDS_BETWEEN_OUTLOOKS:
            self.show()
        if stops and self.agenda.is_late and not self.agenda.is_needed(item):
            if ranks().count == 1:
                raise _TimeIsUp
            ranks().stops = True

    def finish(self, item: WorkItem) -> None:
        """Note that an item is done, and show how far the study is then."""
        self.agenda.finish(item)
        self.show()

    def show(self) -> None:
        """Show how far the study is."""
        self.shown = time.monotonic()
        self.study.on_outlook(self.agenda.outlook())


@dataclass
class _Worker:
    """A process, the connection to it, and the work item that it is doing."""

    process: BaseProcess
    connection: Connection
    item: WorkItem | None = None


class _Crew:
    """Processes that take one work item after another."""

    def __init__(
        self, study: Study[Any, Any], watch: _Watch, *, finished: Callable[[WorkItem], None]
    ) -> None:
        self.study, self.watch, self.finished = study, watch, finished
        self.workers: list[_Worker] = []
        self.fault: Exception | None = None

    def work(self, processes: int) -> None:
        """Do all work items; the processes end with this call, however it ends."""
        try:
            self.workers = [_start(self.study) for _ in range(processes)]
            self._hand_out()
            while busy := self._worth_waiting_for():
                ready = wait([worker.connection for worker in busy], timeout=LONGEST_WAIT)
                done = [self._receive(worker) for worker in busy if worker.connection in ready]
                # `finished` takes a moment, in which no process should wait for work.
                self._hand_out()
                for item in done:
                    if item is not None:
                        self.watch.show()
                        self.finished(item)
        finally:
            for worker in self.workers:
                worker.process.kill()  # what it writes is whole or absent
                worker.process.join()
                worker.connection.close()
        if self.fault is not None:
            raise self.fault

    def _worth_waiting_for(self) -> list[_Worker]:
        """The processes at work; none once time is up and nothing needed is under way."""
        busy = [worker for worker in self.workers if worker.item is not None]
        agenda = self.watch.agenda
        needed = any(agenda.is_needed(worker.item) for worker in busy if worker.item is not None)
        return busy if needed or not agenda.is_late else []

    def _hand_out(self) -> None:
        """Give every idle worker an item that waits for none, unless one has failed."""
        for worker in self.workers:
            if worker.item is not None or self.fault is not None:
                continue
            worker.item = self.watch.agenda.take()
            if worker.item is not None:
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
            if item is not None:
                self.watch.move(item, *message)
            return None
        worker.item = None
        if message is None and item is not None:
            self.watch.agenda.finish(item)
            return item
        self.fault = self.fault or message
        return None


def _start(study: Study[Any, Any]) -> _Worker:
    ours, theirs = Pipe()
    process = start_child(_serve, theirs, type(study), study.folder, study.kind, study.config)
    theirs.close()
    return _Worker(process, ours)


def _serve(
    connection: Connection,
    study_class: type[Study[Any, Any]],
    folder: Path,
    kind: ProblemKind[Any, Any],
    config: Config,
) -> None:
    """Do the work items that arrive until the connection is closed."""
    torch.set_num_threads(config.threads or 1)
    study: Study[Any, Any] | None = None
    try:
        while True:
            item = connection.recv()
            try:
                if study is None:
                    problem = kind.open(folder, config)
                    study = study_class(folder, kind, problem, config, _sending(connection))
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

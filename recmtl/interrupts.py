"""Ctrl-C and SIGTERM end a script within two seconds: one line, and the exit status of a shell.

The first signal is raised in the main thread, so that files are closed and locks given back. A call
into compiled code does not return for it, and a library may swallow it: after a second, or at the
next signal, a thread ends the process. Either way nothing that was finished is lost, because
whatever recmtl writes is whole or absent.

Imports nothing that takes time: a script is interruptible before it loads anything else.
"""

import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import NoReturn

from recmtl.masking import mask

__all__ = [
    "Interrupted",
    "advise",
    "answer_signals",
    "at_forced_end",
    "is_interrupted",
    "leave",
    "without_signals",
]

GRACE_SECONDS = 1.0
"""How long the main thread may take to end by itself."""
SIGNALS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class Interrupted(KeyboardInterrupt):
    """Raised in the main thread by the first SIGINT or SIGTERM."""


class _Script:
    """What the handler, the thread and the main thread of a script share."""

    def __init__(self) -> None:
        self.remedy = "run the same command again"
        self.received: int | None = None
        self.status: int | None = None
        self.ending = threading.Lock()
        self.cleanups: list[Callable[[], None]] = []


_script = _Script()


def advise(remedy: str) -> None:
    """Set what the line of an interruption says about how to go on."""
    _script.remedy = remedy


def is_interrupted() -> bool:
    """Whether a signal has come: errors that follow from it are not worth a line."""
    return _script.received is not None


@contextmanager
def at_forced_end(cleanup: Callable[[], None]) -> Iterator[None]:
    """Call `cleanup` if the process is ended by force within the block, which then does not end."""
    _script.cleanups.append(cleanup)
    try:
        yield
    finally:
        _script.cleanups.remove(cleanup)


@contextmanager
def without_signals() -> Iterator[None]:
    """Hold signals back within the block; processes that are started in it never get them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def answer_signals() -> None:
    """Answer SIGINT and SIGTERM from here on; for the first line of a script.

    They end the process with 128 and the signal's number: 130 after Ctrl-C, 143 after SIGTERM. A
    signal that the process was started to ignore, as by `nohup`, stays ignored.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _receive)
    threading.Thread(target=_end_in_time, args=(reader,), daemon=True).start()
    sys.excepthook, sys.unraisablehook = _uncaught, _unraisable


def leave(status: int) -> NoReturn:
    """End a script whose work is done; a signal that comes now cannot spoil that."""
    _script.status = status
    sys.exit(status)


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    # Compiled code that is interrupted may raise an error of its own.
    if is_interrupted():
        _end()
    sys.stderr.write(mask("".join(traceback.format_exception(kind, error, trace))))


def _unraisable(lost: "sys.UnraisableHookArgs") -> None:
    # Python lets no error out of a weak reference's callback: the watcher ends the process then.
    if not is_interrupted():
        sys.__unraisablehook__(lost)


def _receive(number: int, frame: FrameType | None) -> None:
    if _script.status is not None:
        os._exit(_script.status)
    if _script.received is None:
        _script.received = number
        raise Interrupted


def _end_in_time(reader: int) -> None:
    """Wait for a signal, then for the main thread, then end the process."""
    number = 0
    while number not in set(SIGNALS):
        number = os.read(reader, 1)[0]
    select.select([reader], [], [], GRACE_SECONDS)
    if _script.status is not None:
        os._exit(_script.status)
    # Held by a call into compiled code, the main thread has not noticed the signal.
    _script.received = _script.received or number
    _end(by_force=True)


def _end(*, by_force: bool = False) -> NoReturn:
    """Say how to go on, end all processes, and this one; the first call in any thread counts."""
    _script.ending.acquire()  # for ever, if another thread is about to end the process
    number = signal.Signals(_script.received or signal.SIGTERM)
    with suppress(OSError, ValueError):
        cursor = "\x1b[?25h\n" if by_force and sys.stderr.isatty() else ""
        sys.stderr.write(f"{cursor}{SIGNALS[number]}: {_script.remedy}\n")
        sys.stderr.flush()
    _kill_children()
    for cleanup in _script.cleanups if by_force else ():
        with suppress(Exception):
            cleanup()
    os._exit(128 + number)


def _kill_children() -> None:
    """End the worker processes, if there can be any."""
    multiprocessing = sys.modules.get("multiprocessing")
    for process in multiprocessing.active_children() if multiprocessing else ():
        process.kill()

"""One folder, one job: a lock file that says who holds the folder and since when.

The system's lock on the file ends with its process, however that ends. The words in the file tell
others whom to wait for. They outlive a killed job: on the same machine the next job takes the
folder over. Whether a job still runs on another machine cannot be seen, so that a person decides.
"""

import fcntl
import json
import logging
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from recmtl.errors import DataError
from recmtl.interrupts import at_forced_end

__all__ = ["LOCK", "hold_folder"]

LOCK = ".lock"
"""Name of the lock file in the folder."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Owner:
    """Who holds a folder.

    Attributes:
        pid: number of the process.
        host: name of its machine.
        command: name of its program.
        started: when it took the folder, in ISO form.
    """

    pid: int
    host: str
    command: str
    started: str

    @classmethod
    def read(cls, file: TextIO) -> "_Owner | None":
        """The owner that a lock file names; None if it names none, or was cut short."""
        file.seek(0)
        try:
            return cls(**json.loads(file.read()))
        except (ValueError, TypeError):
            return None

    @classmethod
    def here(cls) -> "_Owner":
        """This process."""
        started = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(os.getpid(), platform.node(), Path(sys.argv[0]).name, started)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host} ({self.command}, begun {_age(self.started)} ago)"


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Make a folder, and hold it for this job until the block ends.

    A folder that was made here and is empty at the end is removed again.

    Raises:
        DataError: another job holds it.
        OSError: it cannot be made or written.
    """
    with ExitStack() as stack:
        if not folder.exists():
            stack.callback(_remove_if_empty, folder)
        folder.mkdir(parents=True, exist_ok=True)
        release = _lock(folder)
        stack.callback(release)
        stack.enter_context(at_forced_end(release))
        yield


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _lock(folder: Path) -> Callable[[], None]:
    """Lock a folder; returns what unlocks it."""
    path = folder / LOCK
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            if not _is_locked_for_us(file, folder):
                raise DataError(
                    f"{folder}: another job writes there now: {_Owner.read(file) or 'just begun'}; "
                    "wait for it or choose another folder"
                )
            # The owner before may have removed the file between its opening and its locking.
            if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
                _refuse_or_take_over(folder, _Owner.read(file))
                break
        except BaseException:
            file.close()
            raise
        file.close()
    file.seek(0)
    file.truncate()
    file.write(json.dumps(asdict(_Owner.here())) + "\n")
    file.flush()

    def release() -> None:
        with suppress(OSError):
            path.unlink()
        file.close()

    return release


def _is_locked_for_us(file: TextIO, folder: Path) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        # A file system without locks: what remains is the word in the file.
        owner = _Owner.read(file)
        return owner is None or owner.host != platform.node() or not _runs(owner.pid)
    return True


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _refuse_or_take_over(folder: Path, owner: _Owner | None) -> None:
    if owner is None:
        return
    if owner.host != platform.node():
        raise DataError(
            f"{folder}: {owner} holds it, and whether it still runs cannot be seen from here; "
            f"if it has ended, delete {folder / LOCK}"
        )
    logger.warning("%s: taken over from %s, which was ended before its end", folder, owner)


def _age(started: str) -> str:
    """The time since a moment, in the largest unit of which it has two."""
    try:
        seconds = (datetime.now(UTC) - datetime.fromisoformat(started)).total_seconds()
    except (ValueError, TypeError):
        return "some time"
    for size, unit in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} seconds"

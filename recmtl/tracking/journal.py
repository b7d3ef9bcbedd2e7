"""The journal: everything that a job has to log, as lines of JSON in its output folder.

A job writes here and nowhere else, so that a tracker which fails costs nothing: what it has not
taken is still in the file, and `recmtl log` feeds it later. A line is an event:

    run     key of the run that it belongs to
    event   start, params, metrics, tags, text, file, model or end
    ...     the content, as `recmtl.tracking.run` writes it

Nothing in the file is executed, and it names only files of its own folder.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from recmtl.errors import ConfigError
from recmtl.masking import masked

__all__ = ["JOURNAL", "Event", "Journal", "now_ms"]

JOURNAL = "tracking.jsonl"

Event: TypeAlias = dict[str, Any]


class Journal:
    """The events of the runs that wrote to one output folder.

    Args:
        out: the output folder; it is made with the first event.

    Attributes:
        path: of the file.
        fault: why an event could not be written, as on a full disk; empty if all are there.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.path = out / JOURNAL
        self.fault = ""

    def append(self, run: str, event: str, **content: Any) -> None:
        """Add an event, with what is secret in its texts masked.

        One write of one line: whoever reads at the same time sees the whole event or nothing.
        """
        line = json.dumps({"run": run, "event": event, **masked(content)}) + "\n"
        try:
            self._write(line.encode())
        except OSError as fault:
            self.fault = f"{self.path}: cannot be written ({fault.strerror})"

    def _write(self, line: bytes) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            # A killed process may have left half a line, which must not swallow this one.
            torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            os.write(descriptor, b"\n" * torn + line)
        finally:
            os.close(descriptor)

    def read(self, offset: int = 0) -> tuple[list[Event], int]:
        """The events from a byte on, and the byte where the next one will begin."""
        try:
            with self.path.open("rb") as file:
                file.seek(offset)
                text = file.read()
        except FileNotFoundError:
            return [], offset
        whole = text[: text.rfind(b"\n") + 1]
        return list(_events(whole)), offset + len(whole)

    def unfinished(self) -> list[str]:
        """Keys of the runs that have begun and not ended, the innermost first."""
        keys: dict[str, None] = {}
        for event in self.read()[0]:
            if event["event"] == "start":
                keys[event["run"]] = None
            elif event["event"] == "end":
                keys.pop(event["run"], None)
        return list(reversed(keys))

    def name_of(self, path: Path) -> str:
        """The name under which an event names a file or folder of the output folder.

        Raises:
            ConfigError: it lies elsewhere.
        """
        try:
            return path.resolve().relative_to(self.out.resolve()).as_posix()
        except ValueError:
            raise ConfigError(
                f"{path}: does not lie in {self.out}, so it cannot be logged later; copy it there"
            ) from None

    def file(self, name: str) -> Path:
        """The file or folder of an event; see `name_of`.

        Raises:
            ConfigError: the name leads out of the output folder.
        """
        path = self.out / name
        self.name_of(path)
        return path


def now_ms() -> int:
    """Milliseconds since 1970, in which events and MLflow count."""
    return int(time.time() * 1000)


def _events(text: bytes) -> Iterator[Event]:
    """The events of whole lines; half a line of a killed process is no event."""
    for line in text.split(b"\n"):
        with suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict) and {"run", "event"} <= event.keys():
                yield event

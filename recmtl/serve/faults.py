"""What the system says when it cannot write, in one line that names the place and the remedy."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recmtl.errors import FULL, REMEDIES_OF_WRITING, DataError, RecmtlError

__all__ = ["write_faults"]

REMEDIES = {
    **REMEDIES_OF_WRITING,
    errno.EEXIST: REMEDIES_OF_WRITING[errno.ENOTDIR],
    errno.EISDIR: "a folder is in the way: name a file",
}


@contextmanager
def write_faults(
    place: object, *, kind: type[RecmtlError] = DataError, go_on: str = ""
) -> Iterator[None]:
    """Raise errors of the system, while something is written to `place`, as one line.

    Args:
        place: what is written.
        kind: the class of the error.
        go_on: what to do once a full disk has room again.

    Raises:
        RecmtlError: of the class `kind`.
    """
    try:
        yield
    except UnicodeEncodeError:
        text = str(place).encode(errors="backslashreplace").decode()
        fault = "cannot write (a name or a text in it is not Unicode)"
        raise kind(f"{text}: {fault}; correct or leave out that text") from None
    except OSError as error:
        file = Path(str(error.filename or place))
        reason, remedy = error.strerror or str(error), REMEDIES.get(error.errno or 0, "")
        if error.errno in FULL:
            reason = f"{reason}, {_free_bytes(file):,} bytes are free"
            remedy = f"make room there{go_on}"
        line = f"{file}: cannot write ({reason}); {remedy or 'check that place'}"
        raise kind(" ".join(line.split())) from None


def _free_bytes(path: Path) -> int:
    """Free bytes of the disk that holds a path, or will."""
    there = next((place for place in (path, *path.parents) if os.path.exists(place)), Path())
    return shutil.disk_usage(there).free

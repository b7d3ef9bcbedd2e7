"""The end of a script that fails: one line for what is wrong outside of recmtl, and status 2."""

import traceback
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from recmtl.errors import outside_error
from recmtl.interrupts import advise, is_interrupted
from recmtl.masking import mask

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["ErrorLine", "advise_to_go_on"]


def advise_to_go_on(option: str, out: Path) -> None:
    """Let the line of an interruption name the output folder, in which the job goes on."""
    how = "again" if option else f"with --out {out}"
    advise(f"run the same command {how} to go on; what is finished is kept in {out}")


class ErrorLine:
    """Turns an error of the user or of the world outside into one red line; `status` is 2 then.

    These are the errors that recmtl raises on purpose, and those of the system and of libraries
    that tell of files, networks and stores (`recmtl.errors.outside_error`). Any other exception
    passes: it is a mistake in recmtl, and its traceback is wanted.

    Args:
        console: where the line is written.
        debug: write the traceback before the line.

    Attributes:
        status: of the process: 0, or 2 after an error.
    """

    def __init__(self, console: "Console", *, debug: bool = False) -> None:
        self.console, self.debug = console, debug
        self.status = 0

    def __enter__(self) -> "ErrorLine":
        """Nothing to open."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        """Print the line."""
        # What fails because of a signal is told by the line of the interruption.
        shown = None if error is None or is_interrupted() else outside_error(error)
        if error is None or shown is None:
            return False
        if self.debug:
            self.console.file.write(mask("".join(traceback.format_exception(error))))
        # Names of files may be no Unicode.
        line = mask(f"error: {shown}").encode(errors="backslashreplace").decode()
        self.console.print(line, style="red", markup=False, highlight=False, soft_wrap=True)
        self.status = 2
        return True

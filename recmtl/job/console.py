"""How a job shows its progress: how far the whole is, and what is under way.

On a terminal as bars, in a notebook as a table that changes in its place, elsewhere as lines that
are rare enough to be read: one for a check or an end, and one for the whole every half a minute.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from importlib import import_module
from typing import Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from recmtl.job.work.agenda import Outlook
from recmtl.serve.batch.parquet import rows_progress
from recmtl.train.training_state import ValidationCheck

__all__ = ["ProgressDisplay", "length_of_time", "progress_display"]

SHOWN_METRICS = ("auc", "r2", "accuracy", "f1", "miou", "abs", "mean", "gauc")
"""Of each task the first of these that it has."""
SECONDS_BETWEEN_LINES, SECONDS_BETWEEN_OUTLOOKS, SECONDS_BETWEEN_TABLES = 10.0, 30.0, 0.5


class ProgressDisplay(Protocol):
    """What shows the progress of a job: called with that of a piece, as an `OnProgress`."""

    def __call__(self, what: str, done: int, total: int, check: ValidationCheck | None) -> None:
        """Show how far a piece is."""

    def outlook(self, outlook: Outlook) -> None:
        """Show how far the whole study is."""


@contextmanager
def progress_display(console: Console, *, quiet: bool = False) -> Iterator[ProgressDisplay]:
    """What shows pieces under way, their newest metrics, and the whole study, while it is open.

    Several pieces may be under way at once, each under a name of its own.

    Args:
        console: where it is shown.
        quiet: shows nothing.
    """
    if quiet:
        yield _Nothing()
    elif console.is_jupyter:
        with _Table() as table:
            yield table
    elif console.is_terminal:
        with _Bars(console) as bars:
            yield bars
    else:
        yield _Lines(console)


def length_of_time(seconds: float) -> str:
    """A length of time in its two largest units.

    >>> length_of_time(8.2), length_of_time(75), length_of_time(7265), length_of_time(200_000)
    ('8 s', '1 min 15 s', '2 h 1 min', '2 d 7 h')
    """
    rest, parts = round(seconds), list[str]()
    for name, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append(f"{count} {name}" if count else "")
    return " ".join(part for part in parts[:2] if part) or "0 s"


class _Nothing:
    def __call__(self, what: str, done: int, total: int, check: ValidationCheck | None) -> None:
        """Show nothing."""

    def outlook(self, outlook: Outlook) -> None:
        """Show nothing."""


class _Bars:
    """A bar for the whole study above a bar for each piece under way."""

    def __init__(self, console: Console) -> None:
        self.whole = Progress(TextColumn("{task.description}"), BarColumn(), console=console)
        self.pieces, self.bars = rows_progress(console), dict[str, TaskID]()
        self.study: TaskID | None = None
        shown = Group(self.whole, self.pieces)
        self.live = Live(shown, console=console, refresh_per_second=5)

    def __enter__(self) -> "_Bars":
        self.live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.live.stop()

    def __call__(self, what: str, done: int, total: int, check: ValidationCheck | None) -> None:
        if what not in self.bars:
            self.bars[what] = self.pieces.add_task(what, total=total)
        bar = self.bars[what]
        self.pieces.update(bar, completed=done, total=total)
        if check is not None:
            self.pieces.update(bar, description=_with_metrics(what, check))
        if done >= total:
            # A finished bar makes room for the others.
            self.pieces.remove_task(bar)
            del self.bars[what]

    def outlook(self, outlook: Outlook) -> None:
        if self.study is None:
            self.study = self.whole.add_task("", total=1.0)
        text = _outlook_text(outlook)
        self.whole.update(self.study, completed=outlook.share, description=text)
        if outlook.done == outlook.pieces:
            for bar in self.bars.values():
                self.pieces.remove_task(bar)
            self.bars.clear()


@dataclass
class _Piece:
    """A piece under way: since when, from which row on, and what was shown of it."""

    began: float
    first: int
    done: int
    total: int
    shown: float
    metrics: str = ""

    @property
    def rows_a_second(self) -> float:
        """What this process did of it, in its time; 0 as long as that is nothing."""
        seconds = time.perf_counter() - self.began
        return max(0, self.done - self.first) / seconds if seconds > 0 else 0.0


@dataclass
class _Pieces:
    """The pieces under way, by name."""

    by_name: dict[str, _Piece] = field(default_factory=dict)

    def move(self, what: str, done: int, total: int, check: ValidationCheck | None) -> _Piece:
        """Note the progress of a piece, which is forgotten at its end."""
        now = time.perf_counter()
        piece = self.by_name.get(what)
        if piece is None or done < piece.done:  # new, or the next one of its name
            piece = self.by_name[what] = _Piece(now, done, done, total, now)
        piece.done, piece.total = done, total
        if check is not None:
            piece.metrics = _with_metrics("", check)
        if done >= total:
            del self.by_name[what]
        return piece


class _Lines:
    """Plain lines for logs."""

    def __init__(self, console: Console) -> None:
        self.console, self.pieces = console, _Pieces()
        self.shown = -SECONDS_BETWEEN_OUTLOOKS

    def __call__(self, what: str, done: int, total: int, check: ValidationCheck | None) -> None:
        """Print a check, an end, or a sign of life, rarely enough to be read."""
        piece = self.pieces.move(what, done, total, check)
        now, is_end = time.perf_counter(), done >= total
        if check is None and not is_end and now - piece.shown < SECONDS_BETWEEN_LINES:
            return
        piece.shown = now
        speed = piece.rows_a_second
        pace = f", {speed:,.0f} rows/s" if speed > 0 else ""
        left = (
            f", {length_of_time((total - done) / speed)} left" if speed > 0 and not is_end else ""
        )
        self._print(f"{what}{piece.metrics}: {done:,}/{total:,} rows{pace}{left}")

    def outlook(self, outlook: Outlook) -> None:
        """Print how far the whole study is, twice a minute and at its end."""
        now = time.perf_counter()
        is_end = outlook.done == outlook.pieces
        if now - self.shown >= SECONDS_BETWEEN_OUTLOOKS or is_end:
            self.shown = now
            self._print(_outlook_text(outlook))

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)


class _Table:
    """A table in a notebook's output, which changes in its place.

    Args:
        show: shows HTML, and returns what puts other HTML in its place; IPython's if None.
    """

    def __init__(self, show: Callable[[str], Callable[[str], None]] | None = None) -> None:
        self.show, self.pieces = show or _in_notebook, _Pieces()
        self.newest, self.shown = "", 0.0
        self.share = 0.0
        self.update: Callable[[str], None] | None = None

    def __enter__(self) -> "_Table":
        return self

    def __exit__(self, *error: object) -> None:
        self._draw()

    def __call__(self, what: str, done: int, total: int, check: ValidationCheck | None) -> None:
        self.pieces.move(what, done, total, check)
        self._draw_if_due()

    def outlook(self, outlook: Outlook) -> None:
        self.newest, self.share = _outlook_text(outlook), outlook.share
        self._draw_if_due()

    def _draw_if_due(self) -> None:
        if time.perf_counter() - self.shown >= SECONDS_BETWEEN_TABLES:
            self._draw()

    def _draw(self) -> None:
        self.shown = time.perf_counter()
        rows = [_table_row(self.newest, self.share)] if self.newest else []
        for name, piece in self.pieces.by_name.items():
            rows.append(_table_row(f"{name}{piece.metrics}", piece.done / max(1, piece.total)))
        page = f"<table style='text-align:left'>{''.join(rows)}</table>"
        if self.update is None:
            self.update = self.show(page)
        else:
            self.update(page)


def _table_row(text: str, share: float) -> str:
    bar = f"<progress max='1' value='{min(share, 1.0):.3f}'></progress>"
    return f"<tr><td>{bar}</td><td style='text-align:left'>{escape(text)}</td></tr>"


def _in_notebook(page: str) -> Callable[[str], None]:
    # A notebook has loaded it; elsewhere it need not even be installed.
    notebook: Any = import_module("IPython.display")
    handle = notebook.display(notebook.HTML(page), display_id=True)

    def update(changed: str) -> None:
        handle.update(notebook.HTML(changed))

    return update


def _outlook_text(outlook: Outlook) -> str:
    """For instance `study: 12 of 38 pieces done, 31 % of the work, about 2 min 10 s left`."""
    text = f"study: {outlook.done} of {outlook.pieces} pieces done, {outlook.share:.0%} of the work"
    if outlook.done == outlook.pieces or outlook.seconds_left is None:
        return text
    return f"{text}, about {length_of_time(outlook.seconds_left)} left"


def _with_metrics(what: str, check: ValidationCheck) -> str:
    """For instance `searched-0 (click 0.712, watch_time 0.250)`."""
    parts = [
        f"{task} {next(metrics[name] for name in SHOWN_METRICS if name in metrics):.3f}"
        for task, metrics in check.metrics.items()
        if not metrics.keys().isdisjoint(SHOWN_METRICS)
    ]
    return f"{what} ({', '.join(parts)})"

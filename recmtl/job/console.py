"""How a job shows itself: a bar on a terminal, a line a check elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import TaskID

from recmtl.serve.batch.progress import rows_progress
from recmtl.train.loop import OnProgress, ValidationCheck

__all__ = ["progress_display"]

SHOWN = ("auc", "r2", "accuracy", "f1", "miou", "abs", "mean")
"""Of each task the first of these that it has."""


@contextmanager
def progress_display(console: Console) -> Iterator[OnProgress]:
    """A watch that shows rows done, rows a second, time left and the newest metrics."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    with rows_progress(console) as progress:
        bars: dict[str, TaskID] = {}

        def on_progress(what: str, done: int, total: int, check: ValidationCheck | None) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what, total=total)
            bar = bars[what]
            progress.update(bar, completed=done, total=total)
            if check is not None:
                progress.update(bar, description=_told(what, check))
            if done >= total:
                # Several may be under way at once; what is done makes room.
                progress.update(bar, visible=False)
                del bars[what]

        yield on_progress


class _Lines:
    """Plain lines for logs: one for each check, and a sign of life every ten seconds."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.began: dict[str, float] = {}
        self.told: dict[str, float] = {}

    def __call__(self, what: str, done: int, total: int, check: ValidationCheck | None) -> None:
        """Tell of progress, rarely enough to be read."""
        now = time.perf_counter()
        began = self.began.setdefault(what, now)
        finished = done >= total
        if check is None and not finished and now - self.told.setdefault(what, now) < 10.0:
            return
        self.told[what] = now
        speed = done / (now - began) if now > began else 0.0
        pace = f", {speed:,.0f} rows/s, {(total - done) / speed:.0f} s left" if speed > 0 else ""
        told = what if check is None else _told(what, check)
        self.console.print(
            f"{told}: {done:,}/{total:,} rows{pace}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        if finished:
            del self.began[what], self.told[what]


def _told(what: str, check: ValidationCheck) -> str:
    parts = [
        f"{task} {next(metrics[kind] for kind in SHOWN if kind in metrics):.3f}"
        for task, metrics in check.metrics.items()
        if not metrics.keys().isdisjoint(SHOWN)
    ]
    return f"{what} ({', '.join(parts)})"

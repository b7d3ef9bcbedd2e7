"""How a job shows its progress: bars on a terminal, a line for each check elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import TaskID

from recmtl.serve.batch.parquet import rows_progress
from recmtl.train.loop import OnProgress
from recmtl.train.training_state import ValidationCheck

__all__ = ["progress_display"]

SHOWN_METRICS = ("auc", "r2", "accuracy", "f1", "miou", "abs", "mean")
"""Of each task the first of these that it has."""
SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def progress_display(console: Console) -> Iterator[OnProgress]:
    """What shows rows done, rows a second, seconds left and the newest metrics while it is open.

    Several work items may be under way at once, each under a name of its own.
    """
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
                progress.update(bar, description=_with_metrics(what, check))
            if done >= total:
                # A finished bar makes room for the others.
                progress.update(bar, visible=False)
                del bars[what]

        yield on_progress


class _Lines:
    """Plain lines for logs: one for each check, and a sign of life every ten seconds."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.began: dict[str, float] = {}
        self.printed: dict[str, float] = {}

    def __call__(self, what: str, done: int, total: int, check: ValidationCheck | None) -> None:
        """Print progress, rarely enough to be read."""
        now = time.perf_counter()
        began = self.began.setdefault(what, now)
        quiet = now - self.printed.setdefault(what, now) < SECONDS_BETWEEN_LINES
        if check is None and done < total and quiet:
            return
        self.printed[what] = now
        speed = done / (now - began) if now > began else 0.0
        pace = f", {speed:,.0f} rows/s, {(total - done) / speed:.0f} s left" if speed > 0 else ""
        name = what if check is None else _with_metrics(what, check)
        line = f"{name}: {done:,}/{total:,} rows{pace}"
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)
        if done >= total:
            del self.began[what], self.printed[what]


def _with_metrics(what: str, check: ValidationCheck) -> str:
    """For instance `searched-0 (click 0.712, watch_time 0.250)`."""
    parts = [
        f"{task} {next(metrics[name] for name in SHOWN_METRICS if name in metrics):.3f}"
        for task, metrics in check.metrics.items()
        if not metrics.keys().isdisjoint(SHOWN_METRICS)
    ]
    return f"{what} ({', '.join(parts)})"

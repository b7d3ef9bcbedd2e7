"""How a job shows itself: a bar on a terminal, a line a check elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from recmtl.serve.progress import rows_progress
from recmtl.train.loop import Check, Watch

__all__ = ["watching"]


@contextmanager
def watching(console: Console) -> Iterator[Watch]:
    """A watch that shows rows done, rows a second, time left and the newest metrics."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    with rows_progress(console) as progress:
        bars: dict[str, int] = {}

        def watch(what: str, done: int, total: int, check: Check | None) -> None:
            if what not in bars:
                for bar in bars.values():
                    progress.update(bar, visible=False)  # type: ignore[arg-type]  # a NewType of int
                bars[what] = progress.add_task(what, total=total)
            bar = bars[what]
            progress.update(bar, completed=done, total=total)  # type: ignore[arg-type]
            if check is not None:
                progress.update(bar, description=_told(what, check))  # type: ignore[arg-type]
            if done >= total:
                del bars[what]

        yield watch


class _Lines:
    """Plain lines for logs: one for each check, and a sign of life every ten seconds."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.began: dict[str, float] = {}
        self.told = time.perf_counter()

    def __call__(self, what: str, done: int, total: int, check: Check | None) -> None:
        """Tell of progress, rarely enough to be read."""
        now = time.perf_counter()
        began = self.began.setdefault(what, now)
        finished = done >= total
        if check is None and not finished and now - self.told < 10.0:
            return
        self.told = now
        speed = done / max(now - began, 1e-9)
        left = (total - done) / max(speed, 1e-9)
        told = what if check is None else _told(what, check)
        self.console.print(
            f"{told}: {done:,}/{total:,} rows, {speed:,.0f} rows/s, {left:.0f} s left",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
        if finished:
            self.began.pop(what, None)


def _told(what: str, check: Check) -> str:
    kinds = ("auc", "r2")
    parts = [
        f"{task} {metrics[kind]:.3f}"
        for task, metrics in check.metrics.items()
        for kind in kinds
        if kind in metrics
    ]
    return f"{what} [{', '.join(parts)}]"

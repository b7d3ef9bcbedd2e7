"""Which work item of a study comes next, and how far the study is.

Without a time limit all items are done, the longest first, so that no process is left with a long
one at the end. With one, a group of items (`priority.groups_of`) is begun
only if by the forecast it ends in time beside what is begun already. This is decided anew whenever
a process would have nothing to do, when more is measured than before.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from recmtl.job.work.forecast import Forecast, makespan
from recmtl.job.work.items import WorkItem

__all__ = ["Agenda", "OnOutlook", "Outlook", "unseen"]

MARGIN = 1.15
"""What a piece is reckoned to take, as a multiple of the forecast."""


@dataclass(frozen=True)
class Outlook:
    """How far a study is.

    Attributes:
        done: its pieces that are done.
        pieces: the number of all that are to be done.
        share: of the work of these that is done, from 0 to 1.
        seconds_left: until all are done; None as long as no speed is known.
    """

    done: int
    pieces: int
    share: float
    seconds_left: float | None


OnOutlook = Callable[[Outlook], None]
"""Called with the outlook of a study whenever it may have changed."""


def unseen(outlook: Outlook) -> None:
    """An `OnOutlook` that does nothing."""


class Agenda:
    """The items of a study that are not done, in the order of their groups.

    Args:
        groups: all items, the most important group first.
        forecast: of their seconds.
        done: those that an earlier process did.
        processes: that do them.
        until: the end on the clock (`time.monotonic`) for everything but the first group.
    """

    def __init__(
        self,
        groups: Sequence[Sequence[WorkItem]],
        forecast: Forecast,
        *,
        done: Sequence[WorkItem],
        processes: int,
        until: float = math.inf,
    ) -> None:
        self.forecast, self.processes, self.until = forecast, processes, until
        self.done = list(done)
        self.core = set(groups[0] if groups else ())
        self.waiting = list[WorkItem]()
        self.groups = [[item for item in group if item not in done] for group in groups]
        if math.isinf(until):
            everything = [item for group in self.groups for item in group]
            self.waiting = sorted(everything, key=forecast.units, reverse=True)
            self.groups = []
        elif self.groups:
            self.waiting = self.groups.pop(0)

    @property
    def is_late(self) -> bool:
        """Whether the time is up, and only what the verdict rests on is worth going on with."""
        return time.monotonic() >= self.until

    def is_needed(self, item: WorkItem) -> bool:
        """Whether an item is done however late it is."""
        return item in self.core

    def take(self) -> WorkItem | None:
        """The next item that can begin, which the caller then does; None if none can now."""
        item = self._ready()
        while item is None and self._admit():
            item = self._ready()
        if item is not None:
            self.waiting.remove(item)
            self.forecast.begin(item)
        return item

    def finish(self, item: WorkItem) -> None:
        """Note that an item is done."""
        self.forecast.end(item)
        self.done.append(item)

    def outlook(self) -> Outlook:
        """How far the study is, as far as it is known what will be done."""
        forecast = self.forecast
        ahead = sum(forecast.units(item) for item in self.waiting)
        now = sum(forecast.units(item) for item in forecast.under_way)
        begun = sum(forecast.units(i) * forecast.share(i) for i in forecast.under_way)
        behind = sum(forecast.units(item) for item in self.done)
        pieces = len(self.done) + len(forecast.under_way) + len(self.waiting)
        share = (behind + begun) / max(behind + now + ahead, 1e-9)
        return Outlook(len(self.done), pieces, share, self._seconds(self.waiting))

    def _ready(self) -> WorkItem | None:
        undone = {*self.waiting, *self.forecast.under_way}
        config = self.forecast.config
        return next((i for i in self.waiting if undone.isdisjoint(i.needs(config))), None)

    def _admit(self) -> bool:
        """Let the most important group that ends in time wait for its turn; false if none does."""
        for group in self.groups:
            seconds = self._seconds([*self.waiting, *group])
            if seconds is not None and time.monotonic() + MARGIN * seconds <= self.until:
                self.groups.remove(group)
                self.waiting += group
                return True
        return False

    def _seconds(self, items: Sequence[WorkItem]) -> float | None:
        """The seconds until these and what is under way are done; None if no speed is known."""
        forecast = self.forecast
        left = {item: forecast.left(item) for item in forecast.under_way}
        whole = {item: forecast.seconds(item) for item in items}
        under_way = {item: seconds for item, seconds in left.items() if seconds is not None}
        taking = {item: seconds for item, seconds in whole.items() if seconds is not None}
        if len(under_way) < len(left) or len(taking) < len(whole):
            return None
        return makespan(self.processes, under_way, items, taking.__getitem__, forecast.config)

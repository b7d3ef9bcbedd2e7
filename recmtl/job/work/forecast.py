"""How long the work items of a study take: guessed from their kind, corrected by what is measured.

Before anything is measured only ratios are known: a training of a shared bottom is one unit, and
`UNITS` says how many units other pieces are. What has been done so far says how long a unit takes;
a piece of a kind that was measured in this process takes as long as that did. Speed is that of the
clock, so that it holds what parallel processes and other load take from each other.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from recmtl.job.work.items import WorkItem, network_and_sources, voters
from recmtl.train.config import Config

__all__ = ["Forecast", "Movement", "makespan"]

UNITS = {"shared_bottom": 1.0, "towers_apart": 1.0, "constant": 0.02}
OF_TASKS = {
    "single_task": 0.5,
    "embeddings_apart": 0.4,
    "lightgbm": 0.75,
    "logistic": 0.1,
    "stem": 1.25,
}
"""Units of a piece for each task."""
OTHER_NETWORK, SEARCH = 2.0, 2.5
RACE, RACE_OF_TASKS = 4.0, 2.0
"""Units of a race, and for each task: entrants are trained for a quarter, a half and the whole."""
RACED_KIND_OF_TASKS = 0.8
"""Units, for each task, of a network like the winner of a race, which is often the largest."""
LEFT_AFTER_RACE = 0.5
"""Share of a training that is left after the race of its seed, which may have done it all."""
PASSES_OF_A_RACE = 4.25
SURE = 0.05
"""Share of a piece from which on its own speed says how long the rest takes."""


@dataclass
class Movement:
    """A piece under way.

    Attributes:
        began: on the clock, in seconds.
        rows: that it has passed over since.
        newest: of every network of the piece, the row where it stands.
    """

    began: float
    rows: int = 0
    newest: dict[str, int] = field(default_factory=dict)


class Forecast:
    """Seconds that pieces take, are likely to take, and have left.

    Args:
        config: of the study.
        tasks: their number.
        rows: train rows.
        seconds_a_unit: as measured beforehand; None where nothing is known.
    """

    def __init__(
        self, config: Config, *, tasks: int, rows: int, seconds_a_unit: float | None = None
    ) -> None:
        self.config, self.tasks, self.train_rows = config, tasks, rows
        self.seconds_a_unit = seconds_a_unit
        self.under_way: dict[WorkItem, Movement] = {}
        self.measured: dict[tuple[str, bool], list[float]] = {}
        self._done_units = self._done_seconds = 0.0

    def begin(self, item: WorkItem) -> None:
        """Note that a piece begins."""
        self.under_way[item] = Movement(time.monotonic())

    def move(self, item: WorkItem, what: str, done: int, total: int) -> None:
        """Note the progress of a piece; what a resumed one had done before does not count."""
        movement = self.under_way.get(item)
        if movement is None:
            return
        before = movement.newest.get(what)
        movement.newest[what] = done
        if before is None or done < before or done >= total:
            return  # begun, begun anew, or at its end, which early stopping jumps to
        movement.rows += done - before

    def end(self, item: WorkItem) -> None:
        """Note that a piece is done."""
        movement = self.under_way.pop(item, None)
        if movement is None:
            return
        seconds = time.monotonic() - movement.began
        self.measured.setdefault((item.name, item.search), []).append(seconds)
        self._done_units += self.units(item)
        self._done_seconds += seconds

    def seconds(self, item: WorkItem) -> float | None:
        """The seconds that a piece is likely to take; None as long as no speed is known."""
        like_it = self.measured.get((item.name, item.search))
        if like_it:
            return sum(like_it) / len(like_it)
        unit = self._unit()
        return None if unit is None else unit * self.units(item)

    def left(self, item: WorkItem) -> float | None:
        """The seconds that a piece under way is likely to take from now on."""
        whole, movement = self.seconds(item), self.under_way[item]
        gone = time.monotonic() - movement.began
        share = self.share(item)
        if share >= SURE:  # its own speed, and the more the further it is
            by_speed = gone / share - gone
            likely = by_speed if whole is None else max(whole - gone, 0.0)
            return share * by_speed + (1.0 - share) * likely
        return None if whole is None else max(whole - gone, 0.05 * whole)

    def share(self, item: WorkItem) -> float:
        """The share of a piece under way that is done, as far as its rows show it."""
        return min(self.under_way[item].rows / max(1, self.rows(item)), 0.98)

    def units(self, item: WorkItem) -> float:
        """The guess, in trainings of a shared bottom."""
        network = network_and_sources(item.name)[0]
        races = network == "searched" and self.config.search.race is not False
        if item.search:
            return SEARCH + (RACE + RACE_OF_TASKS * self.tasks if races else 0.0)
        if races:
            raced = item.name == network and item.seed in voters(self.config, item.seed)
            return RACED_KIND_OF_TASKS * self.tasks * (LEFT_AFTER_RACE if raced else 1.0)
        if network in OF_TASKS:
            return OF_TASKS[network] * self.tasks
        return UNITS.get(network, OTHER_NETWORK)

    def rows(self, item: WorkItem) -> int:
        """The rows that a piece passes over: those of each of its networks in every pass."""
        rows, network = self.train_rows, network_and_sources(item.name)[0]
        training = rows * self.config.training.passes(rows)
        if not item.search:
            return training * (self.tasks if network == "single_task" else 1)
        search = self.config.search
        passes = self.config.search_passes(rows) * (1.0 - search.policy_rows)
        races = item.name == "searched" and search.race is not False
        return round(rows * passes + (PASSES_OF_A_RACE * training if races else 0.0))

    def _unit(self) -> float | None:
        """Seconds of a unit, by what is done and by what is surely under way."""
        units, seconds = self._done_units, self._done_seconds
        for item, movement in self.under_way.items():
            share = self.share(item)
            if share >= SURE:
                units += share * self.units(item)
                seconds += time.monotonic() - movement.began
        return seconds / units if units > 0.5 else self.seconds_a_unit


def makespan(
    processes: int,
    under_way: Mapping[WorkItem, float],
    items: Iterable[WorkItem],
    seconds: Callable[[WorkItem], float],
    config: Config,
) -> float:
    """The seconds until all is done, if each process takes the first item that can begin.

    >>> search, training = WorkItem("searched", 0, search=True), WorkItem("searched", 0)
    >>> makespan(2, {search: 3.0}, [training, WorkItem("mmoe", 0)], lambda item: 2.0, Config())
    5.0

    Args:
        processes: their number.
        under_way: the seconds that each item under way still takes.
        items: the others, in the order in which they are begun.
        seconds: how long each of them takes.
        config: which says what each of them needs.
    """
    waiting, ends = list(items), dict(under_way)
    free = sorted([*under_way.values(), *[0.0] * (processes - len(under_way))])
    while waiting:
        now = free.pop(0)
        undone = set(waiting)
        begins = {
            item: max((ends.get(needed, 0.0) for needed in item.needs(config)), default=0.0)
            for item in waiting
            if undone.isdisjoint(item.needs(config))
        }
        # Without one that can begin now, the process waits for the end of what the next one needs.
        item = next((i for i in begins if begins[i] <= now), min(begins, key=begins.__getitem__))
        waiting.remove(item)
        ends[item] = max(now, begins[item]) + seconds(item)
        free = sorted([*free, ends[item]])
    return max(ends.values(), default=0.0)

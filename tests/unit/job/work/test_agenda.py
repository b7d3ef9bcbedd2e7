"""The agenda admits what ends in time, the most important first, and says how far the study is."""

import itertools
import math

import pytest

from recmtl.job.work.agenda import Agenda
from recmtl.job.work.forecast import Forecast
from recmtl.job.work.items import WorkItem, all_items
from recmtl.job.work.priority import groups_of
from recmtl.train.config import Config, Evidence, Search, Training
from tests.unit.job.work.conftest import Clock

CONFIG = Config(
    training=Training(epochs=1),
    search=Search(epochs=1, race=False),
    evidence=Evidence(seeds=3, control_seeds=1),
)
GROUPS = groups_of(all_items(CONFIG), CONFIG)
CORE = set(GROUPS[0])


def played(clock: Clock, *, until: float, processes: int, slower: float = 1.0) -> list[WorkItem]:
    """The items that are done if a unit takes a second, or `slower` than was measured before."""
    pieces = Forecast(CONFIG, tasks=4, rows=1000, seconds_a_unit=1.0)
    plan = Agenda(GROUPS, pieces, done=[], processes=processes, until=until)
    ends: dict[WorkItem, float] = {}
    order: list[WorkItem] = []
    while True:
        while len(ends) < processes and (item := plan.take()) is not None:
            ends[item] = clock.now + slower * pieces.units(item)
        if not ends:
            return order
        item = min(ends, key=ends.__getitem__)
        clock.now = max(clock.now, ends.pop(item))
        plan.finish(item)
        order.append(item)


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_without_a_limit_everything_is_done_the_longest_first(clock: Clock, processes: int) -> None:
    order = played(clock, until=math.inf, processes=processes)
    everything = [item for group in GROUPS for item in group]
    assert sorted(map(str, order)) == sorted(map(str, everything))
    units = Forecast(CONFIG, tasks=4, rows=1000).units
    whole = sum(map(units, everything))
    chains = [(item, *item.needs(CONFIG)) for item in everything]
    longest = max(sum(map(units, chain)) for chain in chains)
    assert clock.now <= whole / processes + longest, "nobody waits for a long one at the end"
    if processes == 1:
        assert units(order[0]) == max(map(units, everything))
    if processes == 2:
        assert clock.now <= 1.05 * whole / 2


@pytest.mark.parametrize(
    ("processes", "until", "slower"),
    list(itertools.product([1, 2, 4], [10.0, 20.0, 40.0, 80.0], [0.5, 1.0, 1.5])),
)
def test_a_limit_is_kept_if_the_speed_is_near_what_was_measured(
    clock: Clock, processes: int, until: float, slower: float
) -> None:
    order = played(clock, until=until, processes=processes, slower=slower)
    assert set(order) >= CORE, "the verdict of one seed is made however long it takes"
    units = sum(Forecast(CONFIG, tasks=4, rows=1000).units(item) for item in CORE)
    assert clock.now <= max(1.1 * until, slower * units)


def test_more_time_is_used_for_more_evidence(clock: Clock) -> None:
    counts = []
    for until in (8.0, 12.0, 18.0, 300.0):
        clock.now = 0.0
        counts.append(len(played(clock, until=until, processes=2)))
    assert counts == sorted(set(counts)), "each limit has more than the shorter one"
    assert counts[-1] == sum(map(len, GROUPS))


def test_with_little_time_the_core_is_all_there_is(clock: Clock) -> None:
    assert set(played(clock, until=0.0, processes=2)) == CORE


def test_the_outlook_counts_what_an_earlier_process_did_and_not_its_time(clock: Clock) -> None:
    items = [WorkItem("mmoe", seed) for seed in range(4)]
    pieces = Forecast(CONFIG, tasks=4, rows=1000)
    plan = Agenda([items], pieces, done=items[:2], processes=1)
    before = plan.outlook()
    assert (before.done, before.pieces, before.share) == (2, 4, 0.5)
    assert before.seconds_left is None, "no speed is known yet"
    item = plan.take()
    assert item == items[2]
    clock.now += 10.0
    plan.finish(items[2])
    after = plan.outlook()
    assert (after.done, after.share, after.seconds_left) == (3, 0.75, 10.0)


def test_shares_never_fall_and_end_at_one(clock: Clock) -> None:
    items = [WorkItem("mmoe", 0), WorkItem("single_task", 0)]
    pieces = Forecast(CONFIG, tasks=4, rows=1000)
    plan, shares = Agenda([items], pieces, done=[], processes=1), []
    for _ in items:
        item = plan.take()
        assert item is not None
        for row in range(0, 1001, 100):
            pieces.move(item, str(item), row, 1000)
            clock.now += 1.0
            shares.append(plan.outlook().share)
        plan.finish(item)
        shares.append(plan.outlook().share)
    assert shares == sorted(shares) and shares[-1] == 1.0

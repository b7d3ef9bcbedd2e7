"""Forecasts: ratios at first, then what was measured; how long several processes take."""

import pytest

from recmtl.job.work.forecast import Forecast, makespan
from recmtl.job.work.items import WorkItem
from recmtl.train.config import Config, Search, Training
from tests.unit.job.work.conftest import Clock

MMOE, TOGETHER = WorkItem("mmoe", 0), WorkItem("shared_bottom", 0)
SEARCH, SEARCHED = WorkItem("searched", 0, search=True), WorkItem("searched", 0)
CONFIG = Config(search=Search(votes=1))


def new(*, unit: float | None = None, race: bool | None = False) -> Forecast:
    config = Config(training=Training(epochs=1), search=Search(epochs=1, race=race))
    return Forecast(config, tasks=4, rows=1000, seconds_a_unit=unit)


def test_nothing_is_forecast_before_anything_is_measured(clock: Clock) -> None:
    assert new().seconds(MMOE) is None
    assert new(unit=3.0).seconds(TOGETHER) == 3.0


def test_what_is_done_says_how_long_others_take(clock: Clock) -> None:
    pieces = new(unit=100.0)
    pieces.begin(TOGETHER)
    clock.now += 5.0
    pieces.end(TOGETHER)
    assert pieces.seconds(WorkItem("shared_bottom", 1)) == pytest.approx(5.0)
    assert pieces.seconds(MMOE) == pytest.approx(5.0 * pieces.units(MMOE))
    pieces.begin(MMOE)
    clock.now += 30.0
    pieces.end(MMOE)
    assert pieces.seconds(WorkItem("mmoe", 1)) == pytest.approx(30.0), "its kind was measured"


def test_the_rows_of_a_piece_under_way_say_how_long_it_takes(clock: Clock) -> None:
    pieces = new()
    pieces.begin(MMOE)
    for row in range(0, 501, 100):
        pieces.move(MMOE, "mmoe-0", row, 1000)
        clock.now += 2.0
    assert pieces.share(MMOE) == 0.5
    assert pieces.left(MMOE) == pytest.approx(12.0, rel=0.01)
    assert pieces.seconds(TOGETHER) == pytest.approx(24.0 / pieces.units(MMOE))


def test_what_an_earlier_process_did_of_a_piece_is_no_speed_of_this_one(clock: Clock) -> None:
    pieces = new()
    pieces.begin(MMOE)
    pieces.move(MMOE, "mmoe-0", 900, 1000)
    clock.now += 2.0
    pieces.move(MMOE, "mmoe-0", 960, 1000)
    assert pieces.under_way[MMOE].rows == 60


def test_a_race_costs_its_search_and_saves_training_where_it_was(clock: Clock) -> None:
    raced, not_raced = new(race=None), new(race=False)
    assert raced.units(SEARCH) > 3 * not_raced.units(SEARCH)
    assert raced.units(SEARCHED) < raced.units(WorkItem("searched", 3)), "which has no vote"
    assert raced.rows(SEARCH) > not_raced.rows(SEARCH)


def test_a_network_a_task_costs_as_many_as_there_are_tasks(clock: Clock) -> None:
    alone = WorkItem("single_task", 0)
    config = new().config
    one, four = (Forecast(config, tasks=count, rows=1000) for count in (1, 4))
    assert four.units(alone) == 4 * one.units(alone)
    assert four.rows(alone) == 4 * one.rows(alone)


def test_independent_items_are_shared_out() -> None:
    items = [WorkItem("mmoe", seed) for seed in range(6)]
    assert makespan(1, {}, items, lambda item: 2.0, CONFIG) == 12.0
    assert makespan(2, {}, items, lambda item: 2.0, CONFIG) == 6.0
    assert makespan(9, {}, items, lambda item: 2.0, CONFIG) == 2.0
    assert makespan(2, {}, [], lambda item: 2.0, CONFIG) == 0.0


def test_a_chain_is_as_long_as_its_items_however_many_processes_there_are() -> None:
    taking = {SEARCH: 7.0, SEARCHED: 2.0, MMOE: 1.0}
    assert makespan(8, {}, [SEARCH, SEARCHED, MMOE], taking.__getitem__, CONFIG) == 9.0
    assert makespan(8, {SEARCH: 3.0}, [SEARCHED], taking.__getitem__, CONFIG) == 5.0
    assert makespan(1, {SEARCH: 3.0}, [SEARCHED, MMOE], taking.__getitem__, CONFIG) == 6.0


def test_a_process_does_what_can_begin_while_another_item_waits() -> None:
    taking = {SEARCHED: 1.0, MMOE: 4.0}
    assert makespan(2, {SEARCH: 4.0}, [SEARCHED, MMOE], taking.__getitem__, CONFIG) == 5.0

"""Several work items can be watched at once, in a log and on a terminal."""

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from recmtl.job import console
from recmtl.job.console import _Table, length_of_time, progress_display
from recmtl.job.work.agenda import Outlook
from recmtl.train.training_state import ValidationCheck

METRICS = {"click": {"auc": 0.71234, "log_loss": 0.5}, "watch": {"r2": 0.25}}
CHECK = ValidationCheck(1.0, 0.7, 0.5, METRICS)


class Clock:
    """Time that passes when told."""

    now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(console, "time", clock)
    return clock


def test_a_log_has_a_line_for_each_check_and_end_and_a_sign_of_life(clock: Clock) -> None:
    log = io.StringIO()
    with progress_display(Console(file=log, width=200)) as on_progress:
        on_progress("mmoe-0", 0, 1000, None)
        clock.now += 5.0
        on_progress("ple-0", 0, 1000, None)
        clock.now += 5.0
        on_progress("mmoe-0", 500, 1000, CHECK)
        on_progress("ple-0", 500, 1000, CHECK)
        on_progress("ple-0", 600, 1000, None)
        clock.now += 11.0
        on_progress("ple-0", 800, 1000, None)
        on_progress("ple-0", 1000, 1000, None)
    assert log.getvalue().splitlines() == [
        "mmoe-0 (click 0.712, watch 0.250): 500/1,000 rows, 50 rows/s, 10 s left",
        "ple-0 (click 0.712, watch 0.250): 500/1,000 rows, 100 rows/s, 5 s left",
        "ple-0 (click 0.712, watch 0.250): 800/1,000 rows, 50 rows/s, 4 s left",
        "ple-0 (click 0.712, watch 0.250): 1,000/1,000 rows, 62 rows/s",
    ]


def test_the_speed_of_a_piece_that_is_gone_on_with_is_that_of_its_rest(clock: Clock) -> None:
    log = io.StringIO()
    with progress_display(Console(file=log, width=200)) as on_progress:
        on_progress("mmoe-0", 900_000, 1_000_000, None)
        clock.now += 100.0
        on_progress("mmoe-0", 901_000, 1_000_000, CHECK)
        on_progress("mmoe-0", 1000, 1_000_000, None)  # the next network of the same name
        clock.now += 10.0
        on_progress("mmoe-0", 2000, 1_000_000, CHECK)
    first, second = log.getvalue().splitlines()
    assert first.endswith("901,000/1,000,000 rows, 10 rows/s, 2 h 45 min left")
    assert second.endswith("2,000/1,000,000 rows, 100 rows/s, 2 h 46 min left")


def test_a_log_says_twice_a_minute_how_far_the_whole_is_and_at_its_end(clock: Clock) -> None:
    log = io.StringIO()
    with progress_display(Console(file=log, width=200)) as on_progress:
        for second in range(40):
            on_progress.outlook(Outlook(3, 12, 0.25, 75.0 - second))
            clock.now += 1.0
        on_progress.outlook(Outlook(12, 12, 1.0, 0.0))
    assert log.getvalue().splitlines() == [
        "study: 3 of 12 pieces done, 25% of the work, about 1 min 15 s left",
        "study: 3 of 12 pieces done, 25% of the work, about 45 s left",
        "study: 12 of 12 pieces done, 100% of the work",
    ]


def test_a_terminal_shows_the_whole_and_all_that_is_under_way_with_its_metrics() -> None:
    shown = io.StringIO()
    with progress_display(Console(file=shown, width=200, force_terminal=True)) as on_progress:
        on_progress.outlook(Outlook(1, 4, 0.3, None))
        on_progress("mmoe-0", 100, 1000, CHECK)
        on_progress("ple-0", 200, 1000, None)
        on_progress("gone-0", 1000, 1000, None)
    last = shown.getvalue().split("\x1b[1A")[-1] + shown.getvalue()
    assert "study: 1 of 4 pieces done, 30% of the work" in last
    assert "mmoe-0 (click 0.712, watch 0.250)" in last
    assert "ple-0" in last and "200/1,000 rows" in last
    assert "gone-0" not in last


def test_a_notebook_has_one_table_that_changes_in_its_place(clock: Clock) -> None:
    pages: list[str] = []
    shown: list[str] = []

    def show(page: str) -> Callable[[str], None]:
        shown.append(page)
        return pages.append

    with _Table(show) as table:
        table.outlook(Outlook(1, 4, 0.3, 90.0))
        for done in range(0, 1000, 10):
            table("<mmoe>-0", done, 1000, CHECK)
            clock.now += 0.1
        table("<mmoe>-0", 1000, 1000, None)
    assert len(shown) == 1 and 15 < len(pages) < 30
    assert "study: 1 of 4 pieces done, 30% of the work, about 1 min 30 s left" in pages[0]
    assert "&lt;mmoe&gt;-0 (click 0.712, watch 0.250)" in pages[0]
    assert "mmoe" not in pages[-1]


def test_a_quiet_job_shows_nothing() -> None:
    shown = io.StringIO()
    terminal = Console(file=shown, width=200, force_terminal=True)
    with progress_display(terminal, quiet=True) as on_progress:
        on_progress("mmoe-0", 100, 1000, CHECK)
        on_progress.outlook(Outlook(1, 4, 0.3, 90.0))
    assert shown.getvalue() == ""


def test_lengths_of_time_have_two_units_at_most() -> None:
    lengths = [0.2, 59.6, 3600.0, 3661.0, 86_400.0 * 3 + 5]
    expected = ["0 s", "1 min", "1 h", "1 h 1 min", "3 d"]
    assert [length_of_time(length) for length in lengths] == expected

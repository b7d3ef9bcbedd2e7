"""Several work items can be watched at once, in a log and on a terminal."""

import io

import pytest
from rich.console import Console

from recmtl.job import console
from recmtl.job.console import progress_display
from recmtl.train.training_state import ValidationCheck

METRICS = {"click": {"auc": 0.71234, "log_loss": 0.5}, "watch": {"r2": 0.25}}
CHECK = ValidationCheck(1.0, 0.7, 0.5, METRICS)


class Clock:
    """Time that passes when told."""

    now = 100.0

    def perf_counter(self) -> float:
        return self.now


def test_each_work_item_has_its_own_speed_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, told = Clock(), io.StringIO()
    monkeypatch.setattr(console, "time", clock)
    with progress_display(Console(file=told, width=200)) as on_progress:
        on_progress("1/2 mmoe-0", 0, 1000, None)
        clock.now += 5.0
        on_progress("2/2 ple-0", 0, 1000, None)
        clock.now += 5.0
        on_progress("1/2 mmoe-0", 500, 1000, CHECK)
        on_progress("2/2 ple-0", 500, 1000, CHECK)
        on_progress("2/2 ple-0", 600, 1000, None)
        clock.now += 11.0
        on_progress("2/2 ple-0", 800, 1000, None)
        on_progress("2/2 ple-0", 1000, 1000, None)
    assert told.getvalue().splitlines() == [
        "1/2 mmoe-0 (click 0.712, watch 0.250): 500/1,000 rows, 50 rows/s, 10 s left",
        "2/2 ple-0 (click 0.712, watch 0.250): 500/1,000 rows, 100 rows/s, 5 s left",
        "2/2 ple-0: 800/1,000 rows, 50 rows/s, 4 s left",
        "2/2 ple-0: 1,000/1,000 rows, 62 rows/s, 0 s left",
    ]


def test_a_terminal_shows_all_that_is_under_way_with_its_metrics() -> None:
    shown = io.StringIO()
    with progress_display(Console(file=shown, width=200, force_terminal=True)) as on_progress:
        on_progress("1/2 mmoe-0", 100, 1000, CHECK)
        on_progress("2/2 ple-0", 200, 1000, None)
    last = shown.getvalue().split("\x1b[1A")[-1] + shown.getvalue()
    assert "1/2 mmoe-0 (click 0.712, watch 0.250)" in last
    assert "2/2 ple-0" in last and "200/1,000 rows" in last

"""The clock that forecasts and the agenda look at."""

import pytest

from recmtl.job.work import agenda, forecast


class Clock:
    """Time that passes when told."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(forecast, "time", clock)
    monkeypatch.setattr(agenda, "time", clock)
    return clock

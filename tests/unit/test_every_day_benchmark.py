"""The benchmark of days: what the page says of strategies, gains and costs."""

from benchmarks.every_day import page
from tests.unit.daily.rolling.test_judged_days import NOISE, judged


def test_the_page_has_quality_cost_and_gains_of_every_strategy() -> None:
    results = judged(NOISE, seeds=2)
    text = page(results)
    lines = {line.split(" | ")[0].strip("| "): line for line in text.splitlines()}
    assert lines["warm"].endswith("| 0.20 |") and lines["scratch"].endswith("| 1.00 |")
    assert lines["frozen"].endswith("| 0.0 | 0.00 |")
    assert lines["click"].count("hurt") == 1 and "| mean |" in text
    whole = text.replace("\n", " ")
    assert "Frozen is behind scratch on" in whole and "Means over 2 seeds" in whole
    assert "Warm is proven behind scratch on no task, at 0.20 of its CPU" in whole

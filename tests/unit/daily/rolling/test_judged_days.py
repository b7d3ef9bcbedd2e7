"""Judging strategies by day: against plain loops, in limits, and on copies."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from recmtl.daily.rolling.day_files import Day
from recmtl.daily.rolling.day_scores import DayScores, RolledDay
from recmtl.daily.rolling.judged_days import judged_days
from recmtl.daily.rolling.strategies import Strategy, read_strategies
from recmtl.errors import ConfigError
from recmtl.report.backtest_page import backtest_table, write_backtest_page
from recmtl.schema import Condition, TaskSpec
from recmtl.train.config import Config

TASKS = (
    TaskSpec("click", "binary", Condition("click")),
    TaskSpec("watch", "regression", Condition("watch")),
)
NOISE = {"scratch": 0.6, "warm": 0.6, "warm:3": 0.7, "frozen": 3.0}


def rolled(number: int, seed: int, noise: dict[str, float], rows: int = 400) -> RolledDay:
    """A day whose strategies see the truth through noise; rows are those of the day."""
    world, luck = np.random.default_rng([number, 0]), np.random.default_rng([number, 1 + seed])
    truth = world.normal(size=rows)
    click = world.random(rows) < 1 / (1 + np.exp(-1.5 * truth))
    watch = truth + world.normal(size=rows)
    scores = {}
    for name, spread in noise.items():
        seen = truth + spread * luck.normal(size=rows)
        scores[name] = {"p_click": 1 / (1 + np.exp(-seen)), "value_watch": seen / (1 + spread**2)}
    if number == 0:
        scores = dict.fromkeys(scores, next(iter(scores.values())))
    labels = np.stack([click, watch], 1).astype(np.float32)
    group = world.integers(0, 60, rows).astype(np.int64)
    day = DayScores(labels, np.ones(rows), group, scores)
    refreshes: dict[str, dict[str, Any]] = {
        name: {"cpu_s": 10.0 if name == "scratch" else 2.0, "days": []}
        for name in noise
        if name != "frozen"
    }
    return RolledDay(Day(f"day {number}", Path(), rows), day, refreshes)


def judged(noise: dict[str, float], seeds: int = 1, days: int = 4) -> dict[str, Any]:
    rolls = [[rolled(day, seed, noise) for day in range(days)] for seed in range(seeds)]
    return judged_days(rolls, TASKS, "scratch", Config())


def test_quality_is_the_metric_of_every_day_and_its_mean_after_the_first() -> None:
    results = judged(NOISE, seeds=2)
    for name in NOISE:
        by_day = []
        for number, day in enumerate(results["days"]):
            aucs = []
            for seed in range(2):
                scores = rolled(number, seed, NOISE).scores
                aucs.append(roc_auc_score(scores.labels[:, 0], scores.scores[name]["p_click"]))
            assert day["quality"][name]["click"]["mean"] == pytest.approx(np.mean(aucs))
            by_day.append(np.mean(aucs))
        overall = results["strategies"][name]["quality"]["click"]
        assert overall["mean"] == pytest.approx(np.mean(by_day[1:]))


def test_what_is_worse_is_proven_behind_and_what_is_alike_is_not() -> None:
    results = judged(NOISE, seeds=3)
    frozen, warm = (results["strategies"][n]["gains"] for n in ("frozen", "warm"))
    assert {gain["verdict"] for gain in frozen.values()} == {"hurt"}
    assert frozen["click"]["high"] < 0 and frozen["watch"]["gain"] < 0
    assert all(gain["low"] < 0 < gain["high"] for gain in warm.values())
    assert "warm is proven behind scratch on no task, at 0.20 of its CPU" in results["answers"]
    assert any(line.startswith("frozen is behind scratch on") for line in results["answers"])


def test_copies_have_a_gain_of_nothing() -> None:
    rolls = [[rolled(day, 0, {"scratch": 0.6}) for day in range(3)]]
    for day in rolls[0]:
        day.scores.scores["copy"] = day.scores.scores["scratch"]
        day.refreshes["copy"] = {"cpu_s": 1.0, "days": []}
    gains = judged_days(rolls, TASKS, "scratch", Config())["strategies"]["copy"]["gains"]
    for gain in gains.values():
        assert gain["gain"] == gain["low"] == gain["high"] == 0.0


def test_the_rarest_refresh_that_is_not_behind_is_named() -> None:
    alike = judged({"scratch": 0.6, "warm": 0.6, "warm:3": 0.6}, seeds=2)
    assert "warm: a refresh every 3 days is enough here" in alike["answers"]
    apart = judged({"scratch": 0.6, "warm": 0.6, "warm:3": 4.0}, seeds=2)
    assert "warm: a refresh every 1 day is enough here" in apart["answers"]
    assert any(line.startswith("warm:3 is behind warm on") for line in apart["answers"])


def test_a_day_with_too_few_clicks_says_nothing_of_them() -> None:
    rolls = [[rolled(day, 0, NOISE) for day in range(4)]]
    rolls[0][2].scores.labels[5:, 0] = 0
    results = judged_days(rolls, TASKS, "scratch", Config())
    assert results["days"][2]["quality"]["warm"]["click"] == {"mean": None, "std": None, "seeds": 0}
    others = [results["days"][n]["quality"]["warm"]["click"]["mean"] for n in (1, 3)]
    overall = results["strategies"]["warm"]["quality"]["click"]["mean"]
    assert overall == pytest.approx(np.mean(others))


def test_scores_of_a_day_are_read_as_they_were_written(tmp_path: Path) -> None:
    scores = rolled(1, 0, NOISE).scores
    scores.save(tmp_path / "scored" / "day.safetensors")
    again = DayScores.load(tmp_path / "scored" / "day.safetensors")
    assert (again.labels == scores.labels).all() and (again.group == scores.group).all()
    assert again.scores.keys() == scores.scores.keys()
    assert (again.scores["warm:3"]["p_click"] == scores.scores["warm:3"]["p_click"]).all()


def test_the_page_has_answers_pictures_and_failures(tmp_path: Path) -> None:
    rolls = [[rolled(day, 0, NOISE) for day in range(3)]]
    rolls[0][1].refreshes["warm"] |= {"failed": "days.parquet: <no> clicks"}
    results = judged_days(rolls, TASKS, "scratch", Config())
    write_backtest_page(tmp_path / "page.html", results, title="shop: backtest")
    page = (tmp_path / "page.html").read_text()
    assert "&lt;no&gt; clicks" in page and "frozen is behind scratch" in page
    assert page.count("<img") >= 2
    assert "warm:3" in backtest_table(results)


def test_strategies_are_read_and_mistakes_are_named() -> None:
    assert read_strategies(["warm:7", " scratch", "warm:7"]) == (
        Strategy("warm", 7),
        Strategy("scratch"),
    )
    for wrong, message in (
        ("wram", "did you mean 'warm'"),
        ("warm:0", "warm:7"),
        ("frozen:3", "warm:7"),
    ):
        with pytest.raises(ConfigError, match=message):
            read_strategies([wrong])
    with pytest.raises(ConfigError, match="at least one"):
        read_strategies([])


def test_a_strategy_is_due_after_its_days() -> None:
    days = [Day(str(number), Path(), 1) for number in range(3)]
    assert [Strategy("warm", 2).is_due(days[:n]) for n in range(4)] == [False, False, True, True]
    assert not Strategy("frozen").is_due(days)

"""The report opens with what moved the metric, and recommends what to ship for each task."""

from typing import Any

import pytest
from markupsafe import escape

from recmtl.report.plots import StepBar, steps_plot
from recmtl.report.sections.what_mattered import recommendation, step_name, summary, what_mattered

TASKS = {"click": "auc", "watch": "rmse"}


def gain(value: float, half: float = 0.001, seeds: int = 3) -> dict[str, Any]:
    """A gain with its interval and verdict."""
    low, high = value - half, value + half
    verdict = "helped" if low > 0 else "hurt" if high < 0 else "not proven"
    fields = {"gain": value, "low": low, "high": high, "verdict": verdict}
    return {**fields, "seeds": [seeds, seeds]}


def entry(
    kind: str, step: str, mean: dict[str, Any], click: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """A step whose tasks gain what the mean gains, unless `click` says otherwise."""
    tasks = {
        task: {
            "metric": metric,
            "mean": 0.7,
            "interval": click if task == "click" and click else mean,
        }
        for task, metric in TASKS.items()
    }
    facts = {"kept": None, "against": "plain", "cost": {"multiply_adds": 1000.0}, **more}
    score = {"mean": 0.7, "std": 0.001, "seeds": 3}
    return {"kind": kind, "step": step, "mean": score, "tasks": tasks, "interval": mean, **facts}


PLAIN = entry("plain", "plain", {}, {})
PAST = entry("source", "statistics", gain(0.02), kept=True)
COUNTS = entry("source", "counts", gain(0.0002), kept=False)
APART = entry("wiring", "towers_apart", gain(0.001, 0.002))
SEARCHED = entry("wiring", "searched", gain(0.0005, 0.002))
WITHOUT = entry("without", "statistics", gain(-0.02))
ENTRIES = [PLAIN, COUNTS, PAST, APART, SEARCHED, WITHOUT]


def test_the_opening_shows_every_step_and_says_what_moved_the_mean() -> None:
    section = what_mattered({"what_mattered": ENTRIES})
    assert section is not None
    markup = section.markup
    for step in ENTRIES[1:]:
        assert escape(step_name(step)).removeprefix("without ") in markup
    assert markup.startswith('<section id="what-moved-the-metric">\n<h2>What moved')
    assert "The mean over the tasks is moved by statistics of the past (+0.0200)." in markup
    assert 'class="signed helped"' in markup.replace("'", '"')
    assert "+0.0200 (+0.0190 to +0.0210)" in markup, "the intervals, folded"
    assert "The searched network without each of its sources" in markup
    assert "luck of training" not in markup


def test_one_network_each_is_said_to_know_nothing_of_luck() -> None:
    single = entry("source", "counts", gain(0.0002, seeds=1))
    section = what_mattered({"what_mattered": [PLAIN, single]})
    assert section is not None and "do not hold the luck of training" in section.markup


@pytest.mark.parametrize("results", [{}, {"what_mattered": []}])
def test_without_the_networks_there_is_no_opening(results: dict[str, Any]) -> None:
    assert what_mattered(results) is None


def test_hostile_names_are_escaped() -> None:
    renamed = [{**e, "tasks": {"<b>": next(iter(e["tasks"].values()))}} for e in ENTRIES]
    section = what_mattered({"what_mattered": renamed})
    assert section is not None and "<b>" not in section.markup


@pytest.mark.parametrize(
    ("entries", "line"),
    [
        (
            [PLAIN, PAST, APART],
            "The mean over the tasks is moved by statistics of the past (+0.0200). How to share "
            "does not matter: gains above 0.0030 and losses above 0.0010 are excluded.",
        ),
        (
            [PLAIN, COUNTS, entry("wiring", "towers_apart", gain(0.0, 0.02))],
            "Nothing beside ids and numbers is proven to move the mean over the tasks. How to "
            "share is not proven to matter: gains above 0.0200 and losses above 0.0200 are "
            "excluded.",
        ),
        (
            [PLAIN, entry("wiring", "towers_apart", gain(0.013)), SEARCHED],
            "This log has nothing beside ids and numbers. How to share matters: towers apart "
            "(+0.0130) against one shared tower.",
        ),
        (
            [
                PLAIN,
                entry("source", "trees", gain(-0.01)),
                entry("wiring", "searched", gain(-0.01)),
            ],
            "The mean over the tasks loses by trees (-0.0100). Keep one shared tower; worse: "
            "searched (-0.0100).",
        ),
        ([PLAIN], "This log has nothing beside ids and numbers. How to share was not judged."),
    ],
)
def test_the_summary_says_what_moved_the_mean_and_whether_sharing_matters(
    entries: list[dict[str, Any]], line: str
) -> None:
    assert summary(entries) == line


def test_each_task_has_a_recommendation_of_its_own() -> None:
    past = entry("source", "statistics", gain(0.02), click=gain(-0.01), kept=True)
    entries = [PLAIN, past, APART]
    assert recommendation(entries, "watch") == (
        "ship statistics of the past (+0.0200); how to share does not matter: "
        "gains above 0.0030 and losses above 0.0010 are excluded"
    )
    assert recommendation(entries, "click").startswith(
        "no further source is proven to help; it loses by statistics of the past (-0.0100)"
    )


def test_a_dropped_source_is_not_recommended() -> None:
    dropped = entry("source", "statistics", gain(0.02), kept=False)
    assert recommendation([PLAIN, dropped], "click").startswith(
        "no further source is proven to help"
    )


def test_small_is_measured_in_the_unit_of_the_metric() -> None:
    tasks = {"watch": {"metric": "rmse", "mean": 200.0, "interval": gain(0.1, 0.5)}}
    wiring = {**APART, "tasks": tasks}
    assert "does not matter" in recommendation([{**PLAIN, "tasks": tasks}, wiring], "watch")


def test_a_waterfall_goes_on_where_the_last_step_that_stays_has_ended() -> None:
    stays, dropped = StepBar("a", 0.1, 0.05, 0.15, "helped"), StepBar("b", -0.2, stays=False)
    steps = [StepBar("start"), stays, dropped, StepBar("c", 0.01, 0.0, 0.02, "not proven")]
    picture = steps_plot(steps, start=0.5)
    assert picture.lstrip().startswith("<?xml") and picture == steps_plot(steps, start=0.5)
    assert steps_plot([StepBar("start")], start=0.5) != picture

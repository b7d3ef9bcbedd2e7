"""The champion is beaten on the same rows, not replaced."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.evaluate.transfer_test import TransferVerdict
from recmtl.job.champion import EQUAL, decide

VERDICTS = ("helped", "hurt", "not proven")


def gain(verdict: str, size: float = 0.01) -> dict[str, Any]:
    """A gain with a verdict, and an interval that says so."""
    middle = {"helped": 2 * size, "hurt": -2 * size, "not proven": 0.0}[verdict]
    ends = {"gain": middle, "low": middle - size, "high": middle + size}
    return {**ends, "verdict": verdict}


def verdict_of(
    constant: Mapping[str, str], champion: Mapping[str, str] | None = None, size: float = 0.01
) -> TransferVerdict:
    """Verdicts by task, `mean` among them, against a constant and against the champion."""
    sides = {"constant": constant, **({} if champion is None else {"champion": champion})}
    gains = {
        task: {name: gain(verdicts[task], size) for name, verdicts in sides.items()}
        for task in constant
    }
    return TransferVerdict({task: gains[task] for task in gains if task != "mean"}, gains["mean"])


GOOD = {"click": "helped", "buy": "not proven", "mean": "helped"}
COSTS = {"candidate": 100.0, "champion": 200.0}


def test_a_first_version_needs_to_beat_a_constant_only() -> None:
    decision = decide(verdict_of(GOOD), {"candidate": 100.0})
    assert decision.promote and decision.reason.startswith("promoted: there was no champion")
    assert decision.figures["multiply_adds.candidate"] == "100"
    assert decision.figures["over_constant.click"] == "+0.0200 (+0.0100 to +0.0300), helped"


@pytest.mark.parametrize(
    ("constant", "reason"),
    [
        ({**GOOD, "buy": "hurt"}, "left: worse than a constant on buy"),
        ({**GOOD, "mean": "not proven"}, "left: not proven better than a constant (mean gain"),
        ({**GOOD, "mean": "hurt"}, "left: not proven better than a constant (mean gain"),
    ],
)
def test_what_does_not_beat_a_constant_is_no_champion(
    constant: dict[str, str], reason: str
) -> None:
    best = dict.fromkeys(GOOD, "helped")
    for verdict in (verdict_of(constant), verdict_of(constant, best)):
        cost = COSTS if "champion" in verdict.mean else {"candidate": 1.0}
        decision = decide(verdict, cost)
        assert not decision.promote and decision.reason.startswith(reason)


def test_without_a_task_that_can_be_judged_nothing_is_proven() -> None:
    verdict = TransferVerdict({"click": {"constant": gain("not proven")}}, {"tasks": []})
    decision = decide(verdict, {"candidate": 1.0})
    assert not decision.promote and "not proven better than a constant" in decision.reason
    both = {"constant": gain("not proven"), "champion": gain("not proven")}
    assert not decide(TransferVerdict({"click": both}, {"tasks": []}), COSTS).promote


@given(
    against=st.lists(st.sampled_from(VERDICTS), min_size=1, max_size=4),
    mean=st.sampled_from(VERDICTS),
    cheaper=st.booleans(),
)
def test_a_champion_falls_only_to_what_is_worse_on_no_task(
    against: list[str], mean: str, cheaper: bool
) -> None:
    champion = {f"t{n}": verdict for n, verdict in enumerate(against)} | {"mean": mean}
    constant = dict.fromkeys(champion, "helped")
    cost = {"candidate": 100.0, "champion": 101.0 if cheaper else 100.0}
    decision = decide(verdict_of(constant, champion), cost)
    if "hurt" in against:
        assert not decision.promote and "worse than the champion on" in decision.reason
    elif "helped" in against:
        assert decision.promote and "better than the champion on" in decision.reason
    else:
        is_equal = gain(mean)["low"] >= -EQUAL
        assert decision.promote == (is_equal and cheaper)


def test_equal_quality_at_lower_cost_wins_and_the_same_cost_does_not() -> None:
    verdict = verdict_of(dict.fromkeys(GOOD, "helped"), dict.fromkeys(GOOD, "not proven"), 0.004)
    decision = decide(verdict, COSTS)
    assert decision.promote and "equal to the champion with 50% of its" in decision.reason
    assert not decide(verdict, {**COSTS, "champion": 100.0}).promote
    vague = verdict_of(dict.fromkeys(GOOD, "helped"), dict.fromkeys(GOOD, "not proven"), 0.1)
    decision = decide(vague, COSTS)
    assert not decision.promote and "not proven better" in decision.reason

"""Sources that are planted in a log are found, and dropped where nothing is planted."""

import json
from typing import Any

import pytest

from benchmarks.planted_sources import LOGS, NOTHING, OUT, PLANTED, SOURCES, Log, choose, page

AUC = {"habit": 0.5, "match": 0.61, "plain": 0.7}


def log(*kept: str) -> dict[str, Any]:
    better = {**AUC, "habit": 0.777}
    return vars(Log(list(kept), AUC, better, dict.fromkeys(AUC, 0.8), {}, 12.0))


def figures(logs: dict[str, Any]) -> dict[str, Any]:
    return {"rows": 20_000, "epochs": 4, "networks": 3, "logs": logs}


def test_the_page_counts_how_often_a_source_was_kept_and_says_what_it_brings() -> None:
    planted = {"20": log("statistics"), "21": log("statistics", "histories")}
    text = page(figures({PLANTED: planted, NOTHING: {"20": log()}}))
    assert f"| {PLANTED} | 2 | 0 of 2 | 2 of 2 | 1 of 2 | 12 |" in text
    assert f"| {NOTHING} | 1 | 0 of 1 | 0 of 1 | 0 of 1 | 12 |" in text
    assert "| 20 | statistics | 0.500 | 0.777 | 0.800 | 0.610 | 0.610 | 0.800 |" in text
    assert "| 20 | none |" in text


def test_in_each_seed_on_record_the_planted_sources_are_found_and_no_other() -> None:
    recorded = json.loads(OUT.read_text(encoding="utf-8"))["logs"]
    for name, plants in LOGS.items():
        assert len(recorded[name]) >= 10
        for seed, facts in recorded[name].items():
            assert facts["kept"] == list(plants), (name, seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", LOGS)
def test_a_choice_finds_what_is_planted_and_drops_what_says_nothing(name: str) -> None:
    chosen = choose(40, LOGS[name])
    assert chosen.kept == list(LOGS[name])
    assert tuple(chosen.gains) == SOURCES
    if name == PLANTED:
        assert chosen.chosen["habit"] > chosen.plain["habit"] + 0.1
        assert chosen.chosen["match"] > chosen.plain["match"] + 0.1
        assert chosen.chosen["plain"] == pytest.approx(chosen.plain["plain"], abs=0.03)

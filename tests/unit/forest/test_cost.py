"""What forests cost is measured beside a multiply-add of the same machine."""

from dataclasses import replace
from pathlib import Path

import pytest

from recmtl.data.encoded_log import EncodedLog
from recmtl.forest import cost
from recmtl.forest.cost import forest_cost, multiply_add_seconds
from recmtl.forest.grown import GrownForests, grow_forests
from tests.unit.serve.forest_shop import FEW


def test_the_cost_counts_the_trees_and_their_leaves(log: EncodedLog, grown: GrownForests) -> None:
    facts = forest_cost(grown.forests, log.split("test"))
    texts = [forest.text for forest in grown.forests.forests]
    assert facts["trees"] == sum(text.count("\nTree=") for text in texts) > 0
    assert facts["leaves"] == grown.forests.leaves > facts["trees"]
    assert set(facts) == {"trees", "leaves", "cpu_us_per_row", "multiply_adds"}
    assert grown.cost["grow_cpu_s"] > 0


def test_the_price_in_multiply_adds_is_the_time_of_a_row_over_that_of_one(
    log: EncodedLog, grown: GrownForests, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cost, "multiply_add_seconds", lambda: 1e-10)
    facts = forest_cost(grown.forests, log.split("test"))
    assert facts["multiply_adds"] == pytest.approx(facts["cpu_us_per_row"] * 1e4, abs=1)


def test_a_multiply_add_takes_less_than_a_nanosecond_times_ten() -> None:
    assert 1e-13 < multiply_add_seconds() < 1e-8


def test_more_trees_cost_more(log: EncodedLog, grown: GrownForests, tmp_path: Path) -> None:
    more = replace(FEW, rounds=300, patience=300, learning_rate=1e-4)
    large = grow_forests(log, tmp_path / "large", more, threads=1, seed=0)
    assert large.cost["trees"] > 20 * grown.cost["trees"]
    rows = log.split("test")
    assert (
        forest_cost(large.forests, rows)["cpu_us_per_row"]
        > (forest_cost(grown.forests, rows)["cpu_us_per_row"])
    )

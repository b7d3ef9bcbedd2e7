"""Draws of new trials: within the space, the same for the same past, near what did well."""

import math
from dataclasses import replace
from typing import Any

import optuna
import pytest

from recmtl.schema import Schema
from recmtl.train.config import Config, Tune
from recmtl.tuning.draw import Past, draw
from recmtl.tuning.space import Space, Values
from tests.unit.tuning.conftest import SCHEMA

RATE, EMBEDDING, CELLS = "training.learning_rate", "sizes.embedding", "grid.cells"
VALUES: dict[str, Any] = {
    RATE: {"low": 1e-4, "high": 1e-1, "log": True},
    EMBEDDING: [4, 8, 16],
    CELLS: {"low": 2, "high": 9},
    "grid.widths": [[8], [16, 8]],
}


@pytest.fixture(scope="module")
def space() -> Space:
    config = Config(tune=Tune(space=VALUES, generation=4))
    return Space.of(config, Schema.load(SCHEMA))


def sampled(space: Space, sampler: str, seed: int = 0) -> Space:
    config = space.config
    return replace(space, config=replace(config, seed=seed, tune=Tune(sampler=sampler)))  # type: ignore[arg-type]


def past_of(drawn: list[Values], score: Any) -> Past:
    return [(values, {0.25: score(values) - 1.0, 1.0: score(values)}) for values in drawn]


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_draws_lie_in_the_space_and_are_accepted(space: Space, sampler: str) -> None:
    for values in draw(sampled(space, sampler), [], count=6, first=1):
        assert values.keys() == VALUES.keys()
        assert all(setting.holds(values[setting.path]) for setting in space.settings)
        assert isinstance(values[CELLS], int) and isinstance(values["grid.widths"], list)
        space.applied(values)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_the_same_past_gives_the_same_draw(space: Space, sampler: str) -> None:
    space = sampled(space, sampler)
    past = past_of(draw(space, [], count=4, first=1), lambda values: values[RATE])
    drawn = draw(space, past, count=4, first=5)
    assert drawn == draw(space, past, count=4, first=5)
    assert drawn[:2] == draw(space, past, count=2, first=5)  # whatever is drawn after them
    assert drawn != draw(sampled(space, sampler, seed=1), past, count=4, first=5)
    assert len({values[RATE] for values in drawn}) == 4


def test_tpe_draws_near_what_did_well_and_random_does_not(space: Space) -> None:
    def score(values: Values) -> float:
        return -abs(math.log10(values[RATE]) + 2.0) - (values[EMBEDDING] != 8)

    distances = {}
    for sampler in ("tpe", "random"):
        chosen = sampled(space, sampler)
        past = past_of(draw(chosen, [], count=24, first=1), score)
        drawn = draw(chosen, past, count=8, first=25)
        distances[sampler] = sum(-score(values) for values in drawn) / len(drawn)
    assert distances["tpe"] < 0.6 * distances["random"]


def test_trials_that_say_nothing_are_passed_over(space: Space) -> None:
    plain = draw(space, [], count=2, first=9)
    outside = {**plain[0], EMBEDDING: 5}
    assert draw(space, [(outside, {1.0: 9.0}), ({}, {1.0: 9.0})], count=2, first=9) == plain


def test_failed_trials_and_trials_under_way_are_no_obstacle(space: Space) -> None:
    drawn = draw(space, [], count=6, first=1)
    scores: list[dict[float, float]] = [{}, {0.25: math.nan}, {0.25: 0.4}, {1.0: 0.6}, {}, {}]
    assert len(draw(space, list(zip(drawn, scores, strict=True)), count=2, first=7)) == 2


def test_the_verbosity_of_optuna_is_left_as_it_was(space: Space) -> None:
    before = optuna.logging.get_verbosity()
    draw(space, [], count=1, first=1)
    assert optuna.logging.get_verbosity() == before

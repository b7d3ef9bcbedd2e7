"""The course of a search: disjoint rows, an unbiased baseline, and what each step does."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from recmtl.errors import ConfigError
from recmtl.grid import recmtl_grid
from recmtl.search.schedule import BilevelRows, ReinforceBaseline, SearchSchedule, bilevel_split
from recmtl.train.config import Config, Search, Skips, Training

LAYOUT = recmtl_grid(2, cells=2, widths=(4,), depth=4)


def test_the_two_parts_are_disjoint_and_all_rows() -> None:
    parts = bilevel_split(1000, 0.3, seed=4)
    assert np.array_equal(np.union1d(parts.weights, parts.policy), np.arange(1000))
    assert len(np.intersect1d(parts.weights, parts.policy)) == 0
    assert 230 < len(parts.policy) < 370
    for rows in (parts.weights, parts.policy):
        assert (np.diff(rows) > 0).all()


def test_another_seed_divides_otherwise_the_same_seed_alike() -> None:
    one, again, other = (bilevel_split(500, 0.3, seed=seed).policy for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_parts_that_overlap_are_refused() -> None:
    with pytest.raises(ConfigError, match="share rows"):
        BilevelRows(np.arange(10), np.arange(9, 20))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_part_without_rows_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match=r"search\.policy_rows"):
        bilevel_split(50, share, seed=0)


def test_the_schedule_of_a_search() -> None:
    search = Search(epochs=4, warm_up=0.5, temperature=(4.0, 1.0), skips=Skips(curriculum=0.5))
    config = Config(training=Training(batch_size=10), search=search)
    layout = LAYOUT
    plan = SearchSchedule(layout, bilevel_split(1000, 0.2, seed=0), config=config)
    assert (plan.total, plan.warm_up) == (4 * plan.steps_an_epoch, 2 * plan.steps_an_epoch)
    assert plan.ratio == 4 and plan.policy_steps == plan.warm_up // 4
    middle = (plan.warm_up + plan.total) // 2
    warmth = [plan.temperature(step) for step in (0, plan.warm_up, middle, plan.total)]
    assert warmth == pytest.approx([4.0, 4.0, 2.0, 1.0], rel=0.01)
    opened = [plan.open_layers(step) for step in range(plan.total)]
    assert opened[: plan.warm_up] == [0] * plan.warm_up
    assert opened[plan.warm_up :] == sorted(opened[plan.warm_up :])
    assert set(opened[plan.warm_up : middle]) == {1, 2, 3}
    assert set(opened[middle:]) == {3}
    always = SearchSchedule(
        layout, bilevel_split(1000, 0.2, seed=0), config=replace(config, search=Search())
    )
    assert always.open_layers(0) == 3


@given(st.integers(2, 300), st.floats(0.05, 0.95), st.integers(0, 1000))
def test_every_row_trains_either_the_weights_or_the_policy(
    rows: int, share: float, seed: int
) -> None:
    try:
        parts = bilevel_split(rows, share, seed=seed)
    except ConfigError:
        assume(False)
    together = np.concatenate([parts.weights, parts.policy])
    assert np.array_equal(np.sort(together), np.arange(rows))


def test_more_of_the_rows_go_to_the_policy_as_its_share_rises() -> None:
    """With one seed a row that the policy has at a lower share it has at a higher one."""
    parts = [set(bilevel_split(400, share, seed=3).policy) for share in (0.1, 0.3, 0.8)]
    assert parts[0] < parts[1] < parts[2]


def test_parts_without_rows_say_how_many_each_has() -> None:
    with pytest.raises(ConfigError, match="leaves 0 train rows to the weights and 3 to the policy"):
        BilevelRows(np.arange(0), np.arange(3))
    with pytest.raises(ConfigError, match=r"share rows \(2 of them\)"):
        BilevelRows(np.arange(5), np.arange(3, 9))


values = st.lists(st.floats(-5, 5, width=32), min_size=2, max_size=6)


@given(values, st.floats(-3, 3, width=32))
def test_each_of_several_draws_is_compared_with_the_mean_of_the_others(
    draws: list[float], shift: float
) -> None:
    advantages = ReinforceBaseline(0.9).advantage(torch.tensor(draws, dtype=torch.float64))
    for number, advantage in enumerate(advantages.tolist()):
        others = draws[:number] + draws[number + 1 :]
        assert advantage == pytest.approx(draws[number] - sum(others) / len(others), abs=1e-9)
    assert advantages.sum().item() == pytest.approx(0.0, abs=1e-9)
    moved = ReinforceBaseline(0.9).advantage(torch.tensor(draws, dtype=torch.float64) + shift)
    torch.testing.assert_close(moved, advantages)


@given(st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=8), st.floats(0.0, 0.99))
def test_a_single_draw_is_compared_with_the_decayed_mean_of_earlier_ones(
    draws: list[float], decay: float
) -> None:
    baseline = ReinforceBaseline(decay)
    advantages = [float(baseline.advantage(torch.tensor([value]))) for value in draws]
    for number, advantage in enumerate(advantages):
        mean = draws[0]
        for earlier in draws[:number]:
            mean = decay * mean + (1 - decay) * earlier
        assert advantage == pytest.approx(draws[number] - mean, abs=1e-4)


def schedule(**settings: object) -> SearchSchedule:
    config = Config(training=Training(batch_size=16), search=Search(**settings))
    return SearchSchedule(LAYOUT, bilevel_split(600, 0.25, seed=0), config=config)


@given(st.floats(0.0, 0.9), st.floats(0.1, 5.0), st.floats(0.1, 5.0), st.floats(0.01, 1.0))
def test_temperature_and_open_layers_move_one_way(
    warm_up: float, first: float, last: float, curriculum: float
) -> None:
    skips = Skips(curriculum=curriculum)
    plan = schedule(warm_up=warm_up, temperature=(first, last), skips=skips)
    warmth = [plan.temperature(step) for step in range(plan.total + 1)]
    assert warmth[: plan.warm_up + 1] == pytest.approx([first] * (plan.warm_up + 1))
    assert warmth[-1] == pytest.approx(last)
    differences = np.diff(warmth) * np.sign(last - first)
    assert (differences >= -1e-12).all()
    layers = [plan.open_layers(step) for step in range(plan.total + 1)]
    assert layers == sorted(layers) and layers[-1] == plan.skip_layers == 3
    assert layers[: plan.warm_up] == [0] * plan.warm_up


def test_the_policy_steps_once_for_each_of_its_batches() -> None:
    plan = schedule(epochs=3, warm_up=0.0)
    rows = bilevel_split(600, 0.25, seed=0)
    assert plan.steps_an_epoch == -(-len(rows.weights) // 16)
    assert plan.ratio == round(len(rows.weights) / len(rows.policy)) == 3
    assert plan.policy_steps == plan.total // 3


def test_a_policy_with_more_rows_than_the_weights_steps_at_most_as_often() -> None:
    config = Config(training=Training(batch_size=16))
    plan = SearchSchedule(LAYOUT, bilevel_split(600, 0.9, seed=0), config=config)
    assert plan.ratio == 1

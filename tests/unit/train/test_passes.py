"""How long a training is: as said, and on a small table until it has had enough steps."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from recmtl.model import TabularModel
from recmtl.train.config import Config, Search, Training
from recmtl.train.loop import train
from recmtl.train.tabular_problem import TabularProblem
from recmtl.train.training_state import TrainingState
from tests.tabular_problems import make_model, make_problem, rows_of

PROBLEM = make_problem()
SMALL = Training(batch_size=128, least_steps=48, patience=1000, health_rows=0)
ROWS = len(PROBLEM.train)


def timeless(state: TrainingState) -> TrainingState:
    return replace(state, seconds=0.0, cpu_seconds=0.0)


class Killed(Exception):
    """Stands for the end of the process."""


def trained(
    settings: Training, path: Path | None = None, *, kill_at: int | None = None
) -> tuple[TabularModel, TrainingState, list[int]]:
    """A model, its state, and the numbers of the steps after which there was a check."""
    torch.manual_seed(3)
    model, checked, steps = make_model(dropout=0.2), [], 0

    def on_progress(what: str, done: int, total: int, check: object) -> None:
        nonlocal steps
        steps += 1
        if check is not None:
            checked.append(steps)
        if steps == kill_at:
            raise Killed

    state = train(model, PROBLEM, settings, seed=1, on_progress=on_progress, checkpoint=path)
    return model, state, checked


@pytest.mark.parametrize("rows", [1, 1024, 8_400, 136_192, 10**7])
def test_passes_reach_the_least_steps_and_are_never_fewer_than_the_usual_ones(rows: int) -> None:
    settings = Training()
    passes, steps = settings.passes(rows), settings.steps_a_pass(rows)
    assert passes == 3 or (passes - 1) * steps < settings.least_steps <= passes * steps
    assert passes >= 3


def test_passes_that_are_given_are_made_however_few_the_rows() -> None:
    for epochs in (1, 3, 7):
        settings = Training(epochs=epochs, least_steps=10**6)
        assert settings.passes(10) == settings.passes(10**6) == epochs
        assert settings.least_apart(10) == 1


def test_a_search_is_two_thirds_as_long_as_a_training_of_a_small_table() -> None:
    assert Config().search_passes(10**7) == 2
    assert Config().search_passes(8_400) == round(Training().passes(8_400) * 2 / 3)
    assert Config(training=Training(epochs=9)).search_passes(8_400) == 2
    assert Config(search=Search(epochs=1)).search_passes(8_400) == 1


def test_a_small_table_is_passed_over_until_it_has_its_steps() -> None:
    _, state, checked = trained(SMALL)
    assert state.rows == 16 * ROWS, "three steps a pass"
    assert checked == list(range(3, 49, 3)), "least_steps / 16 steps apart"


def test_checks_of_passes_that_are_long_enough_stay_within_them() -> None:
    _, _, checked = trained(replace(SMALL, batch_size=16, checks=2, least_steps=64))
    assert checked == [8, 17, 25, 34, 42, 51, 59, 68], "17 steps a pass, as with `epochs: 4`"


def test_the_usual_passes_train_to_the_bit_as_if_they_were_given() -> None:
    model, state, _ = trained(replace(SMALL, least_steps=9))
    given, same, _ = trained(replace(SMALL, least_steps=9, epochs=3))
    assert state.checks == same.checks
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), given.parameters(), strict=True)
    )


def test_patience_ends_added_passes_and_the_best_weights_are_kept() -> None:
    _, state, checked = trained(replace(SMALL, patience=2, least_steps=480, learning_rate=0.3))
    assert len(checked) == state.best + 1 + 2
    assert state.rows < 160 * ROWS


@pytest.mark.parametrize("kill_at", [4, 16, 31])
def test_a_killed_training_of_a_small_table_goes_on_to_the_same_bits(
    tmp_path: Path, kill_at: int
) -> None:
    settings = replace(SMALL, least_steps=32 * 3)
    whole, state, _ = trained(settings)
    path = tmp_path / "run.safetensors"
    with pytest.raises(Killed):
        trained(settings, path, kill_at=kill_at)
    assert path.is_file() == (kill_at > 6), "saved as often as it is checked"
    revived, resumed, _ = trained(settings, path)
    assert timeless(resumed) == timeless(state)
    assert all(
        torch.equal(a, b) for a, b in zip(whole.parameters(), revived.parameters(), strict=True)
    )


def test_permuted_test_rows_change_nothing_that_is_trained() -> None:
    order = np.random.default_rng(0).permutation(len(PROBLEM.test))
    permuted = replace(PROBLEM, test=rows_of(PROBLEM.test, order))
    states = []
    for problem in (PROBLEM, permuted):
        torch.manual_seed(3)
        model = make_model(dropout=0.2)
        states.append((train(model, problem, SMALL, seed=1).checks, model.state_dict()))
    (checks, weights), (same_checks, same_weights) = states
    assert checks == same_checks
    assert all(torch.equal(weights[name], same_weights[name]) for name in weights)
    assert isinstance(permuted, TabularProblem)

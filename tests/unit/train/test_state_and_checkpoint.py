"""What a training remembers: which check is best, and the round trip of its state over the disk."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recmtl.errors import DataError
from recmtl.train.checkpoint import (
    Checkpoint,
    read_state,
    save_due,
    sibling_checkpoint,
    write_state,
)
from recmtl.train.config import Training
from recmtl.train.optimizer import Optimizer
from recmtl.train.training_state import TrainingState, ValidationCheck
from tests.tabular_problems import make_model

scores = st.one_of(st.just(math.nan), st.sampled_from([0.1, 0.2, 0.3]))


def state_after(values: list[float], held: int = 0) -> TrainingState:
    """A training with these scores, the first `held` of them with gates held open."""
    state = TrainingState()
    for number, score in enumerate(values):
        state.checks.append(ValidationCheck(number, score, 0.0, {}, held=number < held))
        if state.newest_is_best:
            state.best = number
    return state


@settings(max_examples=100, deadline=None)
@given(st.lists(scores, min_size=1, max_size=7))
def test_the_best_check_is_the_first_with_the_highest_score(values: list[float]) -> None:
    state = state_after(values)
    defined = [value for value in values if not math.isnan(value)]
    assert state.best == (values.index(max(defined)) if defined else 0)
    assert state.stale == len(values) - 1 - state.best


@settings(max_examples=60, deadline=None)
@given(st.lists(scores, min_size=2, max_size=7), st.integers(1, 3))
def test_checks_with_held_gates_never_outlive_a_later_one(values: list[float], held: int) -> None:
    state, first = state_after(values, held), min(held, len(values) - 1)
    assert state.best >= first
    if held < len(values):
        rest = state_after(values[held:])
        assert state.best == held + rest.best


def test_before_the_first_check_nothing_is_stale() -> None:
    assert TrainingState().stale == 0 and TrainingState().best == -1


def test_a_check_without_health_comes_back_from_json() -> None:
    check = ValidationCheck(0.5, 0.7, 0.1, {"click": {"auc": 0.7}})
    data = json.loads(json.dumps(dataclasses.asdict(check)))
    assert ValidationCheck.from_json(data) == check
    del data["health"], data["held"]
    assert ValidationCheck.from_json(data) == check, "checks written before these fields existed"


NESTED = {
    "numbers": [1, 2.5, None, True],
    "tensors": {"a": torch.arange(3), 7: {"b": torch.rand(2, 2, dtype=torch.float64)}},
    "empty": {},
    "list of tensors": [torch.zeros(1), {"c": torch.ones(2)}],
}


def test_nested_state_comes_back_with_its_keys_and_types(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    write_state(path, NESTED)
    with read_state(path) as state:
        assert state is not None
        assert state["numbers"] == NESTED["numbers"] and state["empty"] == {}
        assert set(state["tensors"]) == {"a", 7}
        assert torch.equal(state["tensors"]["a"], NESTED["tensors"]["a"])
        assert torch.equal(state["tensors"][7]["b"], NESTED["tensors"][7]["b"])
        assert torch.equal(state["list of tensors"][1]["c"], torch.ones(2))


def test_random_numbers_continue_where_the_state_was_written(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    torch.manual_seed(3)
    torch.rand(5)
    write_state(path, {})
    expected = torch.rand(4)
    torch.manual_seed(99)
    with read_state(path):
        torch.rand(100)  # whatever loading draws does not matter
    assert torch.equal(torch.rand(4), expected)


def test_tensors_that_share_memory_are_written_apart(tmp_path: Path) -> None:
    whole, path = torch.arange(6.0).view(2, 3), tmp_path / "state.safetensors"
    write_state(path, {"whole": whole, "view": whole.T, "same": whole})
    with read_state(path) as state:
        assert state is not None and torch.equal(state["view"], whole.T)
        assert torch.equal(state["same"], whole)


def test_without_a_file_there_is_no_state(tmp_path: Path) -> None:
    with read_state(tmp_path / "absent") as state:
        assert state is None


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x08" + b"\0" * 7 + b"{}      "])
def test_a_damaged_file_is_refused_with_its_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.safetensors"
    path.write_bytes(content)
    message = r"state.safetensors: not a checkpoint.*delete it"
    with pytest.raises(DataError, match=message), read_state(path):
        pass


def test_what_does_not_fit_the_state_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    write_state(path, {"model": {}})
    message = "not a checkpoint of this network"
    with pytest.raises(DataError, match=message), read_state(path) as state:
        assert state is not None
        make_model().load_state_dict(state["model"])


def test_a_disk_that_refuses_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"checkpoint not written.*free disk space"):
        write_state(tmp_path / "file" / "state.safetensors", {})


def pair(path: Path | None) -> tuple[Checkpoint, Optimizer]:
    model = make_model()
    optimizer = Optimizer(model, Training(), total_steps=9)
    return Checkpoint(model, optimizer, path=path), optimizer


def test_a_training_comes_back_whole(tmp_path: Path) -> None:
    saved, optimizer = pair(tmp_path / "run.safetensors")
    state = TrainingState(checks=[ValidationCheck(0, 0.3, 0.0, {})])
    saved.keep_if_best(state)
    for parameter in saved.model.parameters():
        parameter.data.add_(1.0)
    optimizer.steps, state.rows, state.seconds, state.loss = 4, 77, 1.5, torch.tensor(2.5)
    saved.save(state)
    again, revived = pair(tmp_path / "run.safetensors")
    loaded = TrainingState()
    again.load(loaded)
    assert loaded == dataclasses.replace(state, loss=2.5) and revived.steps == 4
    for name, tensor in saved.model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], tensor)
        assert torch.equal(again.best[name], saved.best[name])
    again.restore_best()
    for name, tensor in again.model.state_dict().items():
        assert torch.equal(tensor, saved.best[name])


def test_without_a_path_nothing_is_written_or_read(tmp_path: Path) -> None:
    saved, _ = pair(None)
    saved.save(TrainingState())
    saved.load(TrainingState())
    saved.restore_best()
    assert not list(tmp_path.iterdir())


def test_only_a_better_check_replaces_the_best_weights() -> None:
    saved, _ = pair(None)
    state = TrainingState(checks=[ValidationCheck(0, 0.5, 0.0, {})])
    saved.keep_if_best(state)
    best = saved.best
    state.checks.append(ValidationCheck(1, 0.4, 0.0, {}))
    saved.keep_if_best(state)
    assert saved.best is best and state.best == 0
    state.checks.append(ValidationCheck(2, 0.6, 0.0, {}))
    saved.keep_if_best(state)
    assert saved.best is not best and state.best == 2


@pytest.mark.parametrize(
    ("save_every", "due"), [(0, [5, 10]), (2, [2, 4, 5, 6, 8, 10]), (7, [5, 7, 10])]
)
def test_state_is_saved_at_the_end_of_epochs_and_every_so_many_steps(
    save_every: int, due: list[int]
) -> None:
    settings_of_saving = Training(save_every=save_every)
    steps = range(1, 12)
    assert [n for n in steps if save_due(n, epoch=5, settings=settings_of_saving)] == due


def test_parts_of_a_work_have_checkpoints_beside_its_own() -> None:
    path = Path("runs/checkpoints/branched-0.safetensors")
    beside = {sibling_checkpoint(path, part) for part in ("click", "buy")}
    assert len(beside | {path}) == 3 and {part.parent for part in beside} == {path.parent}

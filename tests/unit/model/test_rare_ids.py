"""Rare ids are replaced by the unknown row in training, as often as their counts say."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recmtl.model.rare_ids import RareIds
from recmtl.train.config import Training
from recmtl.train.loop import train
from recmtl.train.tabular_problem import TabularProblem
from tests.tabular_problems import ENCODING, make_model, make_problem

ROWS = ENCODING.table_rows
UNKNOWN = np.array([1] * ENCODING.id_columns, np.int32)
K = 20.0


def counts(seed: int = 0) -> np.ndarray:
    """Of padding and the unknown row none, of all others from 1 to 60."""
    found = np.random.default_rng(seed).integers(1, 60, ROWS)
    found[:2] = 0
    return found


def ids_of(rows: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(
        np.random.default_rng(seed).integers(0, ROWS, (rows, ENCODING.id_columns))
    )


def shrinking_problem(k: float = K) -> TabularProblem:
    return replace(make_problem(), rare_ids=RareIds(counts(), UNKNOWN, k=k))


def draw(seed: int, number: int) -> float:
    """Number `number` of splitmix64, in Python's whole numbers, as 24 bits in 0..1."""
    mixed = (seed + (number + 1) * 0x9E3779B97F4A7C15) % 2**64
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB % 2**64
    return ((mixed ^ mixed >> 31) >> 40) / 2**24


def plain(ids: np.ndarray, counted: np.ndarray, seed: int, k: float) -> np.ndarray:
    """The rule once more, value by value."""
    replaced = ids.copy()
    for place, (row, column) in enumerate(np.ndindex(*ids.shape)):
        count = int(counted[ids[row, column]])
        chance = np.float32(k / (count + k)) if count else 0.0
        if draw(seed, place) < chance:
            replaced[row, column] = UNKNOWN[column]
    return replaced


@given(seed=st.integers(0, 2**32), k=st.floats(1e-3, 1e6), rows=st.integers(1, 40))
@settings(max_examples=25, deadline=None)
def test_every_id_is_replaced_where_its_draw_is_below_its_chance(
    seed: int, k: float, rows: int
) -> None:
    ids, counted = ids_of(rows, seed), counts(seed)
    torch.manual_seed(seed)
    of_batch = int(torch.randint(2**63 - 1, (1,)))
    torch.manual_seed(seed)
    replaced = RareIds(counted, UNKNOWN, k=k)(ids)
    np.testing.assert_array_equal(replaced, plain(ids.numpy(), counted, of_batch, k))


def test_batches_have_draws_of_their_own() -> None:
    rare, ids = RareIds(counts(), UNKNOWN, k=K), ids_of(200)
    assert not torch.equal(rare(ids), rare(ids))


@pytest.mark.parametrize("count", [1, 7, 300])
def test_the_share_that_is_replaced_is_k_of_count_and_k(count: int) -> None:
    counted = np.full(ROWS, count)
    counted[:2] = 0
    ids = torch.full((40_000, ENCODING.id_columns), 5)
    torch.manual_seed(1)
    share = float((RareIds(counted, UNKNOWN, k=K)(ids) == 1).double().mean())
    expected = K / (count + K)
    deviation = (expected * (1 - expected) / ids.numel()) ** 0.5
    assert abs(share - expected) < 5 * deviation


def test_no_k_replaces_nothing_and_an_endless_one_all_that_was_counted() -> None:
    ids = ids_of(500)
    assert torch.equal(RareIds(counts(), UNKNOWN, k=1e-30)(ids), ids)
    counted = torch.from_numpy(counts())[ids] > 0
    gone = RareIds(counts(), UNKNOWN, k=1e30)(ids)
    assert torch.equal(gone, torch.where(counted, torch.tensor(1), ids))


def test_padding_unknown_ids_and_those_nobody_counted_stay() -> None:
    ids = torch.zeros((100, ENCODING.id_columns), dtype=torch.long)
    for row in (0, 1):
        assert torch.equal(RareIds(counts(), UNKNOWN, k=1e30)(ids + row), ids + row)
    assert torch.equal(RareIds(np.zeros(ROWS, np.int64), UNKNOWN, k=1e30)(ids + 5), ids + 5)


def test_elements_of_a_list_are_drawn_each_on_their_own() -> None:
    ids = torch.full((2000, ENCODING.id_columns), 5)
    torch.manual_seed(0)
    replaced = (RareIds(np.full(ROWS, 20), UNKNOWN, k=K)(ids) == 1).double()
    correlation = np.corrcoef(replaced.numpy().T)[np.triu_indices(ENCODING.id_columns, 1)]
    assert abs(correlation).max() < 0.12 and 0.4 < float(replaced.mean()) < 0.6


def test_it_acts_in_training_alone() -> None:
    problem = shrinking_problem(1e30)
    model = problem.network(make_model().grid.layout, make_model().sizes)
    (batch,) = problem.train.batches(batch_size=len(problem.train), seed=None)
    known, nothing = batch.ids.clone(), torch.where(batch.ids > 0, 1, 0)
    model.eval()
    assert torch.equal(model.encoder(*batch.inputs), model.encoder(known, batch.numeric))
    expected = model.encoder(nothing, batch.numeric)
    assert not torch.equal(model.encoder(*batch.inputs), expected)
    model.train()
    assert torch.equal(model.encoder(*batch.inputs), expected)
    assert torch.equal(batch.ids, known)


def test_the_unknown_row_learns_from_rare_ids() -> None:
    problem = shrinking_problem(1e30)
    model = problem.network(make_model().grid.layout, make_model().sizes)
    (batch,) = problem.train.batches(batch_size=len(problem.train), seed=None)
    assert not bool((batch.ids == 1).all(1).any())
    torch.stack([x.sum() for x in model.train()(*batch.inputs)]).sum().backward()
    gradient = model.encoder.table.weight.grad
    assert gradient is not None
    moved = gradient.coalesce().to_dense().abs().sum(1)
    assert float(moved[1]) > 0 and float(moved[2:].sum()) == 0


def trained(problem: TabularProblem, path: Path | None = None, epochs: int = 2) -> torch.Tensor:
    model = make_model(problem=problem)
    model.encoder.rare_ids = problem.rare_ids
    options = Training(batch_size=32, epochs=epochs, save_every=3, decay=False)
    train(model, problem, options, seed=4, checkpoint=path)
    return model.encoder.table.weight.detach().clone()


def test_off_is_as_if_there_were_none() -> None:
    """No draw is made, so that dropout and all weights stay what they were."""
    torch.manual_seed(3)
    plain_weights = trained(make_problem())
    torch.manual_seed(3)
    assert torch.equal(trained(replace(make_problem(), rare_ids=None)), plain_weights)
    torch.manual_seed(3)
    assert not torch.equal(trained(shrinking_problem()), plain_weights)


class _StoppedError(Exception):
    """Stands for the end of a process."""


def test_a_resumed_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    problem = shrinking_problem()
    torch.manual_seed(3)
    whole = trained(problem, tmp_path / "whole.safetensors")
    torch.manual_seed(3)
    model = make_model(problem=problem)
    model.encoder.rare_ids = problem.rare_ids
    options = Training(batch_size=32, epochs=2, save_every=3, decay=False)
    path, calls = tmp_path / "resumed.safetensors", []

    def stop(*_: object) -> None:
        calls.append(1)
        if len(calls) == 8:
            raise _StoppedError

    with pytest.raises(_StoppedError):
        train(model, problem, options, seed=4, checkpoint=path, on_progress=stop)
    torch.manual_seed(3)
    assert torch.equal(trained(problem, path), whole)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    before, weights = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            torch.manual_seed(0)
            weights.append(RareIds(counts(), UNKNOWN, k=K)(ids_of(5000)))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*weights)


def test_a_single_task_keeps_the_setting() -> None:
    problem = shrinking_problem()
    alone = problem.only(problem.tasks[0])
    assert alone.rare_ids is problem.rare_ids
    model = make_model()
    networks = [p.network(model.grid.layout, model.sizes) for p in (alone, make_problem())]
    assert [network.encoder.rare_ids for network in networks] == [problem.rare_ids, None]

"""Integrated gradients by their axioms, and the scales on which predictions are explained."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import ConfigError
from recmtl.serve import Ranker, Scorer
from recmtl.serve.scoring.attribution import Attribution, integrated_gradients
from recmtl.serve.scoring.explain import Explanation, explain
from tests.unit.serve.shop import HEADS, make_model

F, T = 3, 2
seeds = st.integers(0, 10_000)


def draw(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rows_of(seed: int) -> tuple[Tensor, Tensor]:
    return draw(seed, 5, F), draw(seed + 1, 1, F)


def smooth(seed: int):
    """A function `[B, F]` -> `[B, T]` that is neither linear nor quadratic."""
    first, second = draw(seed + 2, F, 4), draw(seed + 3, 4, T)
    return lambda x: torch.tanh(x @ first) @ second


def quadratic(seed: int):
    matrix, line = draw(seed + 2, T, F, F), draw(seed + 3, F, T)
    return lambda x: torch.einsum("bi,tij,bj->bt", x, matrix, x) + x @ line + 1.0


@given(seeds, st.integers(1, 5))
def test_of_a_quadratic_function_one_midpoint_is_complete(seed, steps):
    (inputs, base), function = rows_of(seed), quadratic(seed)
    parts = integrated_gradients(function, inputs, base, steps=steps)
    torch.testing.assert_close(parts.sum(2), function(inputs) - function(base))


@settings(max_examples=15, deadline=None)
@given(seeds)
def test_of_a_smooth_function_the_gap_of_completeness_vanishes(seed):
    (inputs, base), function = rows_of(seed), smooth(seed)
    parts = integrated_gradients(function, inputs, base, steps=512)
    torch.testing.assert_close(parts.sum(2), function(inputs) - function(base), atol=2e-3, rtol=0)


@given(seeds)
def test_contributions_are_linear_in_the_function(seed):
    (inputs, base), one, other = rows_of(seed), smooth(seed), quadratic(seed + 5)
    mixed = integrated_gradients(lambda x: 2 * one(x) - other(x), inputs, base, steps=7)
    parts = [integrated_gradients(f, inputs, base, steps=7) for f in (one, other)]
    torch.testing.assert_close(mixed, 2 * parts[0] - parts[1])


@given(seeds)
def test_an_input_that_the_function_does_not_read_adds_nothing(seed):
    (inputs, base), function = rows_of(seed), smooth(seed)
    mask = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    parts = integrated_gradients(lambda x: function(x * mask), inputs, base, steps=5)
    assert (parts[:, :, 1] == 0).all() and (parts[:, :, 0] != 0).any()


@given(seeds)
def test_inputs_that_play_the_same_part_add_the_same(seed):
    inputs, base = rows_of(seed)
    inputs[:, 1], base[:, 1] = inputs[:, 0], base[:, 0]
    function = smooth(seed)

    def symmetric(x: Tensor) -> Tensor:
        return function(x) + function(x[:, [1, 0, 2]])

    parts = integrated_gradients(symmetric, inputs, base, steps=5)
    torch.testing.assert_close(parts[:, :, 0], parts[:, :, 1])


@given(seeds)
def test_rows_are_explained_one_by_one_and_from_a_base_of_their_own(seed):
    inputs, function, bases = draw(seed, 5, F), smooth(seed), draw(seed + 1, 5, F)
    together = integrated_gradients(function, inputs, bases, steps=6)
    for row in range(5):
        where = slice(row, row + 1)
        alone = integrated_gradients(function, inputs[where], bases[where], steps=6)
        torch.testing.assert_close(together[where], alone)


def test_a_row_that_is_its_own_base_has_nothing_to_explain() -> None:
    inputs = draw(1, 4, F)
    assert (integrated_gradients(smooth(1), inputs, inputs, steps=3) == 0).all()


def attribution(encoder: RowEncoder, **changes: object) -> Attribution:
    model = make_model(encoder)
    chain = replace(model.heads.chain, **changes)
    model.heads.chain = chain
    return Attribution(model, range(len(HEADS)), unknown=torch.zeros((1, 6), dtype=torch.int32))


def test_classes_are_explained_by_their_log_odds_against_all_others(encoder: RowEncoder) -> None:
    logits = [draw(7, 6, size).float() for size in (1, 1, 1, 3)]
    chosen = torch.tensor([[0, 0, 0, k % 3] for k in range(6)])
    values = attribution(encoder).predictions(logits, chosen)
    p = torch.softmax(logits[3], 1)[torch.arange(6), chosen[:, 3]]
    torch.testing.assert_close(values[:, 3], torch.logit(p))
    torch.testing.assert_close(values[:, :2], torch.cat(logits[:2], 1))
    torch.testing.assert_close(values[:, 2], logits[2][:, 0] * HEADS[2].std + HEADS[2].mean)


def test_the_most_probable_class_is_the_one_explained(encoder: RowEncoder) -> None:
    logits = [draw(8, 9, size) for size in (1, 1, 1, 3)]
    chosen = attribution(encoder)._chosen(logits)
    assert (chosen[:, :3] == 0).all()
    torch.testing.assert_close(chosen[:, 3], logits[3].argmax(1))


def test_a_joint_chain_explains_the_childs_joint_column(encoder: RowEncoder) -> None:
    chosen = attribution(encoder, child="joint")._chosen(
        [draw(8, 9, size) for size in (1, 1, 1, 3)]
    )
    assert chosen[:, :3].unique(dim=0).tolist() == [[0, 1, 0]]


def hand_made(contributions: list[float], names: list[str], scale: str = "log odds") -> Explanation:
    """One row of one task."""
    added = np.array([[contributions]])
    return Explanation(
        tasks=("click",),
        columns=(("p_click",),),
        scores=np.array([[0.75]]),
        predicted=np.array([[1.5]]),
        base=np.array([[0.25]]),
        contributions=added,
        features=tuple(names),
        values=pa.table({name: pa.array([None if name == "c" else "x" * 60]) for name in names}),
        shares=np.array([[[0.75, 0.0, 1.0]]]),
        skipped=np.array([[[0.25, 0.0]]]),
        experts=((1, 0), (1, 4), (2, 0)),
        scales=(scale,),
    )


def test_contributions_to_the_log_of_a_mean_are_shown_as_factors() -> None:
    text = hand_made([np.log(4.0), np.log(0.5), np.log(1.0)], ["a", "b", "c"], "log of the mean")
    lines = text.text(k=2).splitlines()
    assert lines[3] == "  the mean 4.482 = 1.284 where nothing is known x 2 by its features"
    assert [line.split(" x ")[-1] for line in lines[4:]] == ["4", "0.5", "1"]


def test_an_explanation_worked_by_hand() -> None:
    reasons = hand_made([0.25, -2.0, 1.0], ["a", "b", "c"])
    assert reasons.gap.tolist() == [[2.0]]
    assert reasons.table(2).to_pydict() == {
        "row": [0, 0],
        "task": ["click", "click"],
        "column": ["p_click", "p_click"],
        "score": [0.75, 0.75],
        "rank": [1, 2],
        "feature": ["b", "c"],
        "value": ["x" * 60, "missing"],
        "contribution": [-2.0, 1.0],
        "scale": ["log odds", "log odds"],
    }
    routes = reasons.routes().to_pydict()
    assert list(zip(routes["layer"], routes["expert"], routes["share"], strict=True)) == [
        (1, 0, 0.75), (1, None, 0.25), (2, 0, 1.0),
    ]  # fmt: skip
    assert reasons.text(k=2).splitlines() == [
        "click: p_click = 0.75",
        "  layer 1: expert 0 (75%), skipped (25%)",
        "  layer 2: expert 0 (100%)",
        "  log odds +1.500 = +0.250 where nothing is known -0.750 by its features",
        f"    b = {'x' * 33}... -2.000",
        f"    {'c = missing':<40} +1.000",
        f"    {'1 other features':<40} +0.250",
    ]


def test_equal_contributions_keep_the_order_of_the_features() -> None:
    table = hand_made([1.0, -1.0, 1.0], ["a", "b", "c"]).table()
    assert table["feature"].to_pylist() == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: e.table(0), "k is 0; give a whole number from 1"),
        (lambda e: e.text(1), "row is 1; give a whole number from 0 to 0"),
        (lambda e: e.text(0, k=2.0), "k is 2.0; give a whole number"),
    ],
)
def test_numbers_out_of_bounds_are_named(call, message) -> None:
    with pytest.raises(ConfigError, match=message):
        call(hand_made([1.0], ["a"]))


def test_batches_of_rows_are_explained_as_if_alone(
    scorer: Scorer, log: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = explain(scorer, log.slice(0, 7), tasks=["rating", "click"], steps=3)
    monkeypatch.setattr("recmtl.serve.scoring.explain.ROWS_AT_ONCE", 2)
    cut = Ranker(scorer).explain(log.slice(0, 7), ["rating", "click"], steps=3)
    assert cut.tasks == whole.tasks == ("rating", "click")
    assert cut.columns == whole.columns
    np.testing.assert_array_equal(cut.scores, whole.scores)
    np.testing.assert_allclose(cut.contributions, whole.contributions, atol=1e-5)

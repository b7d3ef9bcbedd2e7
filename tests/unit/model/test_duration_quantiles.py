"""Watch time by quantiles among rows of like duration: groups, restoring, and what is learnt."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import rankdata, spearmanr
from torch import Tensor

from recmtl.errors import SchemaError
from recmtl.grid import Routes, recmtl_grid
from recmtl.model.heads import HeadSpec, TabularHeads, fitted
from recmtl.model.heads.duration import MOST_KNOTS, interpolated
from recmtl.model.heads.fit import label_model
from recmtl.schema import Head, Schema, parse_schema
from recmtl.search.supernet import Supernet
from recmtl.train.config import Config
from tests.tabular_problems import make_problem
from tests.unit.serve.shop import SCHEMA

pytestmark = pytest.mark.usefixtures("in_float64")


def d2q_of(
    label: np.ndarray, duration: np.ndarray, groups: int = 4, weight: np.ndarray | None = None
) -> HeadSpec:
    spec = HeadSpec("watch", "regression", head=Head("d2q", duration="length", groups=groups))
    return fitted(spec, label, weight, duration)


def values_of(spec: HeadSpec, quantile: Sequence[float], duration: Sequence[float]) -> list[float]:
    logits = torch.stack([torch.logit(torch.tensor(quantile)), torch.tensor(duration)], 1)
    values: list[float] = label_model(spec).scores(logits)[0].tolist()
    return values


def quantile_losses(spec: HeadSpec, label: np.ndarray, duration: np.ndarray, q: float) -> Tensor:
    odds = torch.logit(torch.full((len(label),), q))
    logits = torch.stack([odds, torch.from_numpy(duration)], 1)
    return label_model(spec).loss(logits, torch.from_numpy(label))


def log_of(rows: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    dice = np.random.default_rng(0)
    duration = dice.lognormal(3, 1, rows).astype(np.float32).astype(np.float64)
    label = duration * np.minimum(dice.beta(1, 1, rows) * 1.3, 1)  # many are watched to the end
    return label.astype(np.float32).astype(np.float64), duration


def test_groups_have_equally_many_rows_and_a_label_its_rank_among_them() -> None:
    label, duration = log_of()
    spec = d2q_of(label, duration, groups=4)
    edges = np.array(spec.numbers["thresholds"])
    group = np.searchsorted(edges, duration)
    assert np.bincount(group).tolist() == [1000] * 4
    for number in range(4):
        rows = group == number
        rank = (rankdata(label[rows]) - 0.5) / 1000  # a plain mid-quantile
        loss = quantile_losses(spec, label[rows], duration[rows], 0.5)
        assert loss.numpy() == pytest.approx(12 * (rank - 0.5) ** 2, abs=0.06)
        assert loss.mean().item() == pytest.approx(1.0, abs=0.02)
    assert spec.start_loss == pytest.approx(1.0, abs=0.02)


def test_a_row_with_the_quantile_of_its_label_restores_that_label() -> None:
    label, duration = log_of()
    spec = d2q_of(label, duration)
    model = label_model(spec)
    for row in range(0, len(label), 97):
        zero = torch.zeros(1, 1)
        logits = torch.cat([zero, torch.tensor([[duration[row]]])], 1)
        loss = model.loss(logits, torch.tensor([label[row]])).item()
        higher = model.loss(logits + torch.tensor([[1e-4, 0.0]]), torch.tensor([label[row]]))
        side = 1 if higher.item() < loss else -1
        quantile = 0.5 + side * (loss / 12) ** 0.5
        (restored,) = values_of(spec, [quantile], [duration[row]])
        assert restored == pytest.approx(label[row], rel=1e-5)


@pytest.mark.parametrize("label", [[3.0], [0.0, 0.0, 5.0], [1.0] * 9 + [2.0], list(range(200))])
def test_few_labels_are_restored_within_their_range(label: Sequence[float]) -> None:
    spec = d2q_of(np.array(label, np.float64), np.zeros(len(label)))
    low, middle, high = values_of(spec, [1e-9, 0.5, 1 - 1e-9], [0.0] * 3)
    assert (low, high) == (min(label), max(label)) and low <= middle <= high
    assert len(spec.numbers["values"]) == 2 * MOST_KNOTS


def test_rows_without_a_duration_are_a_group() -> None:
    label = np.array([1.0, 2.0, 10.0, 20.0])
    spec = d2q_of(label, np.array([0.0, 0.0, np.nan, np.nan]))
    assert values_of(spec, [0.5, 0.5], [0.0, np.nan]) == pytest.approx([1.5, 15.0])
    whole = d2q_of(label, np.zeros(4))
    assert values_of(whole, [0.5], [np.nan]) == values_of(whole, [0.5], [0.0])
    assert d2q_of(label, np.full(4, np.nan)).numbers["thresholds"] == ()


def test_a_weight_of_two_is_the_row_twice() -> None:
    label, duration = log_of(60)
    twice = np.r_[label, label[:20]], np.r_[duration, duration[:20]]
    weight = np.r_[np.full(20, 2.0), np.ones(40)]
    of_weights, of_rows = d2q_of(label, duration, weight=weight), d2q_of(*twice)
    for name, numbers in of_rows.numbers.items():
        assert of_weights.numbers[name] == pytest.approx(numbers), name


def test_lines_are_numpys() -> None:
    dice = np.random.default_rng(1)
    knots, values = np.sort(dice.normal(size=(5, 9)), 1), dice.normal(size=(5, 9))
    knots[:, 7:], values[:, 7:] = knots[:, [6]], values[:, [6]]
    for x in dice.normal(size=20):
        lines = torch.from_numpy(knots), torch.from_numpy(values)
        got = interpolated(torch.full((5,), x), *lines, torch.arange(5))
        want = [np.interp(x, k[:7], v[:7]) for k, v in zip(knots, values, strict=True)]
        assert got.numpy() == pytest.approx(want)


def test_what_a_video_is_worth_is_learnt_apart_from_its_length() -> None:
    """A linear head on the item's worth alone restores watch time of any length in order."""
    dice = np.random.default_rng(5)
    worth, duration = dice.normal(size=(2, 3000))
    label = np.exp(2 * duration) * np.exp(0.5 * worth + 0.2 * dice.normal(size=3000))
    spec = d2q_of(label, duration, groups=40)
    heads = TabularHeads((spec,), width=1, tower=(), numbers=("length",)).double()
    optimizer = torch.optim.LBFGS(heads.parameters(), line_search_fn="strong_wolfe")
    lanes, numbers = torch.from_numpy(worth).view(-1, 1, 1), torch.from_numpy(duration).view(-1, 1)
    labels, weight = torch.from_numpy(label).view(-1, 1), torch.ones(3000)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = heads.losses(heads(lanes, numbers), labels, weight).sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[arg-type] # a Tensor is a float to it
    logits = heads(lanes, numbers)
    restored = heads.scores(logits)[:, 0].detach().numpy()
    assert spearmanr(restored, label).statistic > 0.97
    assert spearmanr(logits[0][:, 0].detach(), worth).statistic == pytest.approx(1.0)
    assert abs(np.log(restored / label)).mean() < 0.25


def test_a_search_has_the_duration_above_any_cut() -> None:
    problem = make_problem(rows=100)
    label, length = problem.train.labels[:, 2], problem.train.numeric[:, 0]
    rows = ~np.isnan(label)
    head = replace(problem.heads[2], head=Head("d2q", duration="age"), transform="none")
    heads = list(problem.heads)
    heads[2] = fitted(head, label[rows], None, length[rows])
    problem = replace(problem, heads=tuple(heads))
    space = recmtl_grid(4, cells=4, widths=(8, 4), depth=2)
    supernet = Supernet(space, problem=problem, config=Config())
    supernet.model.double().eval()
    batch = next(problem.validation.batches(batch_size=50, seed=None))
    batch = replace(batch, numeric=batch.numeric.double())
    decisions = Routes.full(space).decisions(space)
    whole = supernet.model(*batch.inputs, decisions=decisions)
    encoded = supernet.model.encoder(*batch.inputs)
    parts = supernet.logits_above(encoded, encoded, decisions, batch)
    assert torch.equal(parts[2][:, 1].nan_to_num(9), batch.numeric[:, 0].nan_to_num(9))
    torch.testing.assert_close(parts[2], whole[2], equal_nan=True)


def schema_of(duration: str) -> Schema:
    head = f"head: {{kind: d2q, duration: {duration}}}"
    text = SCHEMA.replace("label: watch_s, transform: log1p", f"label: watch_s, {head}")
    return parse_schema(text, source="shop.yaml")


def test_the_duration_is_a_numeric_feature() -> None:
    assert schema_of("age").task("watch").head == Head("d2q", duration="age")
    with pytest.raises(SchemaError, match=r"no numeric feature 'pric'.*did you mean .price"):
        schema_of("pric")
    with pytest.raises(SchemaError, match="no numeric feature 'item'"):
        schema_of("item")


def test_a_network_without_the_duration_is_refused() -> None:
    label, duration = log_of(50)
    with pytest.raises(ValueError, match="length"):
        TabularHeads((d2q_of(label, duration),), width=1, tower=(), numbers=("other",))

"""Models of labels in a network: what they learn, what masks do, and that they are saved."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from recmtl.errors import SchemaError
from recmtl.grid import mmoe
from recmtl.model import ModelSizes, TabularModel, load_model, save_model
from recmtl.model.heads import HeadSpec, TabularHeads, fitted
from recmtl.model.heads.fit import MOST_ROWS, label_model
from recmtl.schema import Condition, Head, TaskSpec
from recmtl.schema.names import quantile_column, scored_columns
from tests.tabular_problems import ENCODING

DICE = np.random.default_rng(0)
LABELS = {
    "ordinal": DICE.integers(0, 3, 300).astype(np.float32),
    "ziln": np.where(DICE.random(300) < 0.5, 0, DICE.lognormal(1, 1, 300)).astype(np.float32),
    "cread": np.where(DICE.random(300) < 0.3, 0, DICE.lognormal(3, 1, 300)).astype(np.float32),
    "poisson": DICE.poisson(2.0, 300).astype(np.float32),
    "negative_binomial": DICE.negative_binomial(1, 0.2, 300).astype(np.float32),
}
DURATION = np.where(DICE.random(300) < 0.2, np.nan, DICE.normal(size=300)).astype(np.float32)
LABELS["d2q"] = DICE.lognormal(np.nan_to_num(DURATION), 1).astype(np.float32)
every_head = pytest.mark.parametrize("kind", LABELS)


def head_of(kind: str, label: np.ndarray | None = None, **options: object) -> HeadSpec:
    label = LABELS[kind] if label is None else label
    spec = HeadSpec(kind, "regression", mean=float(label.mean()), std=float(label.std()))
    if kind == "ordinal":
        spec = replace(spec, kind="multiclass", classes=tuple("abcdefgh"[: int(label.max()) + 1]))
    duration = None
    if kind == "d2q":
        duration, options = DURATION, {"duration": "age", "groups": 5, **options}
    return fitted(replace(spec, head=Head(kind, **options)), label, None, duration)  # type: ignore[arg-type]


def heads_of_all() -> TabularHeads:
    torch.manual_seed(0)
    specs = [*map(head_of, LABELS), HeadSpec("click", "binary", mean=0.3)]
    return TabularHeads(specs, width=4, tower=(6,), numbers=("price", "age"))


def numbers_of_all(rows: slice = slice(None)) -> Tensor:
    return torch.from_numpy(np.stack([DURATION * 0, DURATION], 1)[rows])


def labels_of_all(rows: slice = slice(None)) -> Tensor:
    click = (LABELS["ziln"] > 1).astype(np.float32)
    return torch.from_numpy(np.stack([*LABELS.values(), click], 1)[rows])


def test_rows_without_a_label_have_no_gradient_and_do_not_count() -> None:
    heads, labels = heads_of_all(), labels_of_all(slice(0, 40))
    lanes, numbers = torch.randn(40, 7, 4, requires_grad=True), numbers_of_all(slice(0, 40))
    masked = labels.clone()
    masked[10:] = torch.nan
    losses = heads.losses(heads(lanes, numbers), masked, torch.ones(40))
    expected = heads.losses(heads(lanes[:10], numbers[:10]), labels[:10], torch.ones(10))
    assert losses.tolist() == pytest.approx(expected.tolist(), rel=1e-5)
    losses.sum().backward()
    assert lanes.grad is not None and lanes.grad.isfinite().all()
    assert (lanes.grad[10:] == 0).all() and (lanes.grad[:10] != 0).any(2).any(0).all()
    nothing = torch.full_like(labels, torch.nan)
    assert heads.losses(heads(lanes, numbers), nothing, torch.ones(40)).tolist() == [0.0] * 7


def test_every_weight_of_every_head_learns() -> None:
    heads = heads_of_all()
    logits = heads(torch.randn(300, 7, 4), numbers_of_all())
    heads.losses(logits, labels_of_all(), torch.ones(300)).sum().backward()
    without = [name for name, p in heads.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_a_batch_is_its_rows_one_by_one() -> None:
    heads = heads_of_all().eval().double()
    lanes = torch.randn(20, 7, 4, dtype=torch.float64)
    numbers = numbers_of_all(slice(0, 20)).double()
    rows = zip(lanes.split(1), numbers.split(1), strict=True)
    alone = [heads.scores(heads(*row)) for row in rows]
    assert torch.allclose(heads.scores(heads(lanes, numbers)), torch.cat(alone), rtol=1e-12)


@pytest.mark.parametrize("size", [1e2, 1e4, 1e6])
def test_scores_and_gradients_of_absurd_lanes_are_finite(size: float) -> None:
    heads = heads_of_all()
    lanes = (torch.randn(300, 7, 4) * size).requires_grad_()
    logits = heads(lanes, numbers_of_all() * size)
    assert heads.scores(logits).isfinite().all()
    heads.losses(logits, labels_of_all(), torch.ones(300)).sum().backward()
    assert lanes.grad is not None and lanes.grad.isfinite().all()


@every_head
def test_a_network_with_the_head_is_read_back_with_its_scores(kind: str, tmp_path: Path) -> None:
    options = {"quantiles": (0.1, 0.5)} if kind == "ziln" else {}
    specs = (head_of(kind, **options), HeadSpec("click", "binary"))
    sizes = ModelSizes(embedding=4, tower=(6,))
    layout = mmoe(2, experts=2, widths=(8, 4))
    model = TabularModel(ENCODING, specs, layout=layout, sizes=sizes).eval()
    save_model(model, tmp_path)
    read = load_model(tmp_path)
    assert read.heads.specs == specs and read.columns == model.columns
    ids, numbers = torch.randint(0, 50, (9, 5)), torch.randn(9, 2)
    assert torch.equal(read.predict(ids, numbers), model.predict(ids, numbers))


def test_a_plain_head_is_written_as_ever() -> None:
    written = HeadSpec("watch", "regression", transform="log1p").to_json()
    assert not {"head", "numbers", "start_loss"} & set(written)
    assert HeadSpec.from_json(json.loads(json.dumps(written))) == HeadSpec(
        "watch", "regression", transform="log1p"
    )


def learn(spec: HeadSpec, features: Tensor, label: Tensor, *, steps: int = 60) -> TabularHeads:
    """A linear head trained to the end on features `[R, D]` of one task."""
    torch.manual_seed(0)
    heads = TabularHeads((spec,), width=features.shape[1], tower=()).double()
    optimizer = torch.optim.LBFGS(heads.parameters(), max_iter=steps, line_search_fn="strong_wolfe")
    lanes, labels = features.unsqueeze(1), label.unsqueeze(1)
    weight = torch.ones(len(label), dtype=torch.float64)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = heads.losses(heads(lanes), labels, weight).sum()
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[arg-type] # a Tensor is a float to it
    return heads


def coefficients(heads: TabularHeads) -> np.ndarray:
    weights: np.ndarray = heads.logits[0].get_parameter("weights.0")[0].detach().numpy()
    return weights


def features_of(rows: int, seed: int) -> tuple[np.ndarray, np.random.Generator]:
    dice = np.random.default_rng(seed)
    return dice.normal(size=(rows, 2)), dice


def test_an_ordinal_head_recovers_planted_thresholds_and_slopes() -> None:
    x, dice = features_of(8000, 1)
    slopes, thresholds = np.array([1.5, -0.7]), np.array([-1.0, 0.2, 2.0])
    label = np.digitize(x @ slopes + dice.logistic(size=len(x)), thresholds).astype(np.float64)
    heads = learn(head_of("ordinal", label), torch.from_numpy(x), torch.from_numpy(label))
    assert coefficients(heads)[:, 0] == pytest.approx(slopes, abs=0.1)
    bias = heads.logits[0].get_parameter("biases.0").flatten()
    found = heads.label_model(0).thresholds - bias  # type: ignore[union-attr, operator]
    assert found.detach().numpy() == pytest.approx(thresholds, abs=0.12)


def test_a_ziln_recovers_planted_parameters() -> None:
    x, dice = features_of(8000, 2)
    above = dice.random(len(x)) < 1 / (1 + np.exp(-(0.5 + x @ [1.0, -0.5])))
    log = 2.0 + x @ [0.3, 0.6] + 0.8 * dice.normal(size=len(x))
    label = np.where(above, np.exp(log), 0.0)
    spec = head_of("ziln", label)
    heads = learn(spec, torch.from_numpy(x), torch.from_numpy(label))
    slopes = coefficients(heads)
    (std,), (mean,) = spec.numbers["std"], spec.numbers["mean"]
    assert slopes[:, 0] == pytest.approx([1.0, -0.5], abs=0.1)
    assert slopes[:, 1] * std == pytest.approx([0.3, 0.6], abs=0.05)
    bias = heads.logits[0].get_parameter("biases.0").flatten().detach().numpy()
    assert bias[0] == pytest.approx(0.5, abs=0.1)
    assert bias[1] * std + mean == pytest.approx(2.0, abs=0.05)
    assert np.log1p(np.exp(bias[2])) * std == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("kind", ["poisson", "negative_binomial"])
def test_counts_recover_planted_rates(kind: str) -> None:
    x, dice = features_of(8000, 3)
    mean = np.exp(0.5 + x @ [0.4, -0.3])
    label = dice.poisson(mean if kind == "poisson" else dice.gamma(1.5, mean / 1.5))
    spec = head_of(kind, label.astype(np.float64))
    heads = learn(spec, torch.from_numpy(x), torch.from_numpy(label.astype(np.float64)))
    assert coefficients(heads)[:, 0] == pytest.approx([0.4, -0.3], abs=0.06)
    if kind == "negative_binomial":
        size = heads.logits[0].get_parameter("biases.0").flatten()[1].item()
        assert np.exp(size + heads.label_model(0).log_size) == pytest.approx(1.5, rel=0.15)  # type: ignore[union-attr, operator]


def test_cread_orders_and_restores_planted_means() -> None:
    x, dice = features_of(6000, 4)
    mean = np.exp(1.0 + x @ [0.5, 0.0])
    label = dice.exponential(mean)
    heads = learn(head_of("cread", label, bins=16), torch.from_numpy(x), torch.from_numpy(label))
    values = heads.scores(heads(torch.from_numpy(x).unsqueeze(1)))[:, 0].detach().numpy()
    assert np.corrcoef(np.log(values), np.log(mean))[0, 1] > 0.98
    assert values.mean() == pytest.approx(label.mean(), rel=0.1)


@pytest.mark.parametrize(
    "label", [[3.0], [0.0, 0.0, 5.0], [1.0] * 9 + [2.0], list(range(100)), [-4.0, -4.0, 8.0]]
)
def test_shares_of_all_rows_restore_their_mean(label: Sequence[float]) -> None:
    spec = head_of("cread", np.array(label), bins=8)
    assert 1 <= spec.size <= 8 and list(spec.numbers["thresholds"]) == sorted(
        set(spec.numbers["thresholds"])
    )
    start = torch.tensor([label_model(spec).start])
    assert label_model(spec).scores(start)[0].item() == pytest.approx(np.mean(label), abs=1e-3)


def test_a_larger_skew_puts_thresholds_among_large_labels() -> None:
    label = np.random.default_rng(0).exponential(1.0, 5000)
    medians = [
        np.median(head_of("cread", label, skew=skew).numbers["thresholds"]) for skew in (0.0, 2, 6)
    ]
    assert medians == sorted(medians) and medians[0] < medians[-1]
    assert medians[0] == pytest.approx(np.log(2), abs=0.05)  # as many rows on either side


def test_a_head_without_a_row_above_zero_is_finite() -> None:
    spec = head_of("ziln", np.zeros(5))
    assert label_model(spec).scores(torch.tensor([label_model(spec).start]))[0].isfinite().all()


def test_of_many_rows_evenly_spaced_ones_are_fitted() -> None:
    label = np.ones(2 * MOST_ROWS, np.float32)
    label[1::2] = 0.0
    spec = replace(HeadSpec("y", "regression"), head=Head("ziln"))
    assert fitted(spec, label, None).numbers["above"] == (1.0,)
    assert fitted(spec, label[: len(label) // 2], None).numbers["above"] == (0.5,)


def test_scored_columns_say_the_quantile() -> None:
    task = TaskSpec(
        "watch", "regression", Condition("w"), head=Head("ziln", quantiles=(0.025, 0.5, 0.999))
    )
    assert scored_columns(task) == (
        "value_watch",
        "value_watch_q2_5",
        "value_watch_q50",
        "value_watch_q99_9",
    )
    assert quantile_column(task, 0.1) == "value_watch_q10"


@pytest.mark.parametrize(
    ("kind", "options", "fault"),
    [
        ("binary", {"head": "ordinal"}, "head ordinal is for kind: multiclass"),
        ("multiclass", {"head": "ziln"}, "head ziln is for kind: regression"),
        ("regression", {"head": "poisson", "transform": "log1p"}, "drop transform"),
        ("regression", {"head": {"kind": "cread", "quantiles": [0.5]}}, "for kind: ziln only"),
        ("regression", {"head": {"kind": "ziln", "quantiles": [0.5, 0.1]}}, "must ascend"),
        ("regression", {"head": {"kind": "ziln", "bins": 5}}, "for kind: cread only"),
        ("regression", {"head": "zilm"}, "did you mean .ziln."),
        ("regression", {"head": "d2q"}, "d2q needs duration"),
        ("regression", {"head": {"kind": "ziln", "groups": 5}}, "for kind: d2q only"),
    ],
)
def test_a_head_that_does_not_fit_is_refused(
    kind: str, options: dict[str, object], fault: str
) -> None:
    with pytest.raises(SchemaError, match=fault):
        TaskSpec("y", kind, Condition("y"), **options)  # type: ignore[arg-type]

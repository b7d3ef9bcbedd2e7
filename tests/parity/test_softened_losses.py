"""Focal losses and smoothed labels, once more and plainly in float64."""

import math

import numpy as np
import pytest
import torch
from scipy.special import expit, log_softmax

from recmtl.errors import SchemaError
from recmtl.model.heads import AITM, ESMM, Chain, HeadSpec, TabularHeads
from recmtl.schema import Condition, TaskSpec
from recmtl.schema.condition import Label

ROWS = 30


pytestmark = pytest.mark.usefixtures("in_float64")


def specs_of(focal: float = 0.0, smoothing: float = 0.0) -> tuple[HeadSpec, ...]:
    options = {"focal": focal, "label_smoothing": smoothing}
    return (
        HeadSpec("click", "binary", mean=0.4, **options),
        HeadSpec("buy", "binary", parent="click", mean=0.1, **options),
        HeadSpec("stars", "multiclass", classes=("1", "2", "3"), **options),
    )


def rows_of() -> tuple[list[torch.Tensor], np.ndarray]:
    dice = np.random.default_rng(2)
    click = dice.integers(0, 2, ROWS)
    labels = np.stack([click, click * dice.integers(0, 2, ROWS), dice.integers(0, 3, ROWS)], 1)
    logits = [torch.from_numpy(dice.normal(0, 2, (ROWS, size))) for size in (1, 1, 3)]
    return logits, labels.astype(float)


def plain(
    logits: list[torch.Tensor], labels: np.ndarray, chain: Chain, focal: float, smoothing: float
) -> list[float]:
    click, buy, stars = (part.numpy() for part in logits)
    p_click, p_buy = expit(click[:, 0]), expit(buy[:, 0])
    joint = p_buy if chain.child == "joint" else p_click * p_buy
    losses = []
    for p, label in ((p_click, labels[:, 0]), (joint, labels[:, 1])):
        soft = label * (1 - smoothing) + smoothing / 2
        losses.append(-(soft * np.log(p) + (1 - soft) * np.log1p(-p)))
    soft = np.eye(3)[labels[:, 2].astype(int)] * (1 - smoothing) + smoothing / 3
    losses.append(-(soft * log_softmax(stars, axis=1)).sum(1))
    return [float(((1 - np.exp(-loss)) ** focal * loss).mean()) for loss in losses]


@pytest.mark.parametrize("chain", [ESMM, AITM], ids=["esmm", "aitm"])
@pytest.mark.parametrize(("focal", "smoothing"), [(0.0, 0.0), (0.5, 0), (2.0, 0), (0, 0.1)])
def test_losses_are_the_plain_ones(chain: Chain, focal: float, smoothing: float) -> None:
    heads = TabularHeads(specs_of(focal, smoothing), width=2, tower=(), chain=chain).eval()
    logits, labels = rows_of()
    losses = heads.losses(logits, torch.from_numpy(labels), torch.ones(ROWS))
    assert losses.tolist() == pytest.approx(
        plain(logits, labels, chain, focal, smoothing), rel=1e-9
    )


@pytest.mark.parametrize("focal", [0.5, 2.0])
def test_gradients_are_those_of_differences(focal: float) -> None:
    heads = TabularHeads(specs_of(focal), width=2, tower=()).eval()
    logits, labels = rows_of()
    for part in logits:
        part.requires_grad_()
    rows = torch.from_numpy(labels)
    assert torch.autograd.gradcheck(
        lambda *parts: heads.losses(list(parts), rows, torch.ones(ROWS)), logits
    )


@pytest.mark.parametrize("focal", [0.3, 1.0, 5.0])
def test_rows_that_are_surely_right_have_finite_gradients(focal: float) -> None:
    heads = TabularHeads(specs_of(focal), width=2, tower=())
    logits = [torch.full((1, n), 800.0, requires_grad=True) for n in (1, 1)]
    stars = torch.tensor([[800.0, 0.0, 0.0]], requires_grad=True)
    rows = torch.tensor([[1.0, 1.0, 0.0]])
    heads.losses([*logits, stars], rows, torch.ones(1)).sum().backward()
    assert all(part.grad is not None and part.grad.isfinite().all() for part in (*logits, stars))


def test_the_unit_of_a_focal_loss_is_that_of_the_best_constant() -> None:
    spec, rate = specs_of(2.0)[0], 0.4
    expected = rate * (1 - rate) ** 2 * -math.log(rate)
    expected += (1 - rate) * rate**2 * -math.log(1 - rate)
    assert spec.loss_unit == pytest.approx(expected)
    assert specs_of()[0].loss_unit == specs_of()[0].constant_loss == spec.constant_loss


def test_a_head_says_its_loss_only_where_it_is_not_the_usual_one() -> None:
    assert not {"focal", "label_smoothing"} & set(specs_of()[0].to_json())
    for spec in (*specs_of(2.0), *specs_of(0.0, 0.1)):
        assert HeadSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("task", "fault"),
    [
        ({"kind": "regression", "focal": 2.0}, "for binary and multiclass"),
        ({"kind": "binary", "focal": 2.0, "label_smoothing": 0.1}, "focal or label_smoothing"),
        ({"kind": "binary", "focal": -1.0}, "at least 0"),
        (
            {"kind": "binary", "focal": 1.0, "label": Label("y", time="t", window="7d")},
            "a loss of its own",
        ),
    ],
)
def test_a_loss_that_does_not_fit_is_refused(task: dict[str, object], fault: str) -> None:
    with pytest.raises(SchemaError, match=fault):
        TaskSpec(**{"name": "y", "label": Condition("y"), **task})  # type: ignore[arg-type]

"""Models of labels once more and plainly: SciPy's distributions in float64, row by row."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import expit, softmax
from torch import Tensor

from recmtl.model.heads import HeadSpec, TabularHeads, fitted
from recmtl.model.heads.fit import label_model
from recmtl.model.heads.watch_time import normal_quantile
from recmtl.schema import Head

ROWS = 400
DICE = np.random.default_rng(7)
COUNTS = DICE.poisson(DICE.gamma(0.7, 4.0, ROWS)).astype(np.float64)
SPEND = np.where(DICE.random(ROWS) < 0.4, 0.0, DICE.lognormal(2.0, 1.3, ROWS))
STARS = DICE.integers(0, 4, ROWS).astype(np.float64)


pytestmark = pytest.mark.usefixtures("in_float64")


def head_of(kind: str, label: np.ndarray, **options: object) -> HeadSpec:
    spec = HeadSpec("y", "regression", mean=float(label.mean()), std=float(label.std()))
    if kind == "ordinal":
        spec = replace(spec, kind="multiclass", classes=("1", "2", "3", "5"))
    return fitted(replace(spec, head=Head(kind, **options)), label, None)  # type: ignore[arg-type]


def logits_of(spec: HeadSpec, rows: int = ROWS) -> Tensor:
    values = torch.from_numpy(np.random.default_rng(3).normal(0, 1.5, (rows, spec.products)))
    return label_model(spec).logits(values)


def plain_ziln(spec: HeadSpec, logits: np.ndarray, y: float) -> float:
    (mean,), (std,) = spec.numbers["mean"], spec.numbers["std"]
    p = expit(logits[0])
    if y == 0:
        return -math.log1p(-p)
    law = stats.norm(logits[1], math.log1p(math.exp(logits[2])))
    return -math.log(p) - float(law.logpdf((math.log(y) - mean) / std))


def plain_poisson(spec: HeadSpec, logits: np.ndarray, y: float) -> float:
    mean = spec.mean * math.exp(logits[0])
    best = stats.poisson.logpmf(y, y) if y else 0.0
    return float(best - stats.poisson.logpmf(y, mean))


def plain_negative_binomial(spec: HeadSpec, logits: np.ndarray, y: float) -> float:
    mean = spec.mean * math.exp(logits[0])
    size = spec.mean**2 / (spec.std**2 - spec.mean) * math.exp(logits[1])
    return -float(stats.nbinom.logpmf(y, size, size / (size + mean)))


def plain_cread(spec: HeadSpec, logits: np.ndarray, y: float) -> float:
    means, (std,), p = spec.numbers["means"], spec.numbers["std"], expit(logits)
    entropy, value, order = 0.0, means[0], 0.0
    for m, threshold in enumerate(spec.numbers["thresholds"]):
        entropy -= math.log(p[m]) if y > threshold else math.log1p(-p[m])
        value += p[m] * (means[m + 1] - means[m])
        order += max(0.0, p[m] - p[m - 1]) if m else 0.0
    gap = abs(value - y) / std
    huber = gap**2 / 2 if gap < 1 else gap - 0.5
    return entropy / len(p) + huber + order / (len(p) - 1)


PLAIN = {
    "ziln": (plain_ziln, SPEND),
    "cread": (plain_cread, SPEND),
    "poisson": (plain_poisson, COUNTS),
    "negative_binomial": (plain_negative_binomial, COUNTS),
}


def test_a_d2q_is_the_plain_one() -> None:
    """Quantiles by counting in the group of like durations, restored by NumPy's interpolation."""
    duration, groups = np.random.default_rng(9).normal(size=ROWS), 10
    order = np.argsort(duration)
    spec = HeadSpec("y", "regression", head=Head("d2q", duration="d", groups=groups))
    spec = fitted(spec, SPEND, None, duration)
    odds = torch.from_numpy(np.random.default_rng(3).normal(size=ROWS)).requires_grad_()
    logits = torch.stack([odds, torch.from_numpy(duration)], 1)
    losses = label_model(spec).loss(logits, torch.from_numpy(SPEND))
    values = label_model(spec).scores(logits)[0].detach().numpy()
    losses.sum().backward()
    for rows in np.split(order, groups):
        label, p = SPEND[rows], expit(odds.detach().numpy()[rows])
        below, equal = label < label[:, None], label == label[:, None]
        q = (below.sum(1) + equal.sum(1) / 2) / len(rows)
        assert losses.detach().numpy()[rows] == pytest.approx(12 * (p - q) ** 2, abs=1e-6)
        assert odds.grad.numpy()[rows] == pytest.approx(24 * (p - q) * p * (1 - p), abs=1e-6)
        knots = np.unique(np.stack([q, label], 1), axis=0)
        assert values[rows] == pytest.approx(np.interp(p, *knots.T), rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("kind", PLAIN)
def test_a_loss_and_its_gradient_are_the_plain_ones(kind: str) -> None:
    plain, label = PLAIN[kind]
    spec = head_of(kind, label)
    logits = logits_of(spec).requires_grad_()
    losses = label_model(spec).loss(logits, torch.from_numpy(label))
    rows = logits.detach().numpy()
    expected = [plain(spec, row, y) for row, y in zip(rows, label, strict=True)]
    assert losses.detach().numpy() == pytest.approx(np.array(expected), rel=1e-7, abs=1e-7)
    losses.sum().backward()
    step = 1e-5
    for column in range(min(spec.size, 4)):
        moved = np.eye(spec.size)[column] * step
        for row in range(0, 40, 7):
            y = label[row]
            slope = plain(spec, rows[row] + moved, y) - plain(spec, rows[row] - moved, y)
            assert float(logits.grad[row, column]) == pytest.approx(slope / 2 / step, abs=1e-4)


def test_an_ordinal_head_is_mccullaghs() -> None:
    spec = head_of("ordinal", STARS)
    model = label_model(spec)
    products = torch.from_numpy(np.random.default_rng(3).normal(0, 2, (ROWS, 1)))
    logits = model.logits(products)
    thresholds = model.thresholds.detach().numpy()
    cumulative = np.c_[np.zeros(ROWS), expit(thresholds - products.numpy()), np.ones(ROWS)]
    p = np.diff(cumulative, axis=1)
    assert torch.stack(model.scores(logits), 1).detach().numpy() == pytest.approx(p, abs=1e-12)
    expected = -np.log(p[np.arange(ROWS), STARS.astype(int)])
    losses = model.loss(logits, torch.from_numpy(STARS)).detach().numpy()
    assert losses == pytest.approx(expected, rel=1e-9)
    assert softmax(logits.detach().numpy(), axis=1) == pytest.approx(p, abs=1e-12)


@pytest.mark.parametrize("kind", [*PLAIN, "ordinal"])
def test_a_head_starts_at_what_the_train_rows_say(kind: str) -> None:
    label = STARS if kind == "ordinal" else PLAIN[kind][1]
    spec = head_of(kind, label)
    heads = TabularHeads((spec,), width=3, tower=())
    scores = heads.scores(heads(torch.zeros(1, 1, 3)))[0]
    if kind == "ordinal":
        assert scores.tolist() == pytest.approx((np.bincount(STARS.astype(int)) / ROWS).tolist())
    elif kind == "ziln":
        (above,), (mean,), (std,) = (spec.numbers[name] for name in ("above", "mean", "std"))
        assert above == pytest.approx((SPEND > 0).mean())
        assert scores.item() == pytest.approx(above * math.exp(mean + std**2 / 2))
    else:
        assert scores.item() == pytest.approx(label.mean(), rel=1e-6)
    start = heads(torch.zeros(ROWS, 1, 3))
    losses = heads.losses(start, torch.from_numpy(label)[:, None], torch.ones(ROWS))
    assert spec.start_loss == pytest.approx(losses.item(), rel=1e-6)


def test_quantiles_of_a_ziln_are_those_of_its_distribution() -> None:
    shares = (0.05, 0.3, 0.5, 0.9, 0.99)
    spec = head_of("ziln", SPEND, quantiles=shares)
    logits = logits_of(spec)
    columns = torch.stack(label_model(spec).scores(logits)[1:], 1).numpy()
    (mean,), (std,) = spec.numbers["mean"], spec.numbers["std"]
    for row, of_row in zip(logits.numpy(), columns, strict=True):
        p = expit(row[0])
        law = stats.lognorm(std * math.log1p(math.exp(row[2])), scale=math.exp(mean + std * row[1]))
        for share, value in zip(shares, of_row, strict=True):
            inside = (share - (1 - p)) / p
            expected = float(law.ppf(max(inside, 0.01))) * min(max(inside, 0.0) / 0.01, 1.0)
            assert value == pytest.approx(expected, rel=1e-5)
    assert (np.diff(columns, axis=1) >= 0).all()


def test_normal_quantiles_are_scipys() -> None:
    shares = np.r_[np.geomspace(1e-6, 0.4, 300), np.linspace(0.02, 0.98, 500)]
    shares = np.r_[shares, 1 - shares]
    ours = normal_quantile(torch.from_numpy(shares)).numpy()
    assert ours == pytest.approx(stats.norm.ppf(shares), rel=1e-6, abs=1e-7)

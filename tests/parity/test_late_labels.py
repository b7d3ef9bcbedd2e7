"""Losses of late labels, once more and plainly: numpy in float64, row by row.

`exponential` is Chapelle's (KDD 2014) with the delay cut at the window's end; `importance` is the
feedback shift of Yasui et al. (WWW 2020) with weights that follow from the same delay.
"""

import math

import numpy as np
import pytest
import torch
from scipy import integrate
from torch import Tensor

from recmtl.errors import ConfigError
from recmtl.model import ModelSizes
from recmtl.model.heads import AITM, ESCM2_IPS, ESMM, Chain, HeadSpec
from recmtl.model.heads.heads import TabularHeads
from recmtl.model.heads.late import (
    exponential_loss,
    importance_loss,
    log_density,
    log_distribution,
)

RATES = [1e-3, 0.1, 1.0, 3.0, 40.0, 1e4]
READINGS = {"exponential": exponential_loss, "importance": importance_loss}
SPECS = (
    HeadSpec("click", "binary", mean=0.4),
    HeadSpec("buy", "binary", parent="click", mean=0.1, is_late=True),
    HeadSpec("share", "binary", mean=0.2, is_late=True),
    HeadSpec("price", "regression"),
)


def plain_density(u: float, k: float) -> float:
    return k * math.exp(-k * u) / (1 - math.exp(-k))


def plain_distribution(u: float, k: float) -> float:
    return (1 - math.exp(-k * u)) / (1 - math.exp(-k))


def plain_loss(
    reading: str, p: float, label: float, waited: float, delay: float, k: float
) -> float:
    seen = plain_distribution(waited, k)
    if reading == "exponential":
        if label:
            return -math.log(p) - math.log(plain_density(delay, k))
        return -math.log(1 - p + p * (1 - seen))
    if label:
        fit = math.log(plain_density(delay, k) / seen)
        return -math.log(p) / max(seen, 0.01) - fit
    return -math.log(1 - p) * (1 - p) / (1 - p * max(seen, 0.01))


def tensor(value: float) -> Tensor:
    return torch.tensor([value], dtype=torch.float64)


@pytest.mark.parametrize("k", RATES)
def test_the_delay_is_a_distribution_over_the_window(k: float) -> None:
    rate = tensor(math.log(k))
    assert log_distribution(tensor(1.0), rate).item() == pytest.approx(0.0, abs=1e-12)
    for u in (0.01, 0.3, 0.9):
        area, _ = integrate.quad(plain_density, 0, u, args=(k,), points=[min(1 / k, u / 2)])
        assert log_distribution(tensor(u), rate).exp().item() == pytest.approx(area, rel=1e-6)
        density = math.log(k) - k * u - math.log(-math.expm1(-k))
        assert log_density(tensor(u), rate).item() == pytest.approx(density, rel=1e-9)


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("label", [0.0, 1.0])
def test_a_loss_is_the_plain_one(reading: str, label: float) -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        p, waited, k = random.uniform(0.01, 0.99), random.uniform(0.05, 1), random.uniform(0.1, 8)
        delay = random.uniform(0, waited)
        loss = READINGS[reading](
            tensor(math.log(p)),
            tensor(label),
            waited=tensor(waited),
            delay=tensor(delay),
            log_rate=tensor(math.log(k)),
        )
        plain = plain_loss(reading, p, label, waited, delay, k)
        assert loss.item() == pytest.approx(plain, rel=1e-9)


@pytest.mark.parametrize("reading", READINGS)
def test_the_true_probability_and_delay_are_where_the_expected_gradient_is_zero(
    reading: str,
) -> None:
    """Of a row of which half the window has passed, the expectation over all that may be seen."""
    p, k, waited, points = 0.3, 2.5, 0.5, 4000
    logit = torch.tensor(math.log(p / (1 - p)), dtype=torch.float64, requires_grad=True)
    rate = torch.tensor(math.log(k), dtype=torch.float64, requires_grad=True)
    delays = (np.arange(points) + 0.5) / points * waited
    chances = np.array([plain_density(u, k) for u in delays]) * p * waited / points
    labels = np.append(np.ones(points), 0.0)
    losses = READINGS[reading](
        torch.nn.functional.logsigmoid(logit).expand(points + 1),
        torch.tensor(labels),
        waited=torch.full((points + 1,), waited, dtype=torch.float64),
        delay=torch.tensor(np.append(delays, 0.0)),
        log_rate=rate.expand(points + 1),
    )
    (losses * torch.tensor(np.append(chances, 1 - chances.sum()))).sum().backward()
    assert logit.grad is not None and rate.grad is not None
    assert logit.grad.item() == pytest.approx(0.0, abs=1e-6)
    assert rate.grad.item() == pytest.approx(0.0, abs=1e-6)


def heads_and_rows(reading: str, chain: Chain = ESMM) -> tuple[TabularHeads, Tensor, Tensor]:
    torch.manual_seed(1)
    heads = TabularHeads(SPECS, width=3, tower=(4,), chain=chain, late=reading).double()
    lanes = torch.randn(64, len(SPECS), 3, dtype=torch.float64)
    nan = float("nan")
    click, buy, share = (torch.randint(0, 2, (64,)).double() for _ in range(3))
    buy, waits = buy * click, torch.full((64, 4), nan, dtype=torch.float64)
    for number, (label, known) in enumerate(((buy, click == 0), (share, torch.zeros(64) == 1))):
        closed = (torch.rand(64) < 0.4) | known
        waits[:, 2 * number] = torch.where(closed, 1.0, torch.rand(64).double() * 0.8 + 0.1)
        delay = torch.rand(64).double() * waits[:, 2 * number]
        waits[:, 2 * number + 1] = torch.where(label == 1, delay, nan)
        label[~closed] = nan
    labels = torch.stack([click, buy, share, torch.randn(64).double()], 1)
    return heads, lanes, torch.cat([labels, waits], 1)


@pytest.mark.parametrize("chain", [ESMM, AITM], ids=["esmm", "aitm"])
@pytest.mark.parametrize("reading", READINGS)
def test_heads_mean_the_plain_losses_over_their_rows(reading: str, chain: Chain) -> None:
    heads, lanes, labels = heads_and_rows(reading, chain)
    heads.train()
    logits, weight = heads(lanes), torch.rand(64).double() + 0.5
    losses = heads.losses(logits, labels, weight)
    for task, number, rate in ((1, 0, logits[4]), (2, 1, logits[5])):
        total = 0.0
        for row in range(64):
            waited, delay = labels[row, 4 + 2 * number].item(), labels[row, 5 + 2 * number].item()
            p = math.exp(heads.funnel.log_probability(task, logits)[row].item())
            happened = labels[row, task].item()
            if math.isnan(happened):
                happened = 0.0 if math.isnan(delay) else 1.0
            k = math.exp(rate[row, 0].item())
            loss = plain_loss(reading, p, happened, waited, delay if happened else 0.0, k)
            if chain is AITM and task == 1:
                above = torch.sigmoid(logits[0][row, 0]).item()
                loss += 0.6 * max(torch.sigmoid(logits[1][row, 0]).item() - above, 0.0)
            total += weight[row].item() * loss
        assert losses[task].item() == pytest.approx(total / weight.sum().item(), rel=1e-6)


@pytest.mark.parametrize("reading", READINGS)
def test_closed_windows_cost_cross_entropy_and_open_ones_nothing_in_evaluation(
    reading: str,
) -> None:
    heads, lanes, labels = heads_and_rows(reading)
    plain = TabularHeads(SPECS, width=3, tower=(4,)).double()
    plain.load_state_dict(heads.state_dict(), strict=False)
    heads.eval(), plain.eval()
    weight = torch.ones(64, dtype=torch.float64)
    ours = heads.losses(heads(lanes), labels, weight)
    torch.testing.assert_close(ours, plain.losses(plain(lanes), labels[:, :4], weight))
    torch.testing.assert_close(heads.scores(heads(lanes)), plain.scores(plain(lanes)))
    assert heads.cost().multiply_adds == plain.cost().multiply_adds


@pytest.mark.parametrize("reading", READINGS)
def test_every_weight_of_the_delay_gets_a_finite_gradient(reading: str) -> None:
    heads, lanes, labels = heads_and_rows(reading)
    heads.train()
    labels[0, 4], labels[0, 1], labels[0, 5] = 0.0, float("nan"), float("nan")  # just shown
    heads.losses(heads(lanes), labels, torch.ones(64).double()).sum().backward()
    assert heads.late is not None
    for parameter in heads.parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all()
    assert all(p.grad is not None and (p.grad != 0).any() for p in heads.late.parameters())


def test_a_counterfactual_loss_and_one_of_late_labels_are_refused_together() -> None:
    with pytest.raises(ConfigError, match="takes an open window for no event"):
        ModelSizes(chain=ESCM2_IPS, late_labels="exponential")

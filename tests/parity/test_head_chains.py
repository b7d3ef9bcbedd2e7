"""Head chains against their formulas, row by row: scores, losses and gradients in float64."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from recmtl.model.heads import AITM, ESCM2_DR, ESCM2_IPS, ESMM, Chain, HeadSpec, TabularHeads

ROWS, WIDTH, TOWER = 14, 4, 3
SPECS = (
    HeadSpec("buy", "binary", parent="click", mean=0.1),  # the chain is view -> click -> buy
    HeadSpec("price", "regression", mean=1.0, std=2.0),
    HeadSpec("click", "binary", parent="view", mean=0.3),
    HeadSpec("share", "binary", parent="view", mean=0.2),
    HeadSpec("view", "binary", mean=0.6),
)
NAMES = [spec.name for spec in SPECS]
PARENT = {"view": None, "click": "view", "share": "view", "buy": "click"}
CHAINS = {
    "esmm": ESMM,
    "esmm with transfer": Chain(transfer=True),
    "joint": Chain(child="joint", calibrator=0.0),
    "aitm": AITM,
    "escm2 ips": replace(ESCM2_IPS, least_propensity=0.3, counterfactual_weight=0.7),
    "escm2 dr": replace(ESCM2_DR, least_propensity=0.3, counterfactual_weight=0.7),
    "escm2 dr with transfer": replace(ESCM2_DR, transfer=True),
}


def made(chain: Chain) -> tuple[TabularHeads, Tensor, Tensor, Tensor]:
    """Heads with drawn weights, lanes, labels of which some are unknown, and row weights."""
    torch.manual_seed(5)
    heads = TabularHeads(SPECS, width=WIDTH, tower=(TOWER,), chain=chain).double()
    with torch.no_grad():
        for parameter in heads.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.8)
    happened = {"view": torch.rand(ROWS) < 0.8}
    happened["click"] = happened["view"] & (torch.rand(ROWS) < 0.7)
    happened["share"] = happened["view"] & (torch.rand(ROWS) < 0.5)
    happened["buy"] = happened["click"] & (torch.rand(ROWS) < 0.5)
    columns = [happened[n].double() if n in happened else torch.randn(ROWS) for n in NAMES]
    labels = torch.stack(columns, 1).double()
    labels[0] = math.nan
    labels[1, NAMES.index("view")] = math.nan  # its children say what happened all the same
    labels[2, NAMES.index("buy")] = math.nan
    lanes = torch.randn(ROWS, len(SPECS), WIDTH, dtype=torch.float64, requires_grad=True)
    return heads, lanes, labels, torch.rand(ROWS, dtype=torch.float64)


def parts(stack: nn.Module, number: int) -> list[tuple[Tensor, Tensor]]:
    """Matrix and bias of each product of one member of a stack."""
    pairs = zip(stack.weights, stack.biases, strict=True)
    return [(weight[number], bias[number, 0]) for weight, bias in pairs]


def plain_products(layers: list[tuple[Tensor, Tensor]], x: Tensor) -> Tensor:
    for number, (weight, bias) in enumerate(layers):
        x = (x if number == 0 else torch.relu(x)) @ weight + bias
    return x


def plain_transfer(step: nn.Module, parent: Tensor, own: Tensor) -> Tensor:
    """AITM: `z_t = sum_u w_u h1(u)` over u in {g(z_{t-1}), q_t}."""
    heard = [torch.relu(step.g.weight @ parent + step.g.bias), own]
    agreements = [
        torch.dot(step.h2.weight @ u, step.h3.weight @ u) / math.sqrt(len(u)) for u in heard
    ]
    total = sum(torch.exp(a) for a in agreements)
    return sum(
        torch.exp(a) / total * (step.h1.weight @ u) for a, u in zip(agreements, heard, strict=True)
    )


def plain_features(heads: TabularHeads, lanes: Tensor, name: str) -> Tensor:
    """The z of one row `[T, D]`: the tower's output, after the transfer down to this task."""
    position = NAMES.index(name)
    own = torch.relu(plain_products(parts(heads.tower, position), lanes[position]))
    parent = PARENT.get(name)
    if parent is None or not heads.chain.transfer:
        return own
    step = heads.transfer.steps[str(position)]
    return plain_transfer(step, plain_features(heads, lanes, parent), own)


def plain_logit(heads: TabularHeads, lanes: Tensor, name: str) -> Tensor:
    position = NAMES.index(name)
    return plain_products(parts(heads.logits[0], position), plain_features(heads, lanes, name))[0]


def plain_probabilities(heads: TabularHeads, lanes: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """For each binary task what its logit says, and p(the chain down to it)."""
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for name, parent in PARENT.items():
        p = 1.0 / (1.0 + torch.exp(-plain_logit(heads, lanes, name)))
        if parent is None or heads.chain.child == "joint":
            found[name] = (p, p)
        else:
            found[name] = (p, p * found[parent][1])
    return found


def cross_entropy(p: Tensor, y: float) -> Tensor:
    return -(y * torch.log(p) + (1.0 - y) * torch.log(1.0 - p))


def plain_label(labels: dict[str, float], name: str) -> float:
    parent = PARENT[name]
    failed = parent is not None and plain_label(labels, parent) == 0.0
    return 0.0 if failed else labels[name]


def plain_imputed(heads: TabularHeads, lanes: Tensor, name: str) -> Tensor:
    position = NAMES.index(name)
    children = [t for t, n in enumerate(NAMES) if PARENT.get(n)]
    layers = parts(heads.imputation, children.index(position))
    return torch.log(1.0 + torch.exp(plain_products(layers, lanes[position])[0]))


def plain_loss(heads: TabularHeads, lanes: Tensor, labels: dict[str, float], name: str) -> Tensor:
    """One row's loss of one task, all additions included."""
    chain, parent = heads.chain, PARENT.get(name)
    if name == "price":
        return (plain_logit(heads, lanes, name) - (labels[name] - 1.0) / 2.0) ** 2
    p = plain_probabilities(heads, lanes)
    loss = cross_entropy(p[name][1], plain_label(labels, name))
    if parent is None:
        return loss
    if chain.child == "joint":
        return loss + chain.calibrator * torch.clamp(p[name][1] - p[parent][1], min=0.0)
    o = plain_label(labels, parent)
    if math.isnan(o):
        return loss
    o_hat = max(p[parent][1].item(), chain.least_propensity)  # a number: no gradient
    delta = cross_entropy(p[name][0], labels[name]) if o == 1.0 else torch.zeros(())
    if chain.counterfactual == "ips":
        return loss + chain.counterfactual_weight * o * delta / o_hat
    if chain.counterfactual == "dr":
        delta_hat = plain_imputed(heads, lanes, name)
        estimate = delta_hat + o * (delta - delta_hat) / o_hat
        imputation = o * (delta - delta_hat) ** 2 / o_hat
        return loss + chain.counterfactual_weight * (estimate + imputation)
    return loss


def plain_losses(heads: TabularHeads, lanes: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    losses = []
    for name in NAMES:
        total, mass = torch.zeros((), dtype=torch.float64), 0.0
        for row in range(ROWS):
            known = dict(zip(NAMES, labels[row].tolist(), strict=True))
            label = known[name] if name == "price" else plain_label(known, name)
            if not math.isnan(label):
                total = total + weight[row] * plain_loss(heads, lanes[row], known, name)
                mass += weight[row].item()
        losses.append(total / mass)
    return torch.stack(losses)


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS.keys())
def test_scores_are_those_of_the_formula(chain: Chain) -> None:
    heads, lanes, _, _ = made(chain)
    scores = dict(zip(heads.columns, heads.scores(heads(lanes)).unbind(1), strict=True))
    for row in range(ROWS):
        p = plain_probabilities(heads, lanes[row])
        if chain.child == "joint":  # scored as no more than the parent's
            click, share = (torch.minimum(p[n][1], p["view"][1]) for n in ("click", "share"))
            buy = torch.minimum(p["buy"][1], click)
            p |= {"click": (click / p["view"][1], click), "buy": (buy / click, buy)}
            p |= {"share": (share / p["view"][1], share)}
        want = {"p_view": p["view"][1], "p_click_given_view": p["click"][0]}
        want |= {"p_view_and_click": p["click"][1], "p_buy_given_click": p["buy"][0]}
        want |= {"p_click_and_buy": p["buy"][1], "p_share_given_view": p["share"][0]}
        want |= {"value_price": 2.0 * plain_logit(heads, lanes[row], "price") + 1.0}
        for name, value in want.items():
            torch.testing.assert_close(scores[name][row], value, rtol=0, atol=1e-12)


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS.keys())
def test_losses_and_gradients_are_those_of_the_formula(chain: Chain) -> None:
    heads, lanes, labels, weight = made(chain)
    got = heads.losses(heads(lanes), labels, weight)
    want = plain_losses(heads, lanes, labels, weight)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-10)
    probe = torch.tensor([1.0, -0.5, 2.0, 0.7, 0.3], dtype=torch.float64)
    inputs = [lanes, *heads.parameters()]
    gradients = [torch.autograd.grad((value * probe).sum(), inputs) for value in (got, want)]
    for name, one, two in zip(["lanes", *dict(heads.named_parameters())], *gradients, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")


def test_the_rows_hold_what_the_formulas_distinguish() -> None:
    """Propensities on both sides of their bound, children above their parent and below it."""
    heads, lanes, _, _ = made(CHAINS["escm2 dr"])
    views = [plain_probabilities(heads, lanes[row])["view"][1].item() for row in range(ROWS)]
    assert min(views) < 0.3 < max(views)
    heads, lanes, _, _ = made(AITM)
    found = [plain_probabilities(heads, lanes[row]) for row in range(ROWS)]
    above = [p["click"][1].item() > p["view"][1].item() for p in found]
    assert any(above) and not all(above)

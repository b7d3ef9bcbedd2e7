"""Losses within groups once more and plainly: loops over groups and pairs in float64."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from recmtl.model.heads import AITM, ESMM, Chain, HeadSpec, TabularHeads
from recmtl.model.heads.group_loss import (
    GroupedRows,
    constant_group_loss,
    joint_loss_in_group,
    listwise_loss,
    pairwise_loss,
)
from recmtl.schema import GroupLoss

ROWS = 40
Floats = np.ndarray
KINDS = ("pairwise", "listwise", "jrc")

pytestmark = pytest.mark.usefixtures("in_float64")


def rows_of(graded: bool = False) -> dict[str, Floats]:
    """Rows in groups of 1 to 12, some without a group, some of weight 0."""
    dice = np.random.default_rng(3)
    member = np.sort(dice.integers(0, 9, ROWS) ** 2 % 7).astype(float)[dice.permutation(ROWS)]
    member[[4, 9, 30]] = np.nan
    label = dice.integers(0, 4 if graded else 2, ROWS).astype(float)
    label[member == 1] = 0.0
    weight = dice.uniform(0.2, 3.0, ROWS) * (dice.random(ROWS) < 0.8)
    score, middle = dice.normal(0, 2, (2, ROWS))
    columns = {"score": score, "middle": middle, "label": label, "weight": weight}
    return {**columns, "member": member}


def plain(kind: str, row: dict[str, Floats]) -> Floats:
    """The loss `[B]` of every row."""
    losses = np.zeros(ROWS)
    alone = [[i] for i in range(ROWS) if math.isnan(row["member"][i])]
    values = np.unique(row["member"][~np.isnan(row["member"])])
    for group in [*alone, *(np.flatnonzero(row["member"] == v).tolist() for v in values)]:
        present = [i for i in group if row["weight"][i] > 0]
        s, f, y, w = (row[n] for n in ("score", "middle", "label", "weight"))
        if kind == "pairwise":
            pairs = [(i, j) for i in present for j in present if y[i] > y[j]]
            mass = sum(w[i] * w[j] for i, j in pairs)
            cost = sum(w[i] * w[j] * math.log1p(math.exp(s[j] - s[i])) for i, j in pairs)
            losses[group] = cost / mass if pairs else 0.0
        elif kind == "listwise":
            gains = sum(w[i] * y[i] for i in present)
            whole = sum(w[i] * math.exp(s[i]) for i in present)
            cost = sum(-w[i] * y[i] * math.log(w[i] * math.exp(s[i]) / whole) for i in present)
            losses[group] = cost / gains if gains else 0.0
        else:
            for i in present:
                f_y = [f[j] + (0.5 if y[i] else -0.5) * s[j] for j in present]
                whole = sum(w[j] * math.exp(value) for j, value in zip(present, f_y, strict=True))
                losses[i] = -math.log(w[i] * math.exp(f_y[present.index(i)]) / whole)
    return losses


def ours(kind: str, row: dict[str, Tensor]) -> Tensor:
    rows, rest = GroupedRows(row["member"]), (row["label"], row["weight"])
    if kind == "jrc":
        return joint_loss_in_group(row["score"], row["middle"], *rest, rows)
    loss: Callable[..., Tensor] = {"pairwise": pairwise_loss, "listwise": listwise_loss}[kind]
    return loss(row["score"], *rest, rows)


@pytest.mark.parametrize(
    ("kind", "graded"), [*((k, False) for k in KINDS), *((k, True) for k in KINDS[:2])]
)
def test_a_loss_and_its_gradient_are_the_plain_ones(kind: str, graded: bool) -> None:
    row = rows_of(graded)
    tensors = {name: torch.from_numpy(values.copy()) for name, values in row.items()}
    tensors["score"].requires_grad_()
    tensors["middle"].requires_grad_()
    losses = ours(kind, tensors)
    present = row["weight"] > 0
    expected = plain(kind, row)
    np.testing.assert_allclose(losses.detach().numpy()[present], expected[present], atol=1e-12)
    (losses * tensors["weight"]).sum().backward()
    for name in ("score", "middle") if kind == "jrc" else ("score",):
        for i in range(ROWS):
            moved = [row[name] + sign * 1e-5 * (np.arange(ROWS) == i) for sign in (1, -1)]
            up, down = (row["weight"] @ plain(kind, {**row, name: m}) for m in moved)
            assert float(tensors[name].grad[i]) == pytest.approx((up - down) / 2e-5, abs=1e-6)  # type: ignore[index] # it has a gradient


def test_jrc_is_that_of_two_logits() -> None:
    """The published form: f [B, 2], a softmax over classes and one over the rows of a group."""
    row = {name: torch.from_numpy(v) for name, v in rows_of().items()}
    row["weight"], row["member"] = torch.ones(ROWS), row["member"].nan_to_num(50.0)
    logits = torch.stack([row["middle"] - row["score"] / 2, row["middle"] + row["score"] / 2], 1)
    assert torch.allclose(logits.softmax(1)[:, 1], torch.sigmoid(row["score"]))
    mask = row["member"].unsqueeze(0) == row["member"].unsqueeze(1)
    far = torch.where(mask, 0.0, -1e9).unsqueeze(2)
    log_share = (logits.unsqueeze(0) + far).log_softmax(1)[torch.arange(ROWS), torch.arange(ROWS)]
    expected = -log_share[torch.arange(ROWS), row["label"].long()]
    torch.testing.assert_close(ours("jrc", row), expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_of_two_has_the_gradient_of_the_row_twice(kind: str) -> None:
    row = {name: torch.from_numpy(v) for name, v in rows_of().items()}
    row["weight"] = torch.ones(ROWS)
    row["weight"][7] = 2.0
    twice = {name: torch.cat([v, v[7:8]]) for name, v in row.items()}
    twice["weight"] = torch.ones(ROWS + 1)
    gradients = []
    for rows in (row, twice):
        score = rows["score"].clone().requires_grad_()
        (ours(kind, {**rows, "score": score}) * rows["weight"]).sum().backward()
        gradients.append(score.grad)
    both = gradients[1][:ROWS].clone()
    both[7] += gradients[1][ROWS]
    torch.testing.assert_close(gradients[0], both)


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_added_to_a_group_changes_nothing(kind: str) -> None:
    row = {name: torch.from_numpy(v) for name, v in rows_of().items()}
    shift = row["member"].nan_to_num(-5.0) * 3.0
    moved = {**row, "score": row["score"] + shift, "middle": row["middle"] - shift}
    torch.testing.assert_close(ours(kind, row), ours(kind, moved))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("far", [800.0, -800.0])
def test_far_scores_have_finite_gradients(kind: str, far: float) -> None:
    row = {name: torch.from_numpy(v) for name, v in rows_of().items()}
    score = (row["score"] * far).requires_grad_()
    losses = ours(kind, {**row, "score": score})
    losses.sum().backward()
    assert losses.isfinite().all() and score.grad.isfinite().all()  # type: ignore[union-attr] # it has one


@pytest.mark.parametrize("kind", KINDS)
def test_the_unit_is_the_loss_of_a_constant_score(kind: str) -> None:
    row = {name: torch.from_numpy(v) for name, v in rows_of().items()}
    row["weight"] = row["weight"].clamp_min(0.1)
    row["score"], row["middle"] = torch.full((2, ROWS), 1.5).unbind(0)
    expected = (ours(kind, row) * row["weight"]).sum() / row["weight"].sum()
    unit = constant_group_loss(kind, row["label"], row["weight"], row["member"])
    assert unit == pytest.approx(float(expected)) and unit > 0


def specs_of(kind: str) -> tuple[HeadSpec, ...]:
    loss = GroupLoss(kind, share=0.3)  # type: ignore[arg-type] # a kind
    return (
        HeadSpec("click", "binary", mean=0.4, group_loss=loss),
        HeadSpec("watch", "regression", std=2.0),
        HeadSpec("buy", "binary", parent="click", mean=0.1, group_loss=replace(loss, share=0.8)),
    )


@pytest.mark.parametrize("chain", [ESMM, AITM], ids=["esmm", "aitm"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_task_mixes_both_losses_and_a_child_is_its_joint_event(kind: str, chain: Chain) -> None:
    row, dice = rows_of(), np.random.default_rng(8)
    heads = TabularHeads(specs_of(kind), width=2, tower=(), chain=replace(chain, calibrator=0.0))
    buy = row["label"] * dice.integers(0, 2, ROWS)
    labels = np.stack([row["label"], dice.normal(0, 2, ROWS), buy], 1)
    labels[:6, [0, 2]] = np.nan
    logits = torch.from_numpy(dice.normal(0, 2, (ROWS, 5)))
    outputs = list(logits.split(1, 1))[: 5 if kind == "jrc" else 3]
    weight = torch.from_numpy(row["weight"] + 0.1)
    batch = torch.from_numpy(np.c_[labels, row["member"]])
    mixed = heads.losses(outputs, batch, weight)
    p_click, p_buy = (torch.sigmoid(logits[:, t]) for t in (0, 2))
    joint = p_buy if chain.child == "joint" else p_click * p_buy
    for task, p, middle, share in ((0, p_click, 3, 0.3), (2, joint, 4, 0.8)):
        label = labels[:, task]
        counts = np.where(np.isnan(label), 0.0, weight.numpy())
        score = torch.logit(p).numpy()
        rows = {**row, "label": label, "weight": counts, "score": score}
        within = plain(kind, {**rows, "middle": logits[:, middle].numpy()})
        label = np.nan_to_num(label)
        entropy = -(label * np.log(p.numpy()) + (1 - label) * np.log1p(-p.numpy()))
        losses = (1 - share) * entropy + share * within
        assert float(mixed[task]) == pytest.approx(float(np.average(losses, weights=counts)))
    assert heads.label_weights(batch, weight).tolist() == pytest.approx(
        [np.nansum(np.where(np.isnan(labels[:, t]), 0, weight)) for t in range(3)]
    )

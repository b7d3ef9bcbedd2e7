"""Losses within groups in a network: what they learn, what they cost, and what they leave alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from recmtl.errors import DataError, SchemaError
from recmtl.evaluate.metrics import gauc
from recmtl.grid import mmoe
from recmtl.model import ModelSizes, TabularModel, load_model, save_model
from recmtl.model.heads import HeadSpec, TabularHeads, fitted_heads
from recmtl.model.heads.group_loss import GroupedRows, listwise_loss, pairwise_loss
from recmtl.schema import Condition, GroupLoss, Head, TaskSpec, parse_schema
from recmtl.schema.condition import Label
from recmtl.search.schedule import bilevel_split
from recmtl.train.config import Training
from recmtl.train.loop import train
from recmtl.train.tabular_problem import TabularProblem
from tests.tabular_problems import ENCODING, make_model, make_problem

KINDS = ("pairwise", "listwise", "jrc")
every_kind = pytest.mark.parametrize("kind", KINDS)


def problem_of(kind: str, rows: int = 240) -> TabularProblem:
    """Groups of six rows; `click` and `buy` compare them."""
    problem = make_problem(rows)
    loss = GroupLoss(kind)  # type: ignore[arg-type] # a kind
    parts = {
        part: replace(rows_of, group=np.arange(len(rows_of)) // 6).with_members()
        for part in ("train", "validation", "test")
        if (rows_of := getattr(problem, part)) is not None
    }
    heads = (replace(h, group_loss=loss) if h.kind == "binary" else h for h in problem.heads)
    tasks = (replace(t, group_loss=loss) if t.kind == "binary" else t for t in problem.tasks)
    heads = fitted_heads(heads, parts["train"], ENCODING)
    return replace(problem, tasks=tuple(tasks), heads=heads, **parts)


def slope(kind: str | None) -> float:
    """What one number gets as its coefficient where groups hide its effect (Simpson's paradox).

    Within a group a larger x is better; groups of large x have few events.
    """
    dice = np.random.default_rng(0)
    level = np.repeat(dice.normal(0, 2, 150), 8)
    inside = dice.normal(0, 1, 1200)
    label = dice.random(1200) < 1 / (1 + np.exp(2 * level - inside))
    loss = None if kind is None else GroupLoss(kind, share=0.95)  # type: ignore[arg-type] # a kind
    heads = TabularHeads((HeadSpec("y", "binary", mean=0.5, group_loss=loss),), width=1, tower=())
    lanes = torch.from_numpy(level + inside).float()[:, None, None]
    labels = torch.from_numpy(np.stack([label, np.repeat(np.arange(150), 8)], 1)).float()
    labels = labels if loss else labels[:, :1]
    optimizer = torch.optim.LBFGS(heads.parameters(), max_iter=30)

    def step() -> torch.Tensor:
        optimizer.zero_grad()
        total = heads.losses(heads(lanes), labels, torch.ones(1200)).sum()
        total.backward()
        return total

    optimizer.step(step)
    return float(heads.logits[0].weights[0].detach())  # type: ignore[union-attr] # a product


def test_the_order_within_groups_is_learnt_where_groups_hide_it() -> None:
    assert slope(None) < -0.1
    assert all(slope(kind) > 0.05 for kind in KINDS)


@every_kind
def test_a_network_learns_and_is_saved_with_its_loss(kind: str, tmp_path: Path) -> None:
    problem = problem_of(kind)
    torch.manual_seed(0)
    model = make_model(problem=problem)
    before = gauc(
        problem.train.labels[:, 0],
        model.eval().predict(*whole_inputs(problem))[:, 0].numpy(),
        problem.train.group,
    )
    settings = Training(batch_size=60, epochs=6, learning_rate=1e-2, table_learning_rate=1e-2)
    train(model, problem, settings, seed=0)
    scores = model.eval().predict(*whole_inputs(problem))
    assert gauc(problem.train.labels[:, 0], scores[:, 0].numpy(), problem.train.group) > before
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    assert again.heads.specs == model.heads.specs
    torch.testing.assert_close(again.predict(*whole_inputs(problem)), scores)


def whole_inputs(problem: TabularProblem) -> tuple[torch.Tensor, ...]:
    (batch,) = problem.train.batches(batch_size=len(problem.train), seed=None)
    return batch.inputs


@every_kind
def test_scoring_costs_what_it_did(kind: str) -> None:
    specs = problem_of(kind).heads
    layout, sizes = mmoe(len(specs), experts=3, widths=(8, 4)), ModelSizes(embedding=4)
    ours = TabularModel(ENCODING, specs, layout=layout, sizes=sizes)
    plain = [replace(spec, group_loss=None) for spec in specs]
    usual = TabularModel(ENCODING, plain, layout=layout, sizes=sizes)
    assert ours.cost().multiply_adds == usual.cost().multiply_adds
    more = ours.cost().parameters - usual.cost().parameters
    assert more == (2 * (sizes.tower[-1] + 1) if kind == "jrc" else 0)
    assert len(ours.eval()(*whole_inputs(problem_of(kind)))) == len(specs)


@every_kind
def test_rows_without_a_label_have_no_gradient_and_compete_with_none(kind: str) -> None:
    loss = GroupLoss(kind)  # type: ignore[arg-type] # a kind
    heads = TabularHeads((HeadSpec("y", "binary", mean=0.4, group_loss=loss),), width=3, tower=())
    dice = np.random.default_rng(2)
    lanes = torch.from_numpy(dice.normal(size=(30, 1, 3))).float().requires_grad_()
    label = dice.integers(0, 2, 30).astype(np.float32)
    label[::3] = np.nan
    rows = torch.from_numpy(np.stack([label, np.arange(30) // 6], 1)).float()
    weight = torch.ones(30)
    weight[1] = 0.0
    whole = heads.losses(heads(lanes), rows, weight)
    whole.sum().backward()
    counts = (~rows[:, 0].isnan()) & (weight > 0)
    assert lanes.grad is not None and (lanes.grad[~counts] == 0).all()
    assert (lanes.grad[counts] != 0).any()
    few = heads.losses(heads(lanes[counts]), rows[counts], weight[counts])
    torch.testing.assert_close(whole, few)
    nothing = rows.clone()
    nothing[:, 0] = torch.nan
    assert heads.losses(heads(lanes), nothing, weight).tolist() == [0.0]


@every_kind
def test_the_unit_of_a_task_is_the_loss_at_which_a_constant_starts(kind: str) -> None:
    head = problem_of(kind).heads[0]
    share, (within,) = 0.5, head.numbers["group_loss"]
    assert head.loss_unit == pytest.approx(share * head.constant_loss + share * within)
    assert HeadSpec.from_json(head.to_json()) == head
    assert "group_loss" not in replace(head, group_loss=None, numbers={}).to_json()


def test_single_task_problems_keep_groups_only_where_a_loss_compares_rows() -> None:
    problem = problem_of("listwise")
    click, buy, watch, _ = (problem.only(task) for task in problem.tasks)
    assert click.train.member.shape[1] == buy.train.member.shape[1] == 1
    assert watch.train.member.shape[1] == watch.validation.member.shape[1] == 0
    assert click.heads[0].numbers["group_loss"] == problem.heads[0].numbers["group_loss"]


def test_samples_and_levels_of_a_search_divide_no_group() -> None:
    problem = problem_of("pairwise", rows=600)
    units = problem.train.units
    rows = bilevel_split(600, 0.3, seed=0, units=units)
    assert not set(problem.train.group[rows.policy]) & set(problem.train.group[rows.weights])
    assert 100 < len(rows.policy) < 260
    sample = problem.sampled(120).train
    assert np.unique(sample.group, return_counts=True)[1].tolist() == [6] * 20


def test_a_log_in_which_no_group_has_an_order_is_refused() -> None:
    problem = make_problem(60)
    alone = replace(problem.train, group=np.arange(60)).with_members()
    head = replace(problem.heads[0], group_loss=GroupLoss("pairwise"))
    with pytest.raises(DataError, match=r"'click'.*in no group.*roles\.group"):
        fitted_heads((head,), alone, ENCODING)


@pytest.mark.parametrize(
    ("task", "fault"),
    [
        ({"kind": "regression"}, "for binary tasks"),
        ({"kind": "binary", "label": Label("y", time="t", window="7d")}, "a loss of its own"),
    ],
)
def test_a_task_that_cannot_compare_rows_is_refused(task: dict[str, object], fault: str) -> None:
    loss = GroupLoss("jrc")
    with pytest.raises(SchemaError, match=fault):
        TaskSpec(**{"name": "y", "label": Condition("y"), "group_loss": loss, **task})  # type: ignore[arg-type]


TEXT = """
version: 1
name: shop
features: {item: {kind: categorical}}
tasks: {click: {kind: binary, label: click, group_loss: LOSS}}
roles: {group: request}
split: {by: random}
"""


def test_the_short_form_says_the_kind_and_a_group_is_needed() -> None:
    short = parse_schema(TEXT.replace("LOSS", "jrc"), source="shop.yaml")
    long = parse_schema(TEXT.replace("LOSS", "{kind: jrc, share: 0.5}"), source="shop.yaml")
    assert short == long and parse_schema(short.dump(), source="again") == short
    with pytest.raises(SchemaError, match=r"group_loss.*needs roles\.group"):
        parse_schema(TEXT.replace("LOSS", "jrc").replace("{group: request}", "{}"), source="x")
    with pytest.raises(SchemaError, match="pairwise"):
        parse_schema(TEXT.replace("LOSS", "hinge"), source="x")


RANK_KINDS = ("listwise", "pairwise")


@pytest.mark.parametrize("kind", RANK_KINDS)
def test_a_rank_head_has_the_loss_within_groups_alone(kind: str) -> None:
    spec = HeadSpec("best", "regression", head=Head("rank", loss=kind))  # type: ignore[arg-type]
    heads = TabularHeads((spec,), width=3, tower=())
    dice = np.random.default_rng(1)
    grade, member = dice.integers(0, 4, 40).astype(np.float32), np.arange(40) // 5
    score, weight = torch.from_numpy(dice.normal(size=(40, 1))), torch.from_numpy(dice.random(40))
    rows = torch.from_numpy(np.stack([grade, member], 1))
    loss = {"listwise": listwise_loss, "pairwise": pairwise_loss}[kind]
    expected = loss(score[:, 0], rows[:, 0], weight, GroupedRows(rows[:, 1]))
    expected = (expected * weight).sum() / weight.sum()
    torch.testing.assert_close(heads.losses([score], rows, weight)[0], expected)
    moved = heads.losses([score + 7.0], rows, weight)[0]
    torch.testing.assert_close(moved, expected)
    assert heads.columns == ("score_best",) and torch.equal(heads.scores([score]), score)
    assert HeadSpec.from_json(spec.to_json()) == spec


def test_a_rank_head_recovers_a_planted_order() -> None:
    """Where each group has a level of its own that would mislead a regression."""
    dice = np.random.default_rng(0)
    level, inside = np.repeat(dice.normal(0, 4, 100), 6), dice.normal(0, 1, 600)
    gain = np.exp(inside - level + 0.1 * dice.normal(size=600)).astype(np.float32)
    rows = np.stack([gain, np.repeat(np.arange(100), 6)], 1).astype(np.float32)
    spec = HeadSpec("best", "regression", head=Head("rank", loss="pairwise"))
    heads = TabularHeads((spec,), width=1, tower=())
    lanes = torch.from_numpy((level + inside).astype(np.float32))[:, None, None]
    optimizer = torch.optim.SGD(heads.parameters(), lr=0.3)
    for _ in range(30):
        optimizer.zero_grad()
        heads.losses(heads(lanes), torch.from_numpy(rows), torch.ones(600)).sum().backward()
        optimizer.step()
    scores = heads.scores(heads(lanes))[:, 0].detach().numpy()
    assert gauc(rows[:, 0], scores, rows[:, 1].astype(int)) > 0.9


@pytest.mark.parametrize(
    ("task", "fault"),
    [
        ("{kind: regression, label: grade, head: rank, transform: log1p}", "drop transform"),
        ("{kind: binary, label: click, head: rank}", "head rank is for kind: regression"),
        ("{kind: regression, label: grade, head: {kind: poisson, loss: pairwise}}", "kind: rank"),
        ("{kind: regression, label: {column: grade, at_least: 4}}", "needs the value"),
    ],
)
def test_a_rank_head_that_cannot_be_is_refused(task: str, fault: str) -> None:
    whole = "{kind: binary, label: click, group_loss: LOSS}"
    with pytest.raises(SchemaError, match=fault):
        parse_schema(TEXT.replace(whole, task), source="shop.yaml")


def test_a_rank_head_takes_a_rule_and_needs_a_group() -> None:
    whole = "{kind: binary, label: click, group_loss: LOSS}"
    task = "{kind: regression, label: {column: grade, at_least: 4}, head: rank}"
    schema = parse_schema(TEXT.replace(whole, task), source="shop.yaml")
    assert schema.tasks[0].judged_as == "rank" and parse_schema(schema.dump(), source="x") == schema
    with pytest.raises(SchemaError, match=r"head.*needs roles\.group"):
        parse_schema(schema.dump().replace("group: request", "row_id: request"), source="x")

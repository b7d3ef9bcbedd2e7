"""Funnels of any depth: the same events, however they are written, against plain sets of events."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recmtl.baselines import constant
from recmtl.data.columns.funnel import defined_rows, joint_labels
from recmtl.data.columns.labels import LabelFit, Labels
from recmtl.errors import SourceLocation
from recmtl.evaluate.task_metrics import evaluate
from recmtl.evaluate.transfer_test import judge_transfer
from recmtl.model.heads import AITM, ESCM2_DR, ESCM2_IPS, ESMM, Chain, TabularHeads, head_specs
from recmtl.schema import Condition, Schema, SplitRule, TaskSpec
from recmtl.train.tabular_problem import TabularProblem
from tests.tabular_problems import ENCODING, make_split

NAN = math.nan
PLACE = SourceLocation("log.parquet")
PARENTS = {"view": None, "click": "view", "cart": "click", "pay": "cart", "like": "click"}
"""A chain of four events, and a second child of the second of them."""
CHAINS = {"esmm": ESMM, "aitm": AITM, "ips": ESCM2_IPS, "dr": ESCM2_DR}
few = settings(max_examples=40, deadline=None)


def task(name: str, **more: Any) -> TaskSpec:
    settings = {"parent": PARENTS[name], "missing": "ignore"} | more
    return TaskSpec(name, "binary", Condition(name), **settings)


# Children stand before their parents too.
TASKS = tuple(task(name) for name in ("pay", "view", "like", "click", "cart"))
NAMES = [each.name for each in TASKS]
SCHEMA = Schema("s", (), TASKS, SplitRule("random"))
ROWS = st.lists(st.sets(st.sampled_from(NAMES)), min_size=1, max_size=12)


def ancestors(name: str) -> list[str]:
    parent = PARENTS[name]
    return [] if parent is None else [parent, *ancestors(parent)]


def happened(row: set[str]) -> set[str]:
    """The events of a row that can have happened: those whose ancestors did."""
    return {name for name in row if set(ancestors(name)) <= row}


def written(rows: list[set[str]], blank: Any) -> np.ndarray:
    """Labels [R, T]: `blank(row, name)` says whether nothing is written where a parent failed."""
    labels = np.empty((len(rows), len(NAMES)))
    for r, row in enumerate(rows):
        for t, name in enumerate(NAMES):
            failed = not set(ancestors(name)) <= happened(row)
            labels[r, t] = NAN if failed and blank(r, name) else name in happened(row)
    return labels


def log_of(rows: int, seed: int = 0) -> list[set[str]]:
    """Events of so many rows, of which some reach every step."""
    random = np.random.default_rng(seed)
    return [{name for name in NAMES if random.random() < 0.7} for _ in range(rows)]


def three_writings(rows: list[set[str]]) -> list[np.ndarray]:
    """With 0, with nothing, and with one or the other at random."""
    mixed = np.random.default_rng(1).random((len(rows), len(NAMES))) < 0.5
    blanks = [lambda *_: False, lambda *_: True, lambda r, name: mixed[r, NAMES.index(name)]]
    return [written(rows, blank) for blank in blanks]


@few
@given(ROWS, st.randoms(use_true_random=False))
def test_labels_and_rows_are_those_of_the_events(rows: list[set[str]], random: Any) -> None:
    labels = written(rows, lambda *_: random.random() < 0.5)
    for each in TASKS:
        events = [each.name in happened(row) for row in rows]
        assert joint_labels(labels, TASKS, each).tolist() == events
        judged = [set(ancestors(each.name)) <= happened(row) for row in rows]
        assert defined_rows(labels, TASKS, each).tolist() == judged


CASES = {
    # view, click, cart, pay, like -> joint labels in that order, tasks judged given their parents
    "all happened": ((1, 1, 1, 1, 0), (1, 1, 1, 1, 0), "view click cart pay like"),
    "nothing after a failed step": ((1, 0, NAN, NAN, NAN), (1, 0, 0, 0, 0), "view click"),
    "zeros after a failed step": ((1, 0, 0, 0, 0), (1, 0, 0, 0, 0), "view click"),
    "a zero below a gap": ((0, NAN, 0, NAN, 0), (0, 0, 0, 0, 0), "view"),
    "first step unknown, child 1": ((NAN, 1, 0, NAN, NAN), (NAN, 1, 0, 0, NAN), "cart"),
    "first step unknown, child 0": ((NAN, 0, NAN, NAN, NAN), (NAN, 0, 0, 0, 0), ""),
    "middle step unknown, child 1": ((1, 1, NAN, 1, NAN), (1, 1, NAN, 1, NAN), "view click"),
    "middle step unknown, child 0": ((1, 1, NAN, 0, 1), (1, 1, NAN, 0, 1), "view click like"),
    "last step unknown": ((1, 1, 1, NAN, 0), (1, 1, 1, NAN, 0), "view click cart like"),
    "nothing known": ((NAN,) * 5, (NAN,) * 5, ""),
}


@pytest.mark.parametrize("case", CASES)
def test_cases_worked_by_hand(case: str) -> None:
    labels, joint, judged = (dict(zip(PARENTS, part, strict=True)) if part != CASES[case][2]
                             else part for part in CASES[case])  # fmt: skip
    row = np.array([[labels[name] for name in NAMES]])
    for each in TASKS:
        np.testing.assert_array_equal(joint_labels(row, TASKS, each), [joint[each.name]])
        assert defined_rows(row, TASKS, each)[0] == (each.name in judged.split())


def fitted(labels: np.ndarray) -> Labels:
    fit = LabelFit(SCHEMA, "log.parquet")
    for part in np.array_split(labels, 3):
        fit.add(batch_of(part), np.ones(len(part), bool), PLACE)
    return fit.finish()


def batch_of(labels: np.ndarray) -> pa.RecordBatch:
    return pa.record_batch({name: labels[:, t] for t, name in enumerate(NAMES)})


def test_all_writings_are_encoded_alike_and_start_at_the_rates_of_the_events() -> None:
    rows = log_of(600)
    writings = [fitted(labels) for labels in three_writings(rows)]
    arrays = [
        one.encode(batch_of(labels), PLACE)
        for one, labels in zip(writings, three_writings(rows), strict=True)
    ]
    for other, array in zip(writings[1:], arrays[1:], strict=True):
        assert other.statistics == writings[0].statistics
        np.testing.assert_array_equal(array, arrays[0])
    funnel = TabularHeads(head_specs(TASKS, writings[0].statistics), width=2, tower=()).funnel
    events = [happened(row) for row in rows]
    for t, name in enumerate(NAMES):
        given_parent = [name in row for row in events if set(ancestors(name)) <= row]
        assert funnel.base_rate(t) == pytest.approx(np.mean(given_parent))


def test_a_log_of_0_1_starts_at_the_rates_of_its_events() -> None:
    """Its statistics count the rows with a label alone, and have no rate given the parent."""
    zero, blank, _ = three_writings(log_of(600))
    specs = []
    for labels in (zero, blank):
        raw = fitted(zero).statistics
        for t, name in enumerate(NAMES):
            label = labels[~np.isnan(labels[:, t]), t]
            facts = {"rows": len(label), "mean": label.mean(), "given_parent": None}
            raw[name] = replace(raw[name], **facts)
        specs.append(head_specs(TASKS, raw))
    assert [one.mean for one in specs[1]] == pytest.approx([one.mean for one in specs[0]])


def test_a_parent_and_a_child_recorded_on_different_rows_start_inside_of_0_and_1() -> None:
    random = np.random.default_rng(2)
    view = (random.random(4000) < 0.5).astype(float)
    click = view * (random.random(4000) < 0.4)
    view[random.random(4000) < 0.9] = NAN  # recorded on a tenth of the rows
    view[(np.arange(4000) < 3000) & (view == 1)] = NAN  # and there hardly ever where it is 1
    labels = np.full((4000, len(NAMES)), NAN)
    labels[:, NAMES.index("view")], labels[:, NAMES.index("click")] = view, click
    tasks = (task("view"), task("click"))
    fit = LabelFit(replace(SCHEMA, tasks=tasks), "log.parquet")
    fit.add(batch_of(labels), np.ones(4000, bool), PLACE)
    heads = head_specs(tasks, fit.finish().statistics)
    funnel = TabularHeads(heads, width=2, tower=()).funnel
    assert funnel.base_rate(1) == pytest.approx(click[view == 1].mean())


def plain_loss(chain: Chain, p: dict[str, torch.Tensor], rows: list[set[str]]) -> torch.Tensor:
    """Mean cross-entropy of each event; `p` [R] is what the logits of a task say."""
    losses = []
    for name in NAMES:
        total = torch.zeros((), dtype=torch.float64)
        for r, row in enumerate(rows):
            joint = p[name][r]
            if chain.child == "conditional":
                for ancestor in ancestors(name):
                    joint = joint * p[ancestor][r]
            total = total - torch.log(joint if name in happened(row) else 1.0 - joint)
        losses.append(total / len(rows))
    return torch.stack(losses)


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_losses_and_gradients_of_all_writings_are_equal(chain: Chain) -> None:
    rows = log_of(40)
    specs = head_specs(TASKS, fitted(three_writings(log_of(600))[0]).statistics)
    torch.manual_seed(0)
    heads = TabularHeads(specs, width=3, tower=(4,), chain=chain).double()
    lanes = torch.randn(40, len(NAMES), 3, dtype=torch.float64, requires_grad=True)
    results = []
    for labels in three_writings(rows):
        losses = heads.losses(heads(lanes), torch.tensor(labels), torch.ones(40).double())
        inputs = [lanes, *heads.parameters()]
        results.append((losses, torch.autograd.grad(losses.sum(), inputs, retain_graph=True)))
    for losses, gradients in results[1:]:
        assert torch.equal(losses, results[0][0])
        assert all(map(torch.equal, gradients, results[0][1]))


@pytest.mark.parametrize("chain", [ESMM, Chain(child="joint", calibrator=0.0)], ids=str)
def test_the_loss_is_that_of_the_events_with_its_gradient(chain: Chain) -> None:
    rows = log_of(30)
    specs = head_specs(TASKS, fitted(three_writings(log_of(600))[0]).statistics)
    heads = TabularHeads(specs, width=3, tower=(), chain=chain).double()
    lanes = torch.randn(30, len(NAMES), 3, dtype=torch.float64)
    logits = [logit.detach().requires_grad_() for logit in heads(lanes)]
    labels = torch.tensor(three_writings(rows)[2])
    got = heads.losses(logits, labels, torch.ones(30, dtype=torch.float64))
    p = {name: torch.sigmoid(logits[t][:, 0]) for t, name in enumerate(NAMES)}
    want = plain_loss(chain, p, rows)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-12)
    for one, other in zip(
        *(torch.autograd.grad(v.sum(), logits) for v in (got, want)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


def problem_of(labels: list[np.ndarray]) -> TabularProblem:
    """Train, validation and test rows with these labels."""
    parts = [
        replace(make_split(len(part), seed), labels=part.astype(np.float32))
        for seed, part in enumerate(labels)
    ]
    heads = head_specs(TASKS, fitted(labels[0]).statistics)
    return TabularProblem(*parts, ENCODING, TASKS, heads)


def test_metrics_verdicts_baselines_and_single_tasks_of_all_writings_are_equal() -> None:
    parts = [three_writings(log_of(rows, seed)) for seed, rows in enumerate((500, 300, 400))]
    problems = [problem_of(list(labels)) for labels in zip(*parts, strict=True)]
    results = []
    for problem in problems:
        base = constant.fit_predict(
            problem.train, problem.validation, problem.test, TASKS, ENCODING
        ).predictions
        random = np.random.default_rng(0)
        scores = {name: random.random(400) for name in base}
        labels = problem.test.labels
        metrics = [evaluate(one, labels, TASKS) for one in (base, scores)]
        opponents = {"searched": {0: scores}, "single_task": {0: base}}
        verdict = judge_transfer(opponents, labels, TASKS, resamples=20)
        alone = [problem.only(each) for each in TASKS]
        rows = [(one.train.row, one.train.labels, one.heads) for one in alone]
        results.append((base, metrics, verdict, rows))
    for other in results[1:]:
        np.testing.assert_equal(other, results[0])

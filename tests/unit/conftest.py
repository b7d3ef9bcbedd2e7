"""A made-up run with five tasks, nine models and three seeds, as realistic as numbers can be."""

from types import SimpleNamespace

import numpy as np
import pytest

from recmtl.evaluate import assemble, evaluate, reliability_curve
from recmtl.evaluate.transfer_test import judge_transfer
from recmtl.report import ExpertUse, ReportInput
from recmtl.schema import Condition, TaskSpec

TASKS = (
    TaskSpec("click", "binary", Condition("click")),
    TaskSpec("purchase", "binary", Condition("purchase"), parent="click"),
    TaskSpec("dislike", "binary", Condition("dislike")),
    TaskSpec("watch_time", "regression", Condition("watch_s"), transform="log1p"),
    TaskSpec("rating", "multiclass", Condition("rating")),
)
SKILL = {
    "searched": 1.0,
    "single_task": 0.88,
    "shared_bottom": 0.9,
    "mmoe": 0.96,
    "ple": 0.97,
    "full_grid": 1.0,
    "random_route": 0.92,
    "lightgbm": 1.03,
    "logistic": 0.6,
}
COST = {
    "searched": (412_310, 48_220, 41.2, 61_200.0),
    "single_task": (1_310_050, 121_344, 58.9, 33_100.0),
    "shared_bottom": (402_118, 40_110, 22.0, 88_000.0),
    "mmoe": (498_220, 118_784, 40.5, 39_000.0),
    "ple": (553_012, 152_064, 55.1, 31_000.0),
    "full_grid": (690_334, 241_664, 88.4, 21_500.0),
    "random_route": (410_902, 48_220, 37.7, 61_000.0),
    "lightgbm": (22_410, None, 12.4, 52_000.0),
    "logistic": (95_100, 130, 4.2, 410_000.0),
}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def make_labels(rows=6000, seed=0):
    random = np.random.default_rng(seed)
    signal = random.normal(size=(rows, 5))
    click = random.random(rows) < sigmoid(1.2 * signal[:, 0] - 1)
    purchase = click & (random.random(rows) < sigmoid(1.2 * signal[:, 1] - 1.2))
    dislike = random.random(rows) < sigmoid(1.2 * signal[:, 2] - 3.5)
    watch = np.where(click, np.expm1(np.abs(2 + signal[:, 3])), np.nan)
    rating = np.digitize(signal[:, 4] + random.normal(size=rows), [-0.7, 0.7])
    labels = np.stack([click, purchase, dislike, watch, rating], axis=1).astype(np.float32)
    return labels, signal, random.integers(0, rows // 12, rows)


def make_scores(signal, skill, seed, task_luck=None):
    random = np.random.default_rng(seed + 1)
    luck = np.ones(5) if task_luck is None else task_luck
    noise = 0.5 / (skill * luck)
    seen = signal + noise * random.normal(size=signal.shape)
    seen = seen / (1 + noise**2)
    p = sigmoid(1.2 * seen[:, :3] - np.array([1.0, 1.2, 3.5]))
    rating = np.exp(2 * np.stack([-seen[:, 4], 0 * seen[:, 4], seen[:, 4]], axis=1))
    rating /= rating.sum(axis=1, keepdims=True)
    columns = {
        "p_click": p[:, 0],
        "p_purchase_given_click": p[:, 1],
        "p_click_and_purchase": p[:, 0] * p[:, 1],
        "p_dislike": p[:, 2],
        "value_watch_time": np.expm1(np.abs(2 + seen[:, 3])),
        **{f"p_rating_{name}": rating[:, k] for k, name in enumerate(("bad", "fair", "good"))},
    }
    return {name: values.astype(np.float32) for name, values in columns.items()}


@pytest.fixture(scope="session")
def made_up():
    return SimpleNamespace(tasks=TASKS, make_labels=make_labels, make_scores=make_scores)


def make_health(checks=6):
    """Twelve experts on two layers by epoch; the gates of click collapse, expert 1.7 starves."""
    random = np.random.default_rng(6)
    names = [f"1.{e}" for e in range(9)] + [f"2.{e}" for e in range(3)]
    measured = []
    for number in range(checks):
        logits = 0.4 * number * np.linspace(1, -1, 12) * np.ones((5, 1))
        use = np.exp(logits + 0.1 * random.normal(size=(5, 12)))
        use[:, :9] /= use[:, :9].sum(1, keepdims=True)
        use[:, 9:] /= use[:, 9:].sum(1, keepdims=True)
        alike = [np.full((n, n), 0.3 + 0.05 * number) + 0.2 * np.eye(n) for n in (9, 3)]
        measured.append(
            {
                "epoch": 0.5 * (number + 1),
                "use": use.tolist(),
                "entropy": [0.9 - 0.1 * number, 0.8, 0.7, None, 0.9],
                "similarity": [matrix.tolist() for matrix in alike],
                "dead": (0.04 * number * random.random(12)).tolist(),
                "drift": (0.1 * random.random(5)).tolist() if number else None,
            }
        )
    return {
        "tasks": [task.name for task in TASKS],
        "experts": names,
        "checks": measured,
        "warnings": ["The gates of click have collapsed.", "Expert 1.7 is starved."],
        "limits": {"collapsed": 0.95, "dead": 0.9, "identical": 0.999, "starved": 0.1},
    }


@pytest.fixture
def health():
    return make_health()


@pytest.fixture(scope="session")
def report_input():
    labels, signal, group = make_labels()
    luck = {"searched": np.array([1.15, 1.4, 0.45, 1.0, 1.1])}
    predictions = {
        model: {
            seed: make_scores(signal, skill, 10 * i + seed, luck.get(model))
            for seed in range(1 if model in ("lightgbm", "logistic") else 3)
        }
        for i, (model, skill) in enumerate(SKILL.items())
    }
    metrics = {
        model: {seed: evaluate(found, labels, TASKS, group) for seed, found in seeds.items()}
        for model, seeds in predictions.items()
    }
    names = ("parameters", "multiply_adds", "train_s", "score_rows_per_s")
    results = assemble(
        metrics,
        verdicts=judge_transfer(predictions, labels, TASKS, group=group).tasks,
        cost={model: dict(zip(names, values, strict=True)) for model, values in COST.items()},
        fingerprint="5f1d7c" * 8,
    )
    random = np.random.default_rng(5)
    history = [
        {
            "epoch": epoch,
            "entropy": 2.1 * np.exp(-epoch / 6),
            "multiply_adds": 241_664 * np.exp(-epoch / 12) + 30_000,
            "temperature": 5 * 0.85**epoch,
            "validation": {
                "click": 0.74 - 0.05 * np.exp(-epoch / 3) + 0.002 * random.normal(),
                "purchase": 0.70 - 0.08 * np.exp(-epoch / 4) + 0.004 * random.normal(),
                "dislike": 0.72 - 0.1 * np.exp(-epoch / 5) + 0.004 * random.normal(),
                "watch_time": 9.4 + np.exp(-epoch / 3),
            },
        }
        for epoch in range(15)
    ]
    joint = {
        task: {
            model: reliability_curve(
                labels[rows, t], predictions[model][0][column][rows].astype(np.float64)
            )
            for model in ("searched", "single_task", "lightgbm")
        }
        for t, task, column, rows in (
            (0, "click", "p_click", slice(None)),
            (1, "purchase", "p_purchase_given_click", labels[:, 0] == 1),
            (2, "dislike", "p_dislike", slice(None)),
        )
    }
    use = random.dirichlet(np.full(8, 0.6), size=5)
    return ReportInput(
        results=results,
        data={
            "fingerprint": "5f1d7c" * 8,
            "rows": {"train": 160_000, "validation": 20_000, "test": 20_000},
            "tasks": {
                "click": {"rows": 160_000, "positives": 48_310},
                "purchase": {"rows": 160_000, "positives": 9_204},
                "dislike": {"rows": 160_000, "positives": 5_870},
                "watch_time": {"rows": 48_310, "mean": 2.0, "std": 0.8},
            },
            "warnings": ["feature 'position <b>' is equal to label 'click' on 99.95 % of rows"],
        },
        search_history=history,
        routes={task.name: ROUTES for task in TASKS},
        expert_use=ExpertUse(
            use, [task.name for task in TASKS], [f"layer {k // 4} expert {k % 4}" for k in range(8)]
        ),
        health=make_health(),
        reliability=joint,
    )


ROUTES = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="760" height="300" viewBox="0 0 760 300">'
    + "".join(
        f'<line x1="{90 + 140 * a}" y1="60" x2="{90 + 140 * b}" y2="230" stroke="#1d4ed8"/>'
        for a, b in ((0, 0), (1, 0), (1, 1), (3, 2), (2, 3), (3, 4), (2, 4))
    )
    + "".join(
        f'<circle cx="{90 + 140 * k}" cy="{y}" r="22" fill="#dbeafe" stroke="#1f2933"/>'
        for k in range(5)
        for y in (60, 230)
    )
    + "</svg>"
)

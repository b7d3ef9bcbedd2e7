"""Problems with a known answer: which tasks should share, which need depth, which rows are hard.

Inputs are standard normal numbers. Labels (regression) are standardised teachers plus noise, so
that a constant has a loss of 1. Train and validation rows may hold only a part of their labels;
test rows are fresh and hold all of them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recmtl.data.columns.labels import LabelStatistics
from recmtl.data.encoded_log import LogSplit
from recmtl.data.encoding import Encoding, NumericField
from recmtl.model.heads import head_specs
from recmtl.schema import Condition, TaskSpec
from recmtl.train.tabular_problem import TabularProblem

__all__ = ["HARD", "Plant", "difficulty", "mmoe_pair", "routes", "skips", "tree"]

Floats = NDArray[np.float64]
Teacher = Callable[[Floats], Floats]
"""Inputs `[R, N]` to labels without noise `[R, T]`."""

VALIDATION_ROWS = 3000
TEST_ROWS = 10_000
SCALE_ROWS = 20_000
HARD = 0
"""Position of the input that is 1 on hard rows and -1 on easy rows of `difficulty`."""


@dataclass(frozen=True)
class Plant:
    """A problem and its answer: `groups[t]` is the group of task t; tasks of a group are alike."""

    problem: TabularProblem
    groups: tuple[int, ...]


def routes(seed: int, *, rows: int = 6000) -> Plant:
    """Two pairs and a lone task: related within a pair, conflicting between pairs, unrelated.

    A task's teacher is a sum of four ridges `tanh(2 w.x)` of 12 inputs, the same for both tasks of
    a pair. The second pair has the ridges of the first with the signs of half of the inputs turned:
    what one pair needs from an expert is wrong for the other. The lone task has ridges of 6 other
    inputs. Each label is known on its own tenth of the train rows.
    """
    random = np.random.default_rng((1, seed))
    wide, ridges = 12, 4
    first, alone = _directions(random, wide, ridges), _directions(random, wide // 2, ridges)
    signs = np.where(random.permutation(wide) < wide // 2, -1.0, 1.0)[:, None]
    mixes = _directions(random, ridges, 3).T

    def teacher(x: Floats) -> Floats:
        both = x[:, :wide]
        hidden = (both @ first, both @ (signs * first), x[:, wide:] @ alone)
        labels = [np.tanh(2.0 * h) @ mix for h, mix in zip(hidden, mixes, strict=True)]
        return np.stack([labels[0], labels[0], labels[1], labels[1], labels[2]], 1)

    inputs = wide + wide // 2
    problem = _problem(random, teacher, inputs=inputs, rows=rows, known_share=0.1, noise=0.3)
    return Plant(problem, (0, 0, 1, 1, 2))


def mmoe_pair(seed: int, correlation: float, *, rows: int = 6000) -> Plant:
    """MMoE's synthetic pair (KDD 2018, section 3.2): `w2 = c(p u1 + sqrt(1 - p^2) u2)`.

    `y = w.x + sum_i sin(alpha_i w.x + beta_i) + noise` with PLE's constants: alpha and beta
    standard normal, c = 1, m = 10, noise of variance 0.01. Unlike there, 24 inputs replace 512, and
    a tenth of 6,000 train rows has a label in place of 1.4 million rows.
    """
    random = np.random.default_rng((2, seed))
    basis = np.linalg.qr(random.normal(size=(24, 2)))[0]
    second = correlation * basis[:, 0] + np.sqrt(1.0 - correlation**2) * basis[:, 1]
    weights = np.stack([basis[:, 0], second], 1)
    alpha, beta = random.normal(size=(2, 10))

    def teacher(x: Floats) -> Floats:
        ridge = (x @ weights)[:, :, None]
        labels: Floats = ridge[:, :, 0] + np.sin(alpha * ridge + beta).sum(-1)
        return labels

    problem = _problem(
        random, teacher, inputs=24, rows=rows, known_share=0.1, noise=0.1, absolute_noise=True
    )
    return Plant(problem, (0, 0) if correlation == 1.0 else (0, 1))


def skips(seed: int, *, rows: int = 16_000) -> Plant:
    """Two shallow tasks, linear in the inputs, and two deep ones (group 1).

    A deep task is a sum of three products of ridges, `sin(2 u.x) tanh(2 v.x)`, which one layer of a
    narrow stem cannot represent.
    """
    random = np.random.default_rng((3, seed))
    inputs = 8
    linear = _directions(random, inputs, 2)
    u, v = (_directions(random, inputs, 3) for _ in range(2))
    mix = _alike(random, 3, 0.8)

    def teacher(x: Floats) -> Floats:
        deep = _products(x, u, v) @ mix
        return np.concatenate([x @ linear, deep], 1)

    problem = _problem(random, teacher, inputs=inputs, rows=rows, known_share=1.0, noise=0.2)
    return Plant(problem, (0, 0, 1, 1))


def tree(seed: int, *, rows: int = 6000) -> Plant:
    """Four tasks in two pairs: all share hidden features, and each pair shares further ones.

    All tasks have `g = tanh(1.5 W x)`, a pair has `h_p = tanh(2 V_p g)`, and a task's label is a
    sum of `h_p` with weights that are alike within a pair (cosine 0.99). `V_1` and `V_2` are
    orthogonal: if they were drawn independently, two pairs could be nearly as alike as the tasks of
    one.
    """
    random = np.random.default_rng((4, seed))
    inputs, hidden = 10, 8
    common = _directions(random, inputs, hidden)
    pair_directions = np.split(_directions(random, hidden, hidden), 2, 1)
    mixes = [_alike(random, 4, 0.99) for _ in range(2)]

    def teacher(x: Floats) -> Floats:
        g = np.tanh(1.5 * (x @ common))
        pairs = zip(pair_directions, mixes, strict=True)
        return np.concatenate([np.tanh(2.0 * (g @ v)) @ mix for v, mix in pairs], 1)

    problem = _problem(random, teacher, inputs=inputs, rows=rows, known_share=1.0, noise=0.2)
    return Plant(problem, (0, 0, 1, 1))


def difficulty(seed: int, *, rows: int = 16_000) -> Plant:
    """Two tasks whose rows are easy (a linear rule) or hard (products).

    One input says which rows are hard. The rules of both kinds read the other inputs only.
    """
    random = np.random.default_rng((5, seed))
    inputs = 6
    linear = _directions(random, inputs, 2)
    u, v = (_directions(random, inputs, 2) for _ in range(2))
    mix = _alike(random, 2, 0.8)

    def teacher(x: Floats) -> Floats:
        rest = np.delete(x, HARD, 1)
        deep = _products(rest, u, v) @ mix
        easy = rest @ linear
        labels: Floats = np.where(x[:, [HARD]] > 0, deep / deep.std(0), easy / easy.std(0))
        return labels

    sizes = {"inputs": inputs + 1, "rows": rows, "flags": 1}
    return Plant(_problem(random, teacher, **sizes, known_share=1.0, noise=0.2), (0, 0))


def _directions(random: np.random.Generator, inputs: int, number: int) -> Floats:
    """Unit columns `[inputs, number]`, orthogonal where there are enough inputs."""
    return np.asarray(np.linalg.qr(random.normal(size=(inputs, number)))[0])


def _products(x: Floats, u: Floats, v: Floats) -> Floats:
    """Products of ridges `[R, n]`: smooth, but too much for one layer of a narrow stem."""
    return np.asarray(np.sin(2.0 * (x @ u)) * np.tanh(2.0 * (x @ v)))


def _alike(random: np.random.Generator, number: int, correlation: float) -> Floats:
    """Two unit columns `[number, 2]` with this cosine."""
    first, second = np.linalg.qr(random.normal(size=(number, 2)))[0].T
    return np.stack([first, correlation * first + np.sqrt(1.0 - correlation**2) * second], 1)


def _problem(
    random: np.random.Generator,
    teacher: Teacher,
    *,
    inputs: int,
    rows: int,
    known_share: float,
    noise: float,
    absolute_noise: bool = False,
    flags: int = 0,
) -> TabularProblem:
    """A problem with the train, validation and test rows of a teacher.

    Args:
        random: draws inputs, noise and which labels are known.
        teacher: inputs to labels without noise.
        inputs: number of inputs.
        rows: number of train rows.
        known_share: share of the train labels that are known; of validation labels at least half.
        noise: standard deviation of the noise in units of the teacher's, or in absolute units.
        absolute_noise: whether the noise is in absolute units.
        flags: number of inputs, the first ones, that are replaced by their signs.
    """

    def drawn(number: int) -> Floats:
        x = random.normal(size=(number, inputs))
        x[:, :flags] = np.sign(x[:, :flags])
        return x

    clean = teacher(drawn(SCALE_ROWS))
    mean, std = clean.mean(0), clean.std(0)

    def split(number: int, share: float) -> LogSplit:
        x = drawn(number)
        truth = teacher(x)
        labels = truth + noise * (1.0 if absolute_noise else std) * random.normal(size=truth.shape)
        labels = (labels - mean) / std
        labels[random.random(labels.shape) >= share] = np.nan
        return LogSplit(
            np.zeros((number, 0), np.int32),
            x.astype(np.float32),
            labels.astype(np.float32),
            np.ones(number, np.float32),
            np.zeros(number, np.int64),
            np.arange(number),
        )

    train, validation = split(rows, known_share), split(VALIDATION_ROWS, max(known_share, 0.5))
    test = split(TEST_ROWS, 1.0)
    names = [f"task_{t}" for t in range(train.labels.shape[1])]
    tasks = tuple(TaskSpec(n, "regression", Condition(n), missing="ignore") for n in names)
    statistics = {n: _statistics(c) for n, c in zip(names, train.labels.T, strict=True)}
    fields = tuple(NumericField(f"x{n}", "standard", 1) for n in range(inputs))
    encoding = Encoding(table_rows=1, single=(), lists=(), numeric=fields)
    return TabularProblem(train, validation, test, encoding, tasks, head_specs(tasks, statistics))


def _statistics(labels: NDArray[np.float32]) -> LabelStatistics:
    present = labels[~np.isnan(labels)].astype(np.float64)
    return LabelStatistics(len(present), 0, float(present.mean()), float(present.std()), ())

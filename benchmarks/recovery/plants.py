"""Problems whose answer is known: who should share, who needs depth, which rows are hard.

Inputs are standard normal numbers, labels are standardised teachers plus noise (regression), so
that a loss of 1 is that of a constant. Only some train and validation labels are known; test rows
are fresh and all known.
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
"""The input of `difficulty` that is 1 on hard rows and -1 on easy ones."""


@dataclass(frozen=True)
class Plant:
    """A problem and its answer: `groups[t]` is the group of task t, tasks of a group are alike."""

    problem: TabularProblem
    groups: tuple[int, ...]


def routes(seed: int, *, rows: int = 6000) -> Plant:
    """Two pairs and a lone task: related within a pair, conflicting between pairs, unrelated.

    A task's teacher is a sum of four ridges `tanh(2 w.x)`, the same for both tasks of a pair, of
    12 inputs. The second pair's ridges are the first's with the signs of half of the inputs
    turned: what one pair wants of an expert is wrong for the other. The lone task has ridges of 6
    other inputs. Every label is known on a tenth of the train rows, each for itself.
    """
    random = np.random.default_rng((1, seed))
    wide, ridges = 12, 4
    first, alone = _directions(random, wide, ridges), _directions(random, wide // 2, ridges)
    signs = np.where(random.permutation(wide) < wide // 2, -1.0, 1.0)[:, None]
    mixes = _directions(random, ridges, 3).T

    def teacher(x: Floats) -> Floats:
        both = x[:, :wide]
        hidden = (both @ first, both @ (signs * first), x[:, wide:] @ alone)
        found = [np.tanh(2.0 * h) @ mix for h, mix in zip(hidden, mixes, strict=True)]
        return np.stack([found[0], found[0], found[1], found[1], found[2]], 1)

    inputs = wide + wide // 2
    problem = _problem(random, teacher, inputs=inputs, rows=rows, known=0.1, noise=0.3)
    return Plant(problem, (0, 0, 1, 1, 2))


def mmoe_pair(seed: int, correlation: float, *, rows: int = 6000) -> Plant:
    """MMoE's synthetic pair (KDD 2018, section 3.2): `w2 = c(p u1 + sqrt(1 - p^2) u2)`.

    `y = w.x + sum_i sin(alpha_i w.x + beta_i) + noise` with PLE's constants: alpha and beta
    standard normal, c = 1, m = 10, noise of variance 0.01; but 24 inputs in place of 512, and
    a label known on a tenth of 6,000 train rows in place of 1.4 million.
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

    problem = _problem(random, teacher, inputs=24, rows=rows, known=0.1, noise=0.1, plain=True)
    return Plant(problem, (0, 0) if correlation == 1.0 else (0, 1))


def skips(seed: int, *, rows: int = 16_000) -> Plant:
    """Two shallow tasks, linear in the inputs, and two deep ones (group 1).

    A deep task is a sum of three products of ridges: `sin(2 u.x) sign(v.x)`, which one layer of a
    narrow stem does not hold.
    """
    random = np.random.default_rng((3, seed))
    inputs = 8
    linear = _directions(random, inputs, 2)
    u, v = (_directions(random, inputs, 3) for _ in range(2))
    mix = _alike(random, 3, 0.8)

    def teacher(x: Floats) -> Floats:
        deep = _products(x, u, v) @ mix
        return np.concatenate([x @ linear, deep], 1)

    problem = _problem(random, teacher, inputs=inputs, rows=rows, known=1.0, noise=0.2)
    return Plant(problem, (0, 0, 1, 1))


def tree(seed: int, *, rows: int = 6000) -> Plant:
    """Four tasks, pairs of pairs: all share hidden features, then each pair shares its own.

    `g = tanh(1.5 W x)` is everybody's, `h_p = tanh(2 V_p g)` a pair's, a task's label is a sum of
    `h_p`; the tasks of a pair weigh it alike (cosine 0.99). `V_1` and `V_2` are orthogonal: with
    directions of their own draw some pairs are nearly as alike as the tasks of a pair.
    """
    random = np.random.default_rng((4, seed))
    inputs, hidden = 10, 8
    common = _directions(random, inputs, hidden)
    own = np.split(_directions(random, hidden, hidden), 2, 1)
    mixes = [_alike(random, 4, 0.99) for _ in range(2)]

    def teacher(x: Floats) -> Floats:
        g = np.tanh(1.5 * (x @ common))
        pairs = zip(own, mixes, strict=True)
        return np.concatenate([np.tanh(2.0 * (g @ v)) @ mix for v, mix in pairs], 1)

    problem = _problem(random, teacher, inputs=inputs, rows=rows, known=1.0, noise=0.2)
    return Plant(problem, (0, 0, 1, 1))


def difficulty(seed: int, *, rows: int = 16_000) -> Plant:
    """Two tasks whose rows are easy (a linear rule) or hard (products), told by a flag.

    The rules of both kinds look at the other inputs only.
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
    return Plant(_problem(random, teacher, **sizes, known=1.0, noise=0.2), (0, 0))


def _directions(random: np.random.Generator, inputs: int, number: int) -> Floats:
    """Unit columns `[inputs, number]`, orthogonal where there are enough inputs."""
    return np.asarray(np.linalg.qr(random.normal(size=(inputs, number)))[0])


def _products(x: Floats, u: Floats, v: Floats) -> Floats:
    """Products of ridges `[R, n]`: smooth, and out of reach of one layer of a narrow stem."""
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
    known: float,
    noise: float,
    plain: bool = False,
    flags: int = 0,
) -> TabularProblem:
    """Train, validation and test rows of a teacher.

    On validation rows at least half of the labels are known. The noise is in
    units of the teacher's standard deviation, or plain. The first `flags` inputs are signs.
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
        labels = truth + noise * (1.0 if plain else std) * random.normal(size=truth.shape)
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

    train, validation = split(rows, known), split(VALIDATION_ROWS, max(known, 0.5))
    test = split(TEST_ROWS, 1.0)
    names = [f"task_{t}" for t in range(train.labels.shape[1])]
    tasks = tuple(TaskSpec(n, "regression", Condition(n), missing="ignore") for n in names)
    statistics = {n: _facts(c) for n, c in zip(names, train.labels.T, strict=True)}
    fields = tuple(NumericField(f"x{n}", "standard", 1) for n in range(inputs))
    encoding = Encoding(table_rows=1, single=(), lists=(), numeric=fields)
    return TabularProblem(train, validation, test, encoding, tasks, head_specs(tasks, statistics))


def _facts(labels: NDArray[np.float32]) -> LabelStatistics:
    own = labels[~np.isnan(labels)].astype(np.float64)
    return LabelStatistics(len(own), 0, float(own.mean()), float(own.std()), ())

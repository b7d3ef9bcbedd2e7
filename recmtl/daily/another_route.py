"""Whether the tasks should share in another way now: a test on recent validation rows.

Weights that were trained on favour the wiring that they were trained for, so that nothing is
compared with them. The present wiring and the fixed ways to share are trained from scratch on the
added days, at equal cost and on equal terms. It is done in two rounds:

1. Every wiring is trained with one seed; the best of the others is the rival. If it is not ahead of
   the present wiring, nothing is proven, and the test ends.
2. The present wiring and the rival are trained with further seeds, which have had no part in the
   choice. The paired test of `recmtl.evaluate.transfer_test` compares them on the validation rows,
   at a level that is divided by the number of wirings among which the rival was chosen.

Only a rival that is better on the mean over the tasks starts a new search.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from recmtl.errors import ConfigError
from recmtl.evaluate.gain import NOT_PROVEN
from recmtl.evaluate.transfer_test import judge_transfer
from recmtl.grid import Layout, matched, same_wiring
from recmtl.job.fit import Fit, ModelResult, trained_once
from recmtl.job.outcome import metric_groups
from recmtl.job.work.items import fixed_layout
from recmtl.search.entrants import FIXED_ENTRANTS
from recmtl.train.config import Config
from recmtl.train.loop import OnProgress
from recmtl.train.problem import network_cost
from recmtl.train.tabular_problem import TabularProblem

__all__ = ["PRESENT", "RouteTest", "compare_wirings", "wirings"]

PRESENT = "present"
WAYS = (*FIXED_ENTRANTS, "full_grid")
SEEDS = 6
"""Of the second round."""
LEVEL = 0.05


@dataclass(frozen=True)
class RouteTest:
    """What the test says, ready for JSON.

    Attributes:
        is_proven: whether a rival is better than the present wiring.
        says: the same in one sentence.
        rival: the best of the other wirings; empty if there is none.
        scores: validation score of every wiring in the first round.
        gain: of the rival over the present wiring on the mean over the tasks, with its interval
            (`recmtl.evaluate.gain.Gain`); empty without a second round.
    """

    is_proven: bool
    says: str
    rival: str
    scores: dict[str, float]
    gain: dict[str, Any]


def compare_wirings(
    problem: TabularProblem,
    config: Config,
    present: Layout,
    folder: Path,
    *,
    seeds: int = SEEDS,
    on_progress: OnProgress,
) -> RouteTest:
    """Test whether another way to share is better than the present one; see the module.

    Args:
        problem: the added days; nothing but their train and validation rows is looked at.
        config: how networks are trained, and their sizes.
        present: the layout of the network that is served.
        folder: keeps what was trained, so that a test which was interrupted goes on.
        seeds: of the second round, at least 2.
        on_progress: called with the progress of every training.
    """
    layouts = {PRESENT: present, **dict(wirings(problem, config, present))}
    trainings = _Trainings(problem, config, layouts, folder, on_progress)
    results = {name: trainings.of(name, config.seed) for name in layouts}
    scores = {name: float(result.validation_score or np.nan) for name, result in results.items()}
    rivals = {name: score for name, score in scores.items() if name != PRESENT and score == score}
    if not rivals:
        return RouteTest(False, "there is no other way to share", "", scores, {})
    rival = max(rivals, key=lambda name: rivals[name])
    if not rivals[rival] > scores[PRESENT]:
        says = f"no other way to share is ahead of the present one on {len(rivals)} trials"
        return RouteTest(False, says, rival, scores, {})
    gain = _gain(trainings, rival, range(config.seed + 1, config.seed + 1 + seeds), len(rivals))
    is_proven = gain.get("verdict", NOT_PROVEN) == "helped"
    how = "is proven better than" if is_proven else "is not proven better than"
    return RouteTest(is_proven, f"{rival} {how} the present wiring", rival, scores, gain)


def wirings(
    problem: TabularProblem, config: Config, present: Layout
) -> Iterator[tuple[str, Layout]]:
    """The fixed ways to share at the cost of the present network, each wiring once."""
    cost = float(_multiply_adds(present, problem, config))
    before = [present]
    for name in WAYS:
        try:
            layout = fixed_layout(name, config, problem)
            size = partial(_multiply_adds, problem=problem, config=config)
            layout = matched(layout, cost, size, tolerance=inf)
        except ConfigError:
            continue  # what these tasks do not have, or no width brings to the cost
        if not any(same_wiring(layout, other) for other in before):
            before.append(layout)
            yield name, layout


@dataclass(frozen=True)
class _Trainings:
    """Networks trained from scratch, each once."""

    problem: TabularProblem
    config: Config
    layouts: dict[str, Layout]
    folder: Path
    on_progress: OnProgress

    def of(self, name: str, seed: int) -> ModelResult:
        """What a wiring scored with a seed; trained now unless it was before."""
        states = self.folder / "checkpoints"
        states.mkdir(parents=True, exist_ok=True)

        def checkpoint(network: str, number: int) -> Path:
            return states / f"{network}-{number}.safetensors"

        def train() -> tuple[None, ModelResult]:
            fit = Fit(self.problem, self.config, seed, self.on_progress, checkpoint)
            # Of no use after the test: the weights, and what is predicted for test rows.
            return None, replace(fit.network(name, self.layouts[name])[1], predictions={})

        result = trained_once(self.folder / name / str(seed), train)
        checkpoint(name, seed).unlink(missing_ok=True)
        return result


def _gain(trainings: _Trainings, rival: str, seeds: range, chosen_of: int) -> dict[str, Any]:
    """The gain of a rival over the present wiring on validation rows; empty if none is defined."""
    rows, tasks = trainings.problem.validation, trainings.problem.tasks
    verdict = judge_transfer(
        {n: {s: trainings.of(n, s).on_validation for s in seeds} for n in (rival, PRESENT)},
        np.asarray(rows.labels),
        tasks,
        group=metric_groups(rows.group),
        weight=np.asarray(rows.weight_by_task),
        subject=rival,
        decisive=PRESENT,
        resamples=trainings.config.evidence.bootstrap,
        confidence=1.0 - LEVEL / chosen_of,
    )
    gain: dict[str, Any] = verdict.mean.get(PRESENT, {})
    return gain


def _multiply_adds(layout: Layout, problem: TabularProblem, config: Config) -> float:
    return float(network_cost(problem, layout, config.sizes).multiply_adds)

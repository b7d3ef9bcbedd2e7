"""The finals: the best trials and the configuration itself, trained with more seeds.

The best of many trials was lucky, too: its first seed says too much. So the mean over the seeds
decides, and the configuration stays unless a trial has a better mean. Each task of the chosen
trial is then judged against the configuration by the paired test of `evaluate.transfer_test`, on
the validation rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recmtl.evaluate.transfer_test import judge_transfer
from recmtl.job.handed_on import JobContext
from recmtl.job.outcome import metric_groups
from recmtl.train.tabular_problem import TabularProblem
from recmtl.tuning.halving import Course
from recmtl.tuning.trial_study import scored_rows
from recmtl.tuning.trials import Piece, RoundResult, ranked

__all__ = ["CHOSEN", "CONFIGURED", "Finalist", "Finals", "finals_of"]

CHOSEN, CONFIGURED = "chosen", "configured"


@dataclass(frozen=True)
class Finalist:
    """A trial with the results of its seeds.

    Attributes:
        course: the trial.
        results: seed -> result of its whole training; the seeds are the same for all finalists.
        meets: whether it keeps what the aim promises to other tasks.
    """

    course: Course
    results: dict[int, RoundResult]
    meets: bool = True

    @property
    def score(self) -> float:
        """The mean over the seeds."""
        return float(np.mean([result.score for result in self.results.values()]))

    @property
    def tasks(self) -> dict[str, float]:
        """The stop metric of every task, its mean over the seeds."""
        by_seed = [result.tasks for result in self.results.values()]
        return {task: float(np.mean([scores[task] for scores in by_seed])) for task in by_seed[0]}


@dataclass(frozen=True)
class Finals:
    """What came of the finals.

    Attributes:
        finalists: the first is trial 0.
        chosen: that with the best mean; trial 0 unless another one's is better.
        tasks: task -> its judgement as in results.json, of the chosen trial against trial 0; none
            if that was chosen.
        mean: the same of the mean over the tasks.
        cpu_s: processor seconds of the trainings with further seeds.
    """

    finalists: tuple[Finalist, ...]
    chosen: Finalist
    tasks: dict[str, Any]
    mean: dict[str, Any]
    cpu_s: float

    @classmethod
    def of(
        cls,
        job: JobContext,
        courses: Sequence[Course],
        pieces: Sequence[Piece],
        *,
        problem: TabularProblem,
    ) -> "Finals":
        """Choose among trials of which these pieces are done, as far as there was time for them.

        Args:
            job: in whose folder they are.
            courses: the finalists, trial 0 first.
            pieces: a training of every finalist with every seed.
            problem: of trial 0.
        """
        done = {(p.trial, p.seed): p.result(job.out) for p in pieces}
        numbers = [course.trial.number for course in courses]
        seeds = [s for s in _seeds(pieces) if all(done[n, s] is not None for n in numbers)]
        results = {
            n: {s: result for s in seeds if (result := done[n, s]) is not None} for n in numbers
        }
        finalists = [Finalist(course, results[course.trial.number]) for course in courses]
        first, aim = finalists[0], job.config.aim
        if aim.enabled:
            finalists = [
                Finalist(f.course, f.results, aim.is_met(f.tasks, first.tasks)) for f in finalists
            ]
        able = [finalist for finalist in finalists if finalist.meets]
        chosen = able[ranked([finalist.score for finalist in able])[0]]
        again = [r for (_, seed), r in done.items() if r is not None and seed != pieces[0].seed]
        cpu_s = sum(result.cpu_s for result in again)
        tasks, mean = _judged(job, chosen, first, problem, pieces)
        return cls(tuple(finalists), chosen, tasks, mean, cpu_s)


def finals_of(courses: Sequence[Course], count: int) -> list[Course]:
    """Trial 0, and the best of the others that were trained to the end."""
    first, *others = courses
    done = [course for course in others if course.standing == "done"]
    best = ranked([course.newest.score for course in done])[:count]
    return [first, *(done[position] for position in best)]


def _seeds(pieces: Sequence[Piece]) -> list[int]:
    return list(dict.fromkeys(piece.seed for piece in pieces))


def _judged(
    job: JobContext,
    chosen: Finalist,
    first: Finalist,
    problem: TabularProblem,
    pieces: Sequence[Piece],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Every task of the chosen trial against the configuration, on validation rows."""
    if chosen is first:
        return {}, {}
    names = {chosen.course.trial.number: CHOSEN, first.course.trial.number: CONFIGURED}
    predictions: dict[str, dict[int, Any]] = {name: {} for name in names.values()}
    for piece in pieces:
        if piece.trial in names and piece.seed in chosen.results:
            predictions[names[piece.trial]][piece.seed] = scored_rows(job.out, piece)
    rows, evidence = problem.validation, job.config.evidence
    verdict = judge_transfer(
        predictions,
        np.asarray(rows.labels),
        problem.tasks,
        group=metric_groups(rows.group),
        weight=np.asarray(rows.weight_by_task),
        subject=CHOSEN,
        decisive=CONFIGURED,
        resamples=evidence.bootstrap,
        false_discovery=evidence.false_discovery,
    )
    return verdict.tasks, verdict.mean

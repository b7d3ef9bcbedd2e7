"""Successive halving of generations: which trials go on, and how far each has come.

The trials of a generation are trained for a quarter of the steps; the better half goes on to a
half of the steps, the better half of those to the end (Jamieson and Talwalkar, AISTATS 2016). A
generation begins while the ones before are still trained, so that no process waits. What goes on
depends on the scores alone, and never on which process was the first.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from recmtl.tuning.trials import Piece, RoundResult, Trial, ranked

__all__ = ["Course", "halve", "units_of_generation"]

Standing = Literal["under way", "dropped", "failed", "stopped", "done"]


@dataclass
class Course:
    """How far a trial has come.

    Attributes:
        trial: the trial.
        rounds: shares of the steps at which it is compared, the last of which is 1.
        results: share of the steps -> result, of the rounds that are done.
        standing: `under way`; `dropped` by halving; `failed`, since its values are refused or its
            score is not defined; `stopped` by the time limit; `done`, trained to the end.
    """

    trial: Trial
    rounds: Sequence[float]
    results: dict[float, RoundResult] = field(default_factory=dict)
    standing: Standing = "under way"

    def piece(self, model: str, seed: int) -> Piece | None:
        """The next part of its training; None if there is none."""
        if self.standing != "under way":
            return None
        done = len(self.results)
        since = self.rounds[done - 1] if done else 0.0
        return Piece(model, seed, trial=self.trial.number, since=since, until=self.rounds[done])

    def note(self, result: RoundResult | None) -> None:
        """Take the result of the round that was asked for; None if there was no time for it."""
        if result is None:
            self.standing = "stopped"
            return
        self.results[self.rounds[len(self.results)]] = result
        if result.failed or math.isnan(result.score):
            self.standing = "failed"
        elif len(self.results) == len(self.rounds):
            self.standing = "done"

    @property
    def trained(self) -> float:
        """Share of the steps that it was trained for."""
        return max(self.results, default=0.0)

    @property
    def newest(self) -> RoundResult:
        """The result of its last round; of no round one without a score."""
        return self.results[self.trained] if self.results else RoundResult(math.nan)


def halve(courses: Iterable[Course]) -> None:
    """Drop the worse half of every generation whose trials have come to the end of a round.

    Trial 0 is of no generation, and never dropped. Of an odd number the smaller half goes on.
    """
    generations: dict[int, list[Course]] = {}
    for course in courses:
        if course.trial.generation >= 0 and course.standing == "under way" and course.results:
            generations.setdefault(course.trial.generation, []).append(course)
    for alive in generations.values():
        order = ranked([course.newest.score for course in alive])
        for position in order[max(1, len(alive) // 2) :]:
            alive[position].standing = "dropped"


def units_of_generation(trials: int, rounds: Sequence[float]) -> tuple[int, float]:
    """The pieces of a generation, and how many whole trainings they come to.

    >>> units_of_generation(8, [0.25, 0.5, 1.0])
    (14, 4.0)
    """
    pieces, units, before = 0, 0.0, 0.0
    for share in rounds:
        pieces, units, before = pieces + trials, units + trials * (share - before), share
        trials = max(1, trials // 2) if trials else 0
    return pieces, units

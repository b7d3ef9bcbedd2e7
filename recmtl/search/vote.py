"""Searches of several seeds vote on what the tasks should share, or say that they disagree.

A race is one training of each entrant, so that the luck of its seed decides between entrants that
are nearly equal. Each seed has one vote, for the name of its winner. Where the votes differ, the
class with the best mean validation score over all seeds is chosen, among those that won somewhere.
"""

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import TypedDict

import numpy as np

from recmtl.search.race import EntrantRecord
from recmtl.search.search import SearchResult

__all__ = ["ClassRecord", "Vote", "vote"]


class ClassRecord(TypedDict):
    """How the entrants of one name did in the races of all seeds.

    Attributes:
        name: of the entrants.
        wins: races that they won.
        seeds: races in which they were.
        score: their mean validation score; in a race from which one was dropped, that which it had
            then.
        std: standard deviation of the score over seeds.
    """

    name: str
    wins: int
    seeds: int
    score: float
    std: float


class Vote(TypedDict):
    """What the races of several seeds say together.

    Attributes:
        winner: name of the class that is chosen.
        by_seed: seed -> name of the winner of its race.
        agreement: share of the pairs of seeds with the same winner; 1 for a single seed.
        disagree: whether two seeds have different winners.
        classes: all entrants by name, the best mean first.
        says: the same in one sentence.
    """

    winner: str
    by_seed: dict[str, str]
    agreement: float
    disagree: bool
    classes: list[ClassRecord]
    says: str


def vote(results: Mapping[int, SearchResult]) -> Vote | None:
    """The vote of searches by seed; None where one of them had no race."""
    if not results or not all(result.race for result in results.values()):
        return None
    by_seed = {str(seed): result.winner for seed, result in results.items()}
    winners, pairs = list(by_seed.values()), list(combinations(by_seed.values(), 2))
    classes = _classes(results.values(), winners)
    winner = next((row["name"] for row in classes if row["wins"]), winners[0])
    disagree = len(set(winners)) > 1
    count = winners.count(winner)
    says = f"all {len(winners)} seeds agree on {winner}"
    if len(winners) == 1:
        says = f"{winner} won the race of the only seed"
    elif disagree:
        says = f"seeds disagree: {winner}, chosen by its mean, won {count} of {len(winners)} races"
    return Vote(
        winner=winner,
        by_seed=by_seed,
        agreement=float(np.mean([first == second for first, second in pairs])) if pairs else 1.0,
        disagree=disagree,
        classes=classes,
        says=says,
    )


def _classes(results: Iterable[SearchResult], winners: list[str]) -> list[ClassRecord]:
    """The records of all names, the best mean first; after the others those that missed a race."""
    scores: dict[str, list[float]] = {}
    for result in results:
        for name, score in _best_by_name(result.race).items():
            scores.setdefault(name, []).append(score)
    rows = [
        ClassRecord(
            name=name,
            wins=winners.count(name),
            seeds=len(values),
            score=float(np.mean(values)),
            std=float(np.std(values)),
        )
        for name, values in scores.items()
    ]
    return sorted(rows, key=lambda row: (-row["seeds"], -row["score"]))


def _best_by_name(race: Iterable[EntrantRecord]) -> dict[str, float]:
    """The best score of each name, with either kind of experts, vetoed ones left out."""
    best: dict[str, float] = {}
    for row in race:
        if "score" in row and row["standing"] != "vetoed":
            best[row["name"]] = max(row["score"], best.get(row["name"], -np.inf))
    return best

"""Searches of several seeds vote on what the tasks should share, or say that they disagree.

A race is one training of each entrant, so that the luck of its seed decides between entrants that
are nearly equal. Each seed has one vote, for the name of its winner. Where the votes differ, the
class with the best mean validation score over all seeds is chosen, among those that won somewhere.
The network that did best of those with which the class won is then trained with every seed.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import TypedDict

import numpy as np

from recmtl.search.race import EntrantRecord
from recmtl.search.search import SearchResult

__all__ = ["ClassRecord", "Vote", "elected", "vote"]


class ClassRecord(TypedDict):
    """How the entrants of one name did in the races of all seeds.

    Attributes:
        name: of the entrants.
        wins: races that they won.
        seeds: races in which they were.
        score: their mean validation score; in a race from which one was dropped, that which it had
            then and what the others gained on average from then to the end.
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


def elected(results: Mapping[int, SearchResult]) -> int:
    """The seed whose search ended with the network that every seed is to be trained on.

    Without races it is the first.
    """
    votes = vote(results)
    if votes is None:
        return next(iter(results))
    winner = votes["winner"]
    scores = {s: r.race[0].get("score", -np.inf) for s, r in results.items() if r.winner == winner}
    return max(scores, key=scores.__getitem__)


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


def _best_by_name(race: Sequence[EntrantRecord]) -> dict[str, float]:
    """The best score of each name, with either kind of experts, vetoed ones left out."""
    best: dict[str, float] = {}
    for row in race:
        if "score" in row and row["standing"] != "vetoed":
            score = row["score"] + _gained_after(row, race)
            best[row["name"]] = max(score, best.get(row["name"], -np.inf))
    return best


def _gained_after(dropped: EntrantRecord, race: Iterable[EntrantRecord]) -> float:
    """What those who reached the end gained on average after an entrant was dropped."""
    round_of_drop = str(dropped.get("trained"))
    gains = [
        row["score"] - row["by_round"][round_of_drop]
        for row in race
        if row.get("trained") == 1.0 and round_of_drop in row.get("by_round", {})
    ]
    return float(np.mean(gains)) if gains else 0.0

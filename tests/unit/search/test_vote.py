"""Seeds vote on what the tasks should share; where they disagree the mean over seeds decides."""

import pytest

from recmtl.grid import Routes, mmoe
from recmtl.search.race import EntrantRecord
from recmtl.search.search import SearchResult
from recmtl.search.vote import elected, vote

ROUTES = Routes.full(mmoe(2, experts=2, widths=(4,)))


def raced(winner: str, **scores: float) -> SearchResult:
    """A search whose race ended so; the score of the winner need not be the best."""
    race = [
        EntrantRecord(name=name, standing="won" if name == winner else "beaten", score=score)
        for name, score in scores.items()
    ]
    excluded = EntrantRecord(name="stem", standing="left out", why="too dear")
    return SearchResult(ROUTES, race=[*race, excluded], winner=winner)


def test_seeds_that_agree_say_so() -> None:
    votes = vote({seed: raced("found", found=0.8, all_apart=0.7) for seed in (4, 5, 6)})
    assert votes is not None
    assert (votes["winner"], votes["agreement"], votes["disagree"]) == ("found", 1.0, False)
    assert votes["by_seed"] == {"4": "found", "5": "found", "6": "found"}
    assert votes["says"] == "all 3 seeds agree on found"


def test_where_seeds_disagree_the_best_mean_over_seeds_is_chosen() -> None:
    """Two narrow wins count less than one by far."""
    votes = vote(
        {
            0: raced("found", found=0.81, shared_bottom=0.80, all_apart=0.7),
            1: raced("found", found=0.81, shared_bottom=0.80, all_apart=0.7),
            2: raced("shared_bottom", found=0.70, shared_bottom=0.80, all_apart=0.7),
        }
    )
    assert votes is not None and votes["winner"] == "shared_bottom" and votes["disagree"]
    assert votes["agreement"] == pytest.approx(1 / 3)
    assert votes["says"].startswith("seeds disagree: shared_bottom, chosen by its mean, won 1 of 3")
    assert [(row["name"], row["wins"], row["seeds"]) for row in votes["classes"]] == [
        ("shared_bottom", 1, 3),
        ("found", 2, 3),
        ("all_apart", 0, 3),
    ]
    assert votes["classes"][0]["std"] == pytest.approx(0.0)
    assert votes["classes"][1]["score"] == pytest.approx((0.81 + 0.81 + 0.70) / 3)


def test_a_class_that_won_nowhere_is_never_chosen() -> None:
    """A veto may keep the best mean from winning every race."""
    votes = vote(
        {
            0: raced("found", found=0.80, shared_bottom=0.9, all_apart=0.7),
            1: raced("all_apart", found=0.70, shared_bottom=0.9, all_apart=0.7),
        }
    )
    assert votes is not None and votes["classes"][0]["name"] == "shared_bottom"
    assert votes["winner"] == "found"


def test_the_order_of_seeds_does_not_matter() -> None:
    results = {
        0: raced("found", found=0.8, all_apart=0.7),
        1: raced("all_apart", found=0.6, all_apart=0.75),
    }
    one, other = vote(results), vote(dict(reversed(results.items())))
    assert one is not None and other is not None
    assert (one["winner"], one["classes"]) == (other["winner"], other["classes"])


def test_the_kind_of_experts_with_the_better_score_counts_for_its_class() -> None:
    result = raced("found", found=0.8)
    result.race.append(EntrantRecord(name="found", standing="beaten", score=0.9))
    result.race.append(EntrantRecord(name="found", standing="vetoed", score=0.95))
    votes = vote({0: result})
    assert votes is not None and votes["classes"][0]["score"] == 0.9
    assert votes["says"] == "found won the race of the only seed"


def test_without_a_race_there_is_no_vote() -> None:
    assert vote({}) is None
    assert vote({0: raced("found", found=0.8), 1: SearchResult(ROUTES)}) is None


def entrant(name: str, standing: str, **by_round: float) -> EntrantRecord:
    shares = {"quarter": "0.25", "whole": "1.0"}
    rounds = {shares[part]: score for part, score in by_round.items()}
    until = max(map(float, rounds))
    row = EntrantRecord(name=name, standing=standing, trained=until, by_round=rounds)
    return {**row, "score": rounds[str(until)]}


def test_a_dropped_entrant_is_taken_to_gain_what_the_others_did_after_it() -> None:
    """Else a class would lose by every race from which it was dropped early."""
    whole = [
        entrant("found", "won", quarter=0.6, whole=0.8),
        entrant("stem", "beaten", quarter=0.6, whole=0.7),
    ]
    dropped = entrant("all_apart", "dropped", quarter=0.5)
    votes = vote({0: SearchResult(ROUTES, race=[*whole, dropped], winner="found")})
    assert votes is not None
    scores = {row["name"]: row["score"] for row in votes["classes"]}
    assert scores == pytest.approx({"found": 0.8, "stem": 0.7, "all_apart": 0.65})


def test_the_network_of_the_best_race_of_the_class_is_elected() -> None:
    results = {
        4: raced("found", found=0.80, stem=0.70),
        5: raced("found", found=0.82, stem=0.70),
        6: raced("stem", stem=0.81, found=0.80),
    }
    assert elected(results) == 5
    assert elected(dict(reversed(results.items()))) == 5


def test_without_a_race_a_search_elects_itself() -> None:
    assert elected({7: SearchResult(ROUTES)}) == 7

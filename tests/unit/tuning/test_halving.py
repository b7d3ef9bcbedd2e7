"""Halving: the better half of every generation goes on, whatever came first."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.tuning.halving import Course, halve, units_of_generation
from recmtl.tuning.trials import Piece, RoundResult, Trial, ranked

ROUNDS = (0.25, 0.5, 1.0)


def courses_of(scores: list[float], generation: int = 0, first: int = 1) -> list[Course]:
    """Trials of a generation after their first round."""
    courses = [Course(Trial(first + n, {}, generation), ROUNDS) for n in range(len(scores))]
    for course, score in zip(courses, scores, strict=True):
        course.note(RoundResult(score))
    return courses


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_nobody_who_goes_on_is_worse_than_one_who_does_not(scores: list[float]) -> None:
    courses = courses_of(scores)
    halve(courses)
    on = [c.newest.score for c in courses if c.standing == "under way"]
    dropped = [c.newest.score for c in courses if c.standing == "dropped"]
    assert len(on) == max(1, len(scores) // 2)
    assert min(on) >= max(dropped, default=0.0)


def test_generations_are_halved_apart_and_trial_0_not_at_all() -> None:
    first = Course(Trial(0, {}, -1), ROUNDS)
    first.note(RoundResult(0.0))
    bad, good = courses_of([0.1, 0.2]), courses_of([0.8, 0.9], generation=1, first=3)
    halve([first, *bad, *good])
    standings = [course.standing for course in (first, *bad, *good)]
    assert standings == ["under way", "dropped", "under way", "dropped", "under way"]


def test_equal_trials_keep_their_order_and_undefined_ones_are_last() -> None:
    assert ranked([0.5, math.nan, 0.7, 0.5, 0.7]) == [2, 4, 0, 3, 1]


def test_a_course_goes_round_by_round() -> None:
    course = Course(Trial(4, {}, 0), ROUNDS)
    spans = []
    while (piece := course.piece("mmoe", 7)) is not None:
        assert (piece.name, piece.seed, piece.trial) == ("mmoe", 7, 4)
        spans.append((piece.since, piece.until))
        course.note(RoundResult(0.5))
    assert spans == [(0.0, 0.25), (0.25, 0.5), (0.5, 1.0)]
    assert course.standing == "done" and course.trained == 1.0


@pytest.mark.parametrize(
    ("result", "standing"),
    [
        (None, "stopped"),
        (RoundResult(math.nan), "failed"),
        (RoundResult(math.nan, failed="refused"), "failed"),
        (RoundResult(0.5), "under way"),
    ],
)
def test_a_result_says_whether_a_trial_goes_on(result: RoundResult | None, standing: str) -> None:
    course = Course(Trial(1, {}, 0), ROUNDS)
    course.note(result)
    assert course.standing == standing
    assert (course.piece("mmoe", 0) is None) == (standing != "under way")


def test_a_course_without_a_round_has_no_score() -> None:
    assert math.isnan(Course(Trial(1, {}, 0), ROUNDS).newest.score)


@given(st.integers(1, 40))
def test_a_generation_costs_what_its_pieces_do(trials: int) -> None:
    courses = courses_of([n / 40 for n in range(trials)])
    pieces, units = trials, 0.25 * trials
    halve(courses)
    while wave := [piece for course in courses if (piece := course.piece("mmoe", 0))]:
        pieces, units = pieces + len(wave), units + sum(p.until - p.since for p in wave)
        for course in courses:
            if course.standing == "under way":
                course.note(RoundResult(course.trial.number / 40))
        halve(courses)
    assert units_of_generation(trials, ROUNDS) == (pieces, pytest.approx(units))


def test_pieces_of_a_trial_have_files_and_names_of_their_own() -> None:
    pieces = [Piece("mmoe", s, trial=t, until=u) for s in (0, 1) for t in (1, 2) for u in ROUNDS]
    assert len(set(map(str, pieces))) == len(pieces)
    assert len({piece.file(Path("out")) for piece in pieces}) == len(pieces)


def test_what_a_training_goes_on_from_is_removed_and_results_stay(tmp_path: Path) -> None:
    piece = Piece("searched", 0, trial=1)
    folder = piece.folder(tmp_path)
    (folder / "checkpoints").mkdir(parents=True)  # of its search
    for name in ("checkpoint.safetensors", "checkpoints/searched-0.safetensors"):
        (folder / name).write_text("state")
    RoundResult(0.5).save(piece.file(tmp_path))
    piece.forget_state(tmp_path)
    assert [path.name for path in folder.iterdir()] == ["round-100.json"]

"""Pieces of trials as work items: which comes first, what each takes, what it reads."""

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recmtl.errors import ConfigError
from recmtl.job.problem_kind import TABULAR_PROBLEMS
from recmtl.job.work.items import WorkItem
from recmtl.job.work.limit import NO_LIMIT, Limit
from recmtl.train.config import Config
from recmtl.tuning.trial_study import TrialStudy, trial_agenda, trial_problem
from recmtl.tuning.trials import Piece, Trial
from tests.tabular_problems import make_problem
from tests.unit.tuning.conftest import CONFIG

PIECES = [
    Piece("shared_bottom", 0, trial=0, until=0.25),
    Piece("shared_bottom", 0, trial=5, until=0.25),
    Piece("shared_bottom", 0, trial=1, since=0.5, until=1.0),
    Piece("shared_bottom", 0, trial=3, since=0.25, until=0.5),
]


def study_of(folder: Path, limit: Limit = NO_LIMIT, **settings: Any) -> TrialStudy:
    config = replace(CONFIG, **settings)
    return TrialStudy(folder, TABULAR_PROBLEMS, make_problem(200), config, limit=limit)


def agenda_of(study: TrialStudy, pieces: list[Piece] = PIECES) -> Any:
    return trial_agenda(study, pieces, done=[], processes=1)


def test_a_piece_is_reckoned_as_its_part_of_a_training(tmp_path: Path) -> None:
    forecast = agenda_of(study_of(tmp_path)).forecast
    assert [forecast.units(piece) for piece in PIECES] == [0.25, 0.25, 0.5, 0.25]
    whole = forecast.rows(WorkItem("shared_bottom", 0))
    assert [forecast.rows(piece) / whole for piece in PIECES] == pytest.approx(
        [0.25, 0.25, 0.5, 0.25], rel=0.02
    )


def test_a_search_is_reckoned_where_it_is_done(tmp_path: Path) -> None:
    forecast = agenda_of(study_of(tmp_path)).forecast
    first, second = (Piece("searched", 0, trial=1, since=s, until=s + 0.5) for s in (0.0, 0.5))
    assert forecast.units(first) > 2 * forecast.units(second)


def test_pieces_of_other_rounds_say_how_long_a_piece_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    forecast = agenda_of(study_of(tmp_path, Limit(until=math.inf, unit=100.0))).forecast
    assert forecast.seconds(PIECES[0]) == 25.0
    for piece in PIECES[:3]:
        forecast.begin(piece)
        now[0] += 8.0 * forecast.units(piece)
        forecast.end(piece)
    assert forecast.seconds(PIECES[3]) == pytest.approx(2.0)


def test_without_time_only_the_configuration_itself_is_trained(tmp_path: Path) -> None:
    agenda = agenda_of(study_of(tmp_path, Limit(until=time.monotonic() - 1.0, unit=10.0)))
    assert agenda.take() == PIECES[0] and agenda.take() is None
    assert agenda.is_needed(PIECES[0]) and not agenda.is_needed(PIECES[1])


def test_what_is_nearest_to_its_end_comes_first_when_time_is_short(tmp_path: Path) -> None:
    limit = Limit(until=time.monotonic() + 1000.0, unit=1.0)
    agenda, taken = agenda_of(study_of(tmp_path, limit)), []
    while (piece := agenda.take()) is not None:
        taken.append(piece.trial)
    assert taken == [0, 1, 3, 5]


def test_a_trial_has_no_test_row_to_read(tuned: Path) -> None:
    problem = trial_problem(tuned, Trial(0, {}, -1), CONFIG)
    assert len(problem.test) == 0 and len(problem.train) > 0 and len(problem.validation) > 0


def test_a_trial_that_was_never_drawn_is_no_piece(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    with pytest.raises(TypeError, match="no piece of a trial"):
        study.do(WorkItem("mmoe", 0))
    assert not study.has(WorkItem("mmoe", 0))
    with pytest.raises(ConfigError, match="0000: holds no settings"):
        study.do(PIECES[0])


def test_rounds_come_to_the_training_at_once(tuned: Path, tmp_path: Path) -> None:
    """A training that paused twice scores what one without a pause does."""
    (tmp_path / "log").symlink_to(tuned / "log")
    study, scores = study_of(tmp_path), {}
    for trial, ends in ((1, (0.25, 0.5, 1.0)), (2, (1.0,))):
        Trial(trial, {}, 0).save(tmp_path)
        for since, until in zip((0.0, *ends), ends, strict=False):
            piece = Piece("shared_bottom", 0, trial=trial, since=since, until=until)
            study.do(piece)
        scores[trial] = piece.result(tmp_path)
    assert scores[1] is not None and scores[2] is not None
    assert scores[1].metrics == scores[2].metrics and np.isfinite(scores[1].score)


def test_the_default_trials_are_those_of_the_configuration() -> None:
    assert Config().tune.model == "mmoe"

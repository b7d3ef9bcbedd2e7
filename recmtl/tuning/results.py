"""The content of tune.json: every trial, the finals, what was chosen, and what it is worth."""

import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from recmtl.report.tune_page import value_text
from recmtl.train.recipe.tune import Tune
from recmtl.tuning.finals import CHOSEN, CONFIGURED, Finalist, Finals
from recmtl.tuning.halving import Course
from recmtl.tuning.space import Setting, Space

__all__ = ["tuning_results"]


def tuning_results(
    space: Space,
    courses: Sequence[Course],
    finals: Finals,
    *,
    rows: Mapping[str, int],
    asked: Tune,
) -> dict[str, Any]:
    """The content of tune.json.

    Args:
        space: what was tried.
        courses: every trial, trial 0 first.
        finals: of the best of them.
        rows: number of train and of validation rows.
        asked: what the configuration asked for.
    """
    configured = finals.finalists[0]
    return {
        "model": asked.model,
        "sampler": asked.sampler,
        "rows": dict(rows),
        "space": {setting.path: _text_of(setting) for setting in space.settings},
        "rounds": list(courses[0].rounds),
        "settings": _settings(space, finals.chosen),
        "chosen": {**_final(finals.chosen), "text": _sentence(finals, configured)},
        "configured": _final(configured),
        "finals": [_final(finalist) for finalist in finals.finalists],
        "tasks": finals.tasks,
        "mean": finals.mean,
        "hurt": [
            task for task, entry in finals.tasks.items() if entry[CONFIGURED]["verdict"] == "hurt"
        ],
        "trials": [_trial(course) for course in courses],
        "cpu_s": finals.cpu_s + sum(r.cpu_s for c in courses for r in c.results.values()),
        "left_out": _left_out(courses, finals, asked),
        "versions": {name: version(name) for name in ("recmtl", "optuna")},
    }


def _trial(course: Course) -> dict[str, Any]:
    newest = course.newest
    return {
        "number": course.trial.number,
        "generation": course.trial.generation,
        "standing": course.standing,
        "trained": course.trained,
        "score": newest.score,
        "by_round": {str(share): result.score for share, result in course.results.items()},
        "tasks": newest.tasks,
        "values": course.trial.values,
        "cpu_s": sum(result.cpu_s for result in course.results.values()),
        "multiply_adds": newest.multiply_adds,
        "why": newest.failed,
    }


def _final(finalist: Finalist) -> dict[str, Any]:
    scores = [result.score for result in finalist.results.values()]
    return {
        "number": finalist.course.trial.number,
        "values": finalist.course.trial.values,
        "score": finalist.score,
        "std": float(np.std(scores, ddof=1)) if len(scores) > 1 else math.nan,
        "seeds": {str(seed): result.score for seed, result in finalist.results.items()},
        "tasks": finalist.tasks,
        "meets": finalist.meets,
        "multiply_adds": finalist.course.newest.multiply_adds,
    }


def _settings(space: Space, chosen: Finalist) -> list[dict[str, Any]]:
    """Every setting with its value as configured and as chosen."""
    before = space.as_configured
    after = {**before, **chosen.course.trial.values}
    return [
        {
            "path": setting.path,
            CONFIGURED: before[setting.path],
            CHOSEN: after[setting.path],
            "scale": _scale(setting),
        }
        for setting in space.settings
    ]


def _scale(setting: Setting) -> str:
    """How its values lie beside one another."""
    if setting.range is None:
        return "choices"
    return "log" if setting.range.log else "linear"


def _sentence(finals: Finals, configured: Finalist) -> str:
    """What was chosen, in one line."""
    chosen, seeds = finals.chosen, len(configured.results)
    of_seeds = f"mean of {seeds} seeds" if seeds > 1 else "one seed"
    if chosen is configured:
        score = f"{configured.score:.4f} on validation rows, {of_seeds}"
        return f"No trial did better than the configuration itself: {score}."
    return (
        f"Trial {chosen.course.trial.number}: {chosen.score:.4f} on validation rows, where the "
        f"configuration itself has {configured.score:.4f}, {of_seeds}."
    )


def _text_of(setting: Setting) -> str:
    """The values of a setting, as a person writes them."""
    if setting.range is None:
        return " | ".join(value_text(value) for value in setting.examples())
    low, high = (value_text(value) for value in setting.examples())
    return f"{low} to {high}{', in logarithms' * setting.range.log}"


def _left_out(courses: Sequence[Course], finals: Finals, asked: Tune) -> list[str]:
    """What was done less than was asked for, a sentence for each kind."""
    lines = []
    drawn = len(courses) - 1
    if drawn < asked.trials:
        lines.append(f"{drawn} of {asked.trials} trials were drawn: there was no time for more")
    count = {s: sum(c.standing == s for c in courses) for s in ("stopped", "failed")}
    if count["stopped"]:
        lines.append(f"{count['stopped']} trials were stopped by the time limit")
    if count["failed"]:
        lines.append(f"{count['failed']} trials failed: their values are refused, or no score is")
    seeds = len(finals.finalists[0].results)
    if len(finals.finalists) > 1 and seeds < asked.seeds:
        lines.append(f"{seeds} of {asked.seeds} seeds of the finals were done")
    return lines

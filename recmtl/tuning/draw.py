"""Draw the values of new trials: near what did well so far, or evenly.

Optuna draws; what it is told of the past is made anew for every draw from what this package keeps,
and its random numbers from the number of the trial. So the same past gives the same draw, in one
process or in several, and in a tuning that goes on after a kill.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import TrialState, create_trial

from recmtl.train.recipe.tune import Tune
from recmtl.tuning.space import Setting, Space, Values

__all__ = ["Past", "draw"]

Past = Sequence[tuple[Values, Mapping[float, float]]]
"""Of every trial so far its values, and share of the steps -> score after so many."""


def draw(space: Space, past: Past, *, count: int, first: int) -> list[Values]:
    """The values of `count` new trials.

    Args:
        space: what is tried; its configuration says how it is drawn from.
        past: trials so far; one with a value outside the space says nothing, and one with no score
            yet is not drawn near.
        count: the number of trials.
        first: the number of the first of them.
    """
    drawn: list[Values] = []
    settings, seed = space.config.tune, space.config.seed * 100_003
    with _quiet():
        for number in range(first, first + count):
            sampling = _sampler(settings, seed + number)
            study = optuna.create_study(direction="maximize", sampler=sampling)
            for values, by_share in (*past, *((v, dict[float, float]()) for v in drawn)):
                if all(s.path in values and s.holds(values[s.path]) for s in space.settings):
                    study.add_trial(_earlier(space, values, by_share))
            trial = study.ask({s.path: _distribution(s) for s in space.settings})
            drawn.append({s.path: _value(s, trial.params[s.path]) for s in space.settings})
    return drawn


def _sampler(settings: Tune, seed: int) -> BaseSampler:
    """The sampler of one draw; the first generation is drawn evenly."""
    if settings.sampler == "random":
        return RandomSampler(seed=seed)
    startup = settings.generation
    return TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=startup)


def _earlier(
    space: Space, values: Values, by_share: Mapping[float, float]
) -> optuna.trial.FrozenTrial:
    """A trial as Optuna knows it: trained to the end, ended before, failed, or under way."""
    scores = {share: score for share, score in by_share.items() if not math.isnan(score)}
    state, value = TrialState.PRUNED, None
    if not by_share:
        state = TrialState.RUNNING
    elif len(scores) < len(by_share):
        state, scores = TrialState.FAIL, {}
    elif 1.0 in scores:
        state, value = TrialState.COMPLETE, scores[1.0]
    return create_trial(
        state=state,
        value=value,
        params={s.path: _param(s, values[s.path]) for s in space.settings},
        distributions={s.path: _distribution(s) for s in space.settings},
        # Steps are whole numbers: parts per thousand.
        intermediate_values={round(1000 * share): score for share, score in scores.items()},
    )


def _distribution(setting: Setting) -> BaseDistribution:
    numbers = setting.range
    if numbers is None:
        return CategoricalDistribution(setting.choices)
    if setting.is_whole:
        return IntDistribution(int(numbers.low), int(numbers.high), log=numbers.log)
    return FloatDistribution(numbers.low, numbers.high, log=numbers.log)


def _param(setting: Setting, value: object) -> object:
    """A value as Optuna holds it."""
    return value if setting.range is not None else setting.choice_of(value)


def _value(setting: Setting, param: str | float) -> object:
    """A value as the configuration holds it."""
    return setting.rounded(float(param)) if setting.range else json.loads(str(param))


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna notes every study that is made, and here each draw makes one."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)

"""What a study may ask for within a time limit, decided before anything of it is trained.

A few steps of a shared bottom say how fast this machine is. If the verdict of one seed would not
end in time, the study does without the choice of sources, then without all races but one, then
without that one, and at last is trained on a sample of the train rows. How much more evidence there
is time for is found out while it is made (`Agenda`).
"""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from recmtl.atomic import read_json, reading, write_json
from recmtl.job.work.forecast import Forecast, makespan
from recmtl.job.work.items import all_items, fixed_layout, voters
from recmtl.job.work.priority import groups_of
from recmtl.train.config import Config
from recmtl.train.loop import take_step
from recmtl.train.optimizer import Optimizer
from recmtl.train.problem import Problem

__all__ = ["LIMIT_FILE", "NO_LIMIT", "Limit", "within_limit"]

LIMIT_FILE = "time_limit.json"
"""In the output folder: the settings that a limit has changed, with which a later job goes on."""
PROBED_STEPS, LONGEST_PROBE = 24, 1.5
FIRST_STEPS = 4
"""They warm up, and are not measured."""
LAST_STEPS_SECONDS, LAST_STEPS_SHARE = 14.0, 0.4
"""The least that bundle, scores and report are reckoned to take, and the most of what is left."""
CORE_SHARE = 0.7
"""Share of the time that the verdict of one seed may take by the forecast."""
FEWEST_ROWS = 5_000


@dataclass(frozen=True)
class Limit:
    """Until when a study may go on.

    Attributes:
        until: the end on the clock (`time.monotonic`), for everything but the verdict of one seed.
        unit: seconds of a training of a shared bottom; None where it was not measured.
    """

    until: float = math.inf
    unit: float | None = None


NO_LIMIT = Limit()


def within_limit(
    problem: Problem, config: Config, *, folder: Path, processes: int, deadline: float | None
) -> tuple[Config, Limit]:
    """The settings of a study that ends in time, and until when it may go on.

    Settings that an earlier job in the folder has chosen for its limit stay: what is trained
    depends on them.

    Args:
        problem: with all train rows.
        config: as it was asked for.
        folder: the output folder.
        processes: that train the models.
        deadline: of the whole job, on the clock; None for no limit.
    """
    file, remedy = folder / LIMIT_FILE, "delete it with models/ and search/, to choose again"
    changed: dict[str, Any] | None = None
    if file.is_file():
        with reading(file, remedy=remedy):
            changed = dict(read_json(file, remedy=remedy))
            config = _changed(config, **changed)
    if deadline is None:
        return config, NO_LIMIT
    row = seconds_a_row(problem, config)
    rows, left = len(problem.train), deadline - time.monotonic()
    training = row * rows * config.training.passes(rows)
    until = deadline - min(LAST_STEPS_SECONDS + training, LAST_STEPS_SHARE * max(left, 0.0))
    if changed is None:
        for changed in _ever_less(config, rows):
            smaller = _changed(config, **changed)
            seconds = _core_seconds(problem, smaller, row, processes)
            if time.monotonic() + seconds / CORE_SHARE <= until:
                break
        write_json(file, changed, durable=True)
        config = smaller
    rows = min(rows, config.training.rows or rows)
    return config, Limit(until, row * rows * config.training.passes(rows))


def seconds_a_row(problem: Problem, config: Config) -> float:
    """The seconds for which a shared bottom is trained on a row, measured on a few steps."""
    torch.manual_seed(config.seed)
    model = problem.network(fixed_layout("shared_bottom", config, problem), config.sizes)
    optimizer, size = Optimizer(model, config.training, total_steps=PROBED_STEPS), 0
    model.train()
    first = began = time.perf_counter()
    batches = problem.train.batches(batch_size=config.training.batch_size, seed=config.seed)
    for number, batch in enumerate(islice(batches, PROBED_STEPS)):
        if number == FIRST_STEPS:
            began, size = time.perf_counter(), 0
        take_step(model, optimizer, batch)
        size += len(batch)
        if number > FIRST_STEPS and time.perf_counter() - first > LONGEST_PROBE:
            break
    return (time.perf_counter() - began) / max(1, size)


def _ever_less(config: Config, rows: int) -> Iterator[dict[str, Any]]:
    """Changes of the settings, each with less to do than the one before."""
    changed: dict[str, Any] = {}
    yield dict(changed)
    if config.search.source_seeds:
        changed["source_seeds"] = 0
        yield dict(changed)
    if config.search.race is not False:
        if len(voters(config, config.seed)) > 1:
            changed["votes"] = 1
            yield dict(changed)
        changed["race"] = False
        yield dict(changed)
    rows = min(rows, config.training.rows or rows)
    while rows // 2 >= FEWEST_ROWS:
        rows //= 2
        yield {**changed, "rows": rows}


def _changed(
    config: Config,
    *,
    source_seeds: int | None = None,
    votes: int | None = None,
    race: bool | None = None,
    rows: int | None = None,
) -> Config:
    search, training = config.search, config.training
    if source_seeds is not None:
        search = replace(search, source_seeds=source_seeds)
    if votes is not None:
        search = replace(search, votes=votes)
    if race is not None:
        search = replace(search, race=race)
    if rows is not None:
        training = replace(training, rows=rows)
    return replace(config, search=search, training=training)


def _core_seconds(problem: Problem, config: Config, row: float, processes: int) -> float:
    """The seconds that the verdict of one seed, and its choice of sources, are likely to take."""
    rows = min(len(problem.train), config.training.rows or len(problem.train))
    unit = row * rows * config.training.passes(rows)
    forecast = Forecast(config, tasks=len(problem.tasks), rows=rows, seconds_a_unit=unit)
    core = groups_of(all_items(config), config)[0]
    choice = config.search.source_seeds * len(problem.sources) * unit / processes
    return choice + makespan(processes, {}, core, lambda item: unit * forecast.units(item), config)

"""The work items of a study on several ranks: the first one does them, and the others take part."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from recmtl.engines.team import Team, launched_number, launched_team, local_team, team
from recmtl.job.study import Study
from recmtl.job.work.items import WorkItem, network_and_sources
from recmtl.ranks import RanksStoppedError
from recmtl.train.config import Config
from recmtl.train.problem import Problem

__all__ = ["do_together", "follow", "team_of"]


def do_together(study: Study[Any, Any], item: WorkItem) -> None:
    """Do a work item, with the other ranks if there are any and a network is to be trained.

    Raises:
        RanksStoppedError: `Ranks.stops` was set on the way.
        RecmtlError: another rank has failed, or was ended.
    """
    present = team()
    if present is None or network_and_sources(item.name)[0] in study.kind.baselines:
        study.do(item)
        return
    with present.together((study.folder, study.kind, study.config, item)):
        study.do(item)


@contextmanager
def team_of(processes: int) -> Iterator[None]:
    """Let so many processes train each network of a job, or those of the launcher of this one."""
    if launched_number() is not None:
        with launched_team():
            yield
    elif processes > 1:
        with local_team(processes, follow):
            yield
    else:
        yield


def follow(member: Team) -> None:
    """Take part in the work of the first rank until it ends; every rank opens the data for itself.

    The output folder lies where all ranks see it.
    """
    problems: dict[str, Problem] = {}
    for folder, kind, config, item in member.works():
        settings: Config = config
        torch.set_num_threads(settings.threads or 1)
        key = f"{folder} {kind.name} {settings!r}"
        if key not in problems:
            problems = {key: kind.open(folder, settings)}
        try:
            Study(folder, kind, problems[key], settings).take_part(item)
        except RanksStoppedError:
            continue

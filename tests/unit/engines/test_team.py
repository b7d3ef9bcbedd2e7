"""A team: the first rank leads, the others follow, and the failure of one ends all in one line."""

import os
import signal
import time

import pytest
import torch
from torch import distributed

from recmtl.engines.team import LOST, Team, launched_number, local_team, team
from recmtl.errors import DataError, RecmtlError
from recmtl.ranks import ALONE, RanksStoppedError, ranks


def follow(member: Team) -> None:
    """What ranks do in these tests: each work is the name of something to do."""
    for work in member.works():
        if work == "add":
            ranks().total(torch.tensor(1.0))
        elif work == "die" and member.meeting.number == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        elif work == "fail" and member.meeting.number == 2:
            raise DataError("log/train: damaged; run prepare again")
        elif work == "mistake" and member.meeting.number == 1:
            raise ZeroDivisionError
        elif work in ("die", "fail", "mistake"):
            ranks().total(torch.tensor(1.0))


def test_ranks_work_together_as_often_as_there_is_work() -> None:
    with local_team(3, follow) as leader:
        assert team() is leader
        for _ in range(3):
            with leader.together("add") as several:
                assert ranks() is several
                assert (several.count, several.number) == (3, 0)
                assert several.total(torch.tensor(1.0)).item() == 3.0
            assert ranks() is ALONE
        processes = [member.process for member in leader.members]
    assert not any(process.is_alive() for process in processes)
    assert team() is None and not distributed.is_initialized()


def test_what_the_first_rank_stops_leaves_a_team_that_goes_on() -> None:
    with local_team(2, follow) as leader:
        with pytest.raises(RanksStoppedError), leader.together("add") as several:
            several.total(torch.tensor(1.0))
            several.stops = True
            raise RanksStoppedError
        with leader.together("add") as several:
            assert not several.stops
            assert several.total(torch.tensor(1.0)).item() == 2.0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("work", "kind", "line"),
    [
        ("die", RecmtlError, "rank 1 was ended (exit code -9), perhaps for want of memory; "),
        ("fail", DataError, "log/train: damaged; run prepare again"),
        ("mistake", RuntimeError, "rank 1:\nTraceback"),
    ],
)
def test_the_failure_of_a_rank_ends_all_and_says_why(
    work: str, kind: type[Exception], line: str
) -> None:
    began = time.monotonic()
    with pytest.raises(kind) as error, local_team(3, follow) as leading:
        processes = [member.process for member in leading.members]
        with leading.together(work) as several:
            several.total(torch.tensor(1.0))
            several.total(torch.tensor(1.0))
    assert str(error.value).startswith(line)
    assert [process.is_alive() for process in processes] == [False, False]
    assert team() is None and ranks() is ALONE and not distributed.is_initialized()
    assert time.monotonic() - began < 120
    assert {process.exitcode for process in processes} <= {0, LOST, -signal.SIGKILL}


def test_a_leader_that_fails_ends_all() -> None:
    with pytest.raises(ZeroDivisionError), local_team(2, follow) as leader:
        processes = [member.process for member in leader.members]
        with leader.together("add"):
            raise ZeroDivisionError
    assert not any(process.is_alive() for process in processes)


def test_a_team_that_had_no_work_ends() -> None:
    with local_team(2, follow) as leading:
        pass
    assert not leading.members[0].process.is_alive()


@pytest.mark.parametrize("missing", ["RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"])
def test_a_process_that_no_launcher_has_started_is_no_rank(missing: str) -> None:
    words = {"RANK": "3", "WORLD_SIZE": "4", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
    assert launched_number(words) == 3
    assert launched_number({**words, missing: ""}) is None
    assert launched_number({**words, "WORLD_SIZE": "1"}) is None

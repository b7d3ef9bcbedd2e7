"""A team: the ranks of one job. The first leads; the others wait for its work and do it with it.

`local_team` starts the others as processes of this machine. Under torchrun, or any launcher that
sets `RANK`, `WORLD_SIZE`, `MASTER_ADDR` and `MASTER_PORT`, they are there already: the first rank
takes `launched_team`, and `follow_leader` is what the others do.
"""

import os
import socket
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeAlias

from torch import distributed

from recmtl.engines.child_process import start_child
from recmtl.errors import RecmtlError
from recmtl.masking import mask
from recmtl.ranks import RankLostError, Ranks, together

__all__ = [
    "Follow",
    "Team",
    "follow_leader",
    "launched_number",
    "launched_team",
    "local_team",
    "team",
]

LONGEST_WAIT = timedelta(days=7)
"""How long ranks wait for one another: the first prepares, judges and reports alone meanwhile."""
SECONDS_TO_END = 10.0
LOST, LOOPBACK = 3, ("lo", "lo0")
"""Exit code of a rank that has lost another; names of the interface within a machine."""


@dataclass(frozen=True)
class _Meeting:
    """Where ranks meet: an `init_method` of torch.distributed, and which rank this is."""

    place: str
    number: int
    count: int
    is_local: bool = True

    def join(self) -> Ranks:
        """Wait for the others, and become a rank."""
        with _on_this_machine() if self.is_local else nullcontext():
            distributed.init_process_group(
                "gloo",
                init_method=self.place,
                rank=self.number,
                world_size=self.count,
                timeout=LONGEST_WAIT,
            )
        return Ranks(distributed.group.WORLD)


@dataclass(frozen=True)
class _Member:
    """A rank that was started here, and the end of a pipe on which it says why it fails."""

    number: int
    process: BaseProcess
    connection: Connection

    def fault(self) -> RecmtlError | None:
        """Why it has ended; None if it was for another rank's sake, or if it has not."""
        self.process.join(SECONDS_TO_END)
        with suppress(EOFError, ConnectionError):
            if self.connection.poll():
                error: RecmtlError = self.connection.recv()
                return error
        if self.process.exitcode in (None, 0, LOST):
            return None
        return RecmtlError(
            f"rank {self.number} was ended (exit code {self.process.exitcode}), perhaps for want "
            "of memory; run the same command again to go on, with fewer processes"
        )


class Team:
    """The ranks of a job, which meet when there is work for all of them.

    Args:
        meeting: where.
        members: the other ranks, if this process has started them.
    """

    def __init__(self, meeting: _Meeting, members: "tuple[_Member, ...]" = ()) -> None:
        self.meeting, self.members = meeting, members
        self.count = meeting.count

    @cached_property
    def ranks(self) -> Ranks:
        """This process as one of the ranks; waits for the others."""
        return self.meeting.join()

    @contextmanager
    def together(self, work: object) -> Iterator[Ranks]:
        """Do work with all ranks: each other one gets it, and computes in step with this block.

        Raises:
            RecmtlError: another rank has failed, or was ended.
        """
        try:
            self.ranks.stops = False
            self.ranks.first(lambda: work)
            with together(self.ranks):
                yield self.ranks
        except RankLostError as lost:
            faults = (member.fault() for member in self.members)
            raise next((fault for fault in faults if fault is not None), lost) from lost

    def works(self) -> Iterator[Any]:
        """On a rank that follows: one work after another, each to be done before the next."""
        while (work := self.ranks.first(lambda: None)) is not None:
            with together(self.ranks):
                yield work

    def end(self, *, is_well: bool) -> None:
        """Let the other ranks end; by force if this one has failed or never met them."""
        has_met = "ranks" in vars(self)
        if is_well and (has_met or not self.members):
            with suppress(RankLostError):
                self.ranks.first(lambda: None)
            for member in self.members:
                member.process.join(SECONDS_TO_END)
        for member in self.members:
            member.process.kill()  # what it has written is nothing
            member.process.join()
            member.connection.close()
        if distributed.is_initialized():
            distributed.destroy_process_group()


Follow: TypeAlias = Callable[[Team], None]
"""What a rank does that does not lead: the works of its team."""

_team: Team | None = None


def team() -> Team | None:
    """The team that this process leads now."""
    return _team


@contextmanager
def local_team(count: int, follow: Follow) -> Iterator[Team]:
    """Lead ranks of this machine: this process and `count - 1` others, which end with the block.

    Args:
        count: of the ranks, two or more.
        follow: a function of a module: what the others do.
    """
    with tempfile.TemporaryDirectory(prefix="recmtl-ranks-") as folder:
        place = (Path(folder) / "meeting").as_uri()
        members = tuple(_start(_Meeting(place, n, count), follow) for n in range(1, count))
        with _leading(Team(_Meeting(place, 0, count), members)) as leader:
            yield leader


def launched_number(environment: Mapping[str, str] | None = None) -> int | None:
    """The rank that a launcher gave this process; None if it is one process for itself.

    >>> of_torchrun = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}
    >>> launched_number(of_torchrun), launched_number({"RANK": "1"})
    (1, None)
    """
    words = os.environ if environment is None else environment
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    if not all(words.get(name) for name in names) or words["WORLD_SIZE"] == "1":
        return None
    return int(words["RANK"])


@contextmanager
def launched_team() -> Iterator[Team]:
    """Lead the ranks that a launcher has started beside this one."""
    with _leading(_launched()) as leader:
        yield leader


def follow_leader(follow: Follow) -> int:
    """Be one of the ranks that a launcher has started, until the first one ends its job.

    Returns:
        The exit status: 0, or 3 if another rank has ended before.
    """
    member = _launched()
    try:
        follow(member)
    except RankLostError:
        return LOST  # who has failed says why
    member.end(is_well=False)
    return 0


def _launched() -> Team:
    number, count = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    return Team(_Meeting("env://", number, count, is_local=False))


@contextmanager
def _leading(leader: Team) -> Iterator[Team]:
    global _team
    before, _team, is_well = _team, leader, False
    try:
        yield leader
        is_well = True
    finally:
        _team = before
        leader.end(is_well=is_well)


def _start(meeting: _Meeting, follow: Follow) -> _Member:
    ours, theirs = Pipe()
    process = start_child(_serve, theirs, meeting, follow)
    theirs.close()
    return _Member(meeting.number, process, ours)


def _serve(connection: Connection, meeting: _Meeting, follow: Follow) -> None:
    """Follow in a process of its own; why that fails, the leader says."""
    member = Team(meeting)
    try:
        follow(member)
        member.end(is_well=False)
    except RankLostError:
        os._exit(LOST)
    except RecmtlError as error:
        connection.send(error)
    except Exception:
        text = mask(f"rank {meeting.number}:\n{traceback.format_exc()}")
        connection.send(RuntimeError(text))


@contextmanager
def _on_this_machine() -> Iterator[None]:
    """Let ranks listen on the interface within the machine, where that has a usual name."""
    name = "GLOO_SOCKET_IFNAME"
    loopback = [interface for _, interface in socket.if_nameindex() if interface in LOOPBACK]
    if not loopback or name in os.environ:
        yield
        return
    os.environ[name] = loopback[0]
    try:
        yield
    finally:
        del os.environ[name]

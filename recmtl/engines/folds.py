"""A pass over rows as a fold: what is added up of some rows, and of the rows after them.

    empty ── add ── add ──▶ of rows 0..k ─┐
                                          ├─ merge ──▶ of all rows
    empty ── add ── add ──▶ of rows k..n ─┘

A fold's result has the same bits wherever the rows are cut, as long as what is merged follows what
it is merged into: integers add up in any order, and of sums of floats the terms are kept and added
in the order of the rows.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, Self, TypeVar

__all__ = ["FinishedPieces", "Fold", "FoldT", "HasRows", "RowEngine", "merged", "runs"]


class HasRows(Protocol):
    """A run of the rows of a log."""

    @property
    def rows(self) -> int:
        """Number of rows."""


UnitT = TypeVar("UnitT")
FoldT = TypeVar("FoldT", bound="Fold")


class FinishedPieces(Protocol[FoldT]):
    """Keeps what was added up of pieces of a log, so that a job goes on after a kill."""

    def of(self, units: Sequence[Any], /) -> FoldT | None:
        """What was noted of a piece; None if it is not finished."""

    def note(self, units: Sequence[Any], result: FoldT, /) -> None:
        """Keep the result of a piece."""


class Fold(Protocol):
    """What a pass adds up; it can be pickled, empty or not."""

    @property
    def add(self) -> Callable[..., None]:
        """Adds the next rows."""

    def merge(self, later: Self, /) -> None:
        """Add what was added up of the rows that follow."""


class RowEngine(Protocol):
    """Runs a pass over the units of a log, each a run of its rows."""

    def fold(self, work: Callable[[Sequence[Any]], FoldT], units: Sequence[HasRows]) -> FoldT:
        """Merge what `work` gives for consecutive runs of `units`, in their order.

        `work` adds to what it holds: every call needs a fresh copy of it, in whatever process,
        and may be repeated.
        """


def runs(units: Sequence[UnitT], rows: Sequence[int], parts: int) -> list[Sequence[UnitT]]:
    """At most so many runs of units, in their order, with about equally many rows each.

    >>> runs("abcd", [5, 1, 1, 5], 2)
    ['ab', 'cd']
    """
    total, done, cuts = sum(rows), 0, [0]
    for number, count in enumerate(rows, start=1):
        done += count
        if done * parts >= total * len(cuts) and number > cuts[-1]:
            cuts.append(number)
    ends = [*cuts[1:], len(units)] if cuts[-1] < len(units) else cuts[1:]
    return [units[first:end] for first, end in zip(cuts, ends, strict=False)]


def merged(results: Iterator[FoldT]) -> FoldT:
    """What results of consecutive rows give together; there is at least one."""
    whole = next(results)
    for later in results:
        whole.merge(later)
    return whole

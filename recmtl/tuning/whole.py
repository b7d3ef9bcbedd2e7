"""How far a whole tuning is, told from how far the pieces are that are done just now."""

import time
from collections.abc import Iterable
from functools import partial

from recmtl.job.work.agenda import OnOutlook, Outlook
from recmtl.tuning.trials import Piece

__all__ = ["WholeOutlook"]

SURE = 0.02
"""Share of the whole, done in this session, from which on it says how long the rest takes."""


class WholeOutlook:
    """Turns the outlooks of one set of pieces after another into those of all of them.

    Args:
        pieces: of the whole tuning.
        units: of the whole tuning: the shares of a training that its pieces are, added up.
        shown: called with the outlook of the whole.
    """

    def __init__(self, pieces: int, units: float, *, shown: OnOutlook) -> None:
        self.pieces, self.units, self.shown = pieces, max(units, 1e-9), shown
        self.done, self.done_units = 0, 0.0
        self.began = time.monotonic()
        self.first: float | None = None

    def during(self, pieces: Iterable[Piece]) -> OnOutlook:
        """What is called with the outlook of these pieces, while they are done."""
        return partial(self._show, sum(piece.until - piece.since for piece in pieces))

    def end(self, pieces: Iterable[Piece]) -> None:
        """Count pieces that are done, or given up."""
        for piece in pieces:
            self.done += 1
            self.done_units += piece.until - piece.since

    def _show(self, units: float, outlook: Outlook) -> None:
        share = min((self.done_units + outlook.share * units) / self.units, 1.0)
        if self.first is None:  # what an earlier session did says nothing of this one's speed
            self.first, self.began = share, time.monotonic()
        gained, seconds = share - self.first, time.monotonic() - self.began
        left = seconds / gained * (1.0 - share) if gained > SURE else None
        done = min(self.done + outlook.done, self.pieces)
        self.shown(Outlook(done, self.pieces, share, left))

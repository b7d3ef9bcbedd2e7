"""The outlook of a whole tuning: it never falls, ends at the whole, and tells the time left."""

import time

import pytest

from recmtl.job.work.agenda import Outlook
from recmtl.tuning.trials import Piece
from recmtl.tuning.whole import WholeOutlook

FIRST = [Piece("mmoe", 0, trial=n, until=0.5) for n in range(4)]
SECOND = [Piece("mmoe", 0, trial=n, since=0.5) for n in range(2)]


def shown_of(whole: WholeOutlook, shown: list[Outlook]) -> list[Outlook]:
    for pieces in (FIRST, SECOND):
        during = whole.during(pieces)
        for done in range(len(pieces) + 1):
            during(Outlook(done, len(pieces), done / len(pieces), None))
        whole.end(pieces)
    return shown


def test_the_share_rises_from_nothing_to_the_whole() -> None:
    shown = list[Outlook]()
    outlooks = shown_of(WholeOutlook(6, 3.0, shown=shown.append), shown)
    shares = [outlook.share for outlook in outlooks]
    assert shares == sorted(shares) and (shares[0], shares[-1]) == (0.0, 1.0)
    assert shares[4] == shares[5] == pytest.approx(2 / 3)
    assert [outlook.done for outlook in outlooks] == [0, 1, 2, 3, 4, 4, 5, 6]
    assert {outlook.pieces for outlook in outlooks} == {6}


def test_the_time_left_is_that_of_this_session(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    shown = list[Outlook]()
    whole = WholeOutlook(6, 4.0, shown=shown.append)
    whole.end(FIRST)  # done by an earlier session
    during = whole.during(SECOND)
    now[0] = 200.0
    during(Outlook(0, 2, 0.0, None))
    assert shown[-1].seconds_left is None
    now[0] = 210.0
    during(Outlook(1, 2, 0.5, None))  # an eighth of the whole in 10 s, three are left
    assert shown[-1].seconds_left == pytest.approx(30.0)

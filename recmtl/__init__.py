"""recmtl finds out what several recommendation tasks should share.

`Ranker` and `Scorer` serve a trained bundle; they load on first use, so that importing the
package costs nothing.

    from recmtl import Ranker, Scorer
    Scorer.load("runs/first/bundle").score(table)
    Ranker.load("runs/first/bundle").rank(frame, by="p_click", group="request_id", k=20)

Importing the package also tells the threads of torch and LightGBM how to wait for each other:
awake for some microseconds, then asleep. An environment that sets `OMP_WAIT_POLICY` or
`GOMP_SPINCOUNT` is left as it is.
"""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recmtl.serve import Ranker, Scorer

__all__ = ["Ranker", "Scorer"]

WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "30000"}
"""How threads wait for each other. Threads that never sleep make a busy machine several times
slower; threads that sleep at once make two of them as slow as one on an idle machine."""

if not WAITING.keys() & os.environ:
    os.environ.update(WAITING)


def __getattr__(name: str) -> Any:
    """Load `Ranker` and `Scorer` when they are first asked for."""
    if name in __all__:
        from recmtl import serve  # torch, which only those who ask for a name should load

        return getattr(serve, name)
    raise AttributeError(f"module 'recmtl' has no attribute {name!r}")

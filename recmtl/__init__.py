"""recmtl finds out what several recommendation tasks should share.

`Ranker` and `Scorer` serve a trained bundle; they load on first use, so that importing the
package costs nothing.

    from recmtl import Ranker, Scorer
    Scorer.load("runs/first/bundle").score(table)
    Ranker.load("runs/first/bundle").rank(frame, by="p_click", group="request_id", k=20)

Threads of torch and LightGBM, if these are imported later, wait for each other awake for some
microseconds and then asleep, unless the environment says how (`OMP_WAIT_POLICY`, `GOMP_SPINCOUNT`).
"""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recmtl.serve import Ranker, Scorer

__all__ = ["Ranker", "Scorer"]

WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "30000"}
"""How threads wait for each other. Those that never sleep make a busy machine several times slower;
those that sleep at once make two threads of an idle one as slow as one."""

if not WAITING.keys() & os.environ:
    os.environ.update(WAITING)


def __getattr__(name: str) -> Any:
    """Load `Ranker` and `Scorer` when they are first asked for."""
    if name in __all__:
        from recmtl import serve

        return getattr(serve, name)
    raise AttributeError(f"module 'recmtl' has no attribute {name!r}")

"""recmtl finds out what several recommendation tasks should share.

`Ranker` and `Scorer` serve a trained bundle; they load on first use, so that importing the
package costs nothing.

    from recmtl import Ranker, Scorer
    Scorer.load("runs/first/bundle").score(table)
    Ranker.load("runs/first/bundle").rank(frame, by="p_click", group="request_id", k=20)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recmtl.serve import Ranker, Scorer

__all__ = ["Ranker", "Scorer"]


def __getattr__(name: str) -> Any:
    """Load `Ranker` and `Scorer` when they are first asked for."""
    if name in __all__:
        from recmtl import serve

        return getattr(serve, name)
    raise AttributeError(f"module 'recmtl' has no attribute {name!r}")

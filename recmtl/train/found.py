"""What a search hands on."""

from dataclasses import dataclass, field
from typing import Any

from recmtl.grid import Routes

__all__ = ["Found"]


@dataclass
class Found:
    """A searched route and how it was found.

    Attributes:
        routes: the chosen candidate.
        layout: JSON of the network to train: the search space pruned to the route and, with a
            budget, all its widths brought to the budget's size.
        history: one record a check: epoch, temperature, entropy, multiply_adds, validation.
        candidates: (validation objective, expected multiply-adds) of every frozen candidate.
        seconds: the whole search.
        race: normalised validation loss of the found route and of all tasks together.
        budget: None without one, else `unit`, `amount` (what was asked for), `cost` (what the
            network of `layout` costs), `met` (within 5 percent) and, where not met, `remedy`.
    """

    routes: Routes
    layout: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, object]] = field(default_factory=list)
    candidates: list[tuple[float, float]] = field(default_factory=list)
    seconds: float = 0.0
    budget: dict[str, Any] | None = None
    race: list[float] = field(default_factory=list)

"""What a study consists of: pieces of work, each done once, some after others."""

from collections.abc import Iterable
from dataclasses import dataclass

from recmtl.job.networks import SEARCHED
from recmtl.train.config import Config

__all__ = ["Piece", "all_pieces", "searched_pieces", "with_needed"]


@dataclass(frozen=True)
class Piece:
    """The training of one model with one seed, or the search of the route that it trains."""

    name: str
    seed: int
    search: bool = False

    def __str__(self) -> str:
        """The name under which its progress is shown and its run is tracked."""
        return f"{self.name}-search-{self.seed}" if self.search else f"{self.name}-{self.seed}"

    @property
    def needs(self) -> "Piece | None":
        """The piece without which this one cannot begin."""
        if self.search:
            return None
        if self.name in SEARCHED:
            return Piece(self.name, self.seed, search=True)
        # A random route has about the cost of the searched one.
        return Piece("searched", self.seed, search=True) if self.name == "random_route" else None


def with_needed(pieces: Iterable[Piece]) -> list[Piece]:
    """The pieces and all that they need, each once: first what others wait for."""
    pieces = list(pieces)
    needed = [piece.needs for piece in pieces if piece.needs is not None]
    return list(dict.fromkeys([*needed, *pieces]))


def searched_pieces(config: Config) -> list[Piece]:
    """The searched network of every seed that the verdict rests on."""
    return [Piece("searched", seed) for seed in _seeds(config, config.evidence.seeds)]


def all_pieces(config: Config) -> list[Piece]:
    """Every model and seed that the configuration asks for."""
    models = config.models()
    return [Piece(name, seed) for name, count in models for seed in _seeds(config, count)]


def _seeds(config: Config, count: int) -> range:
    return range(config.seed, config.seed + count)

"""The policy of a search, read off the layout of its space."""

from functools import reduce
from operator import and_

from recmtl.errors import ConfigError
from recmtl.grid import Layout
from recmtl.policies import Policy, RoutePolicy, SkipPolicy
from recmtl.train.config import Config

__all__ = ["make_policy", "skip_layers"]


def make_policy(layout: Layout, config: Config) -> Policy:
    """A route policy where layers are searched, and a skip policy where lanes may be skipped.

    Instance gates (layers with a rate below 1) are weights of the network and not of a policy.

    Raises:
        ConfigError: the layout leaves nothing to decide.
    """
    settings, parts = config.search, list[Policy]()
    if any(layer.searched for layer in layout.layers):
        route = RoutePolicy(
            layout,
            max_edges=config.grid.max_edges,
            estimator=settings.estimator,
            anchor=settings.anchor,
            edge_price=settings.edge_price,
        )
        parts.append(route)
    if skip_layers(layout):
        skips = settings.skips
        skip = SkipPolicy(
            layout,
            start=settings.run_odds,
            hard=skips.hard,
            variant=skips.variant,
            sparsity=skips.sparsity,
            sharing=skips.sharing,
        )
        parts.append(skip)
    if not parts:
        raise ConfigError(f"{layout.name}: nothing to search; train it as it is")
    return reduce(and_, parts)


def skip_layers(layout: Layout) -> int:
    """Number of layers in which some lane may be skipped."""
    return sum(any(lane is not None for lane in layer.shortcut) for layer in layout.layers)

"""Who decides which edges stay and which lanes run.

A policy is a module that maps a temperature to one `Decision` a layer; its parameters are the
architecture parameters. Policies compose with `recmtl.grid.conjunction`: keeps and runs multiply.
"""

from recmtl.policies.control import random_routes
from recmtl.policies.route import RoutePolicy
from recmtl.policies.skip import SkipPolicy

__all__ = ["RoutePolicy", "SkipPolicy", "random_routes"]

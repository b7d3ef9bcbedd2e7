"""Which policies a search space asks for, and that they are set up as configured."""

import pytest

from recmtl.errors import ConfigError
from recmtl.grid import CATALOG, mmoe, recmtl_grid
from recmtl.policies import Conjunction, RoutePolicy, SkipPolicy
from recmtl.search.policy_factory import make_policy, skip_layers
from recmtl.train.config import Config, Grid, Search, Skips

CONFIG = Config(grid=Grid(cells=3, widths=(8, 4), max_edges=2))
SPACE = recmtl_grid(4, cells=4, widths=(8, 4), depth=3)


def test_policies_are_read_off_the_layout() -> None:
    def kinds(name: str) -> set[str]:
        policy = make_policy(CATALOG[name].layout(4, cells=4, widths=(8, 4), depth=2), CONFIG)
        return {type(m).__name__ for m in policy.modules()} & {"RoutePolicy", "SkipPolicy"}

    assert kinds("mtnas") == kinds("snr_aver") == {"RoutePolicy"}
    assert kinds("adashare") == kinds("dynashare") == {"SkipPolicy"}
    assert kinds("recmtl_grid") == {"RoutePolicy", "SkipPolicy"}


def test_the_settings_reach_both_policies() -> None:
    skips = Skips(hard=False, variant="code", sparsity=0.3, sharing=0.4)
    search = Search(estimator="hard_concrete", edge_price=0.7, run_odds=-1.5, skips=skips)
    policy = make_policy(SPACE, Config(grid=Grid(max_edges=2), search=search))
    assert isinstance(policy, Conjunction)
    route, skip = policy.policies
    assert isinstance(route, RoutePolicy) and isinstance(skip, SkipPolicy)
    assert (route.max_edges, route.edge_price) == (2, 0.7)
    assert hasattr(route.keeps[str(len(SPACE.layers) - 1)], "log_alpha")
    assert (skip.variant, skip.sparsity, skip.sharing) == ("code", 0.3, 0.4)
    choice = skip.skips[str(skip.depths[0])]
    assert choice.draw == "soft" and choice.logits[0].tolist() == [-1.5, 0.0]


def test_the_anchor_reaches_the_subsets() -> None:
    policies = [make_policy(SPACE, Config(search=Search(anchor=anchor))) for anchor in (0.0, 30.0)]
    depth = len(SPACE.layers) - 1
    even, sure = (
        next(m for m in policy.modules() if isinstance(m, RoutePolicy)).keep_probability(depth)
        for policy in policies
    )
    assert sure.max() > 0.99 and even.max() < 0.7


def test_skip_layers_are_those_with_a_shortcut() -> None:
    assert [skip_layers(recmtl_grid(2, cells=2, widths=(4,), depth=d)) for d in (2, 3, 5)] == [
        1,
        2,
        4,
    ]
    assert skip_layers(mmoe(3, experts=2, widths=(4,))) == 0


def test_a_layout_without_choices_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="MMoE: nothing to search; train it as it is"):
        make_policy(mmoe(3, experts=2, widths=(4,)), CONFIG)

"""Work items: each once, after what it needs, and under a name of its own."""

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.job.work.items import SEARCHED, WorkItem, all_items, searched_items, with_needed
from recmtl.train.config import Config, Evidence, Search
from recmtl.vision.config import VisionConfig

CONFIG = Config()
NAMES = st.sampled_from([*SEARCHED, "random_route", "mmoe", "single_task", "lightgbm"])
ITEMS = st.lists(
    st.builds(WorkItem, NAMES, st.integers(0, 3), st.just(False)), max_size=12, unique=True
)


@given(ITEMS)
def test_what_an_item_needs_comes_before_it_and_nothing_comes_twice(items: list[WorkItem]) -> None:
    ordered = with_needed(items, CONFIG)
    assert max(Counter(ordered).values(), default=1) == 1
    assert set(items) <= set(ordered)
    for place, item in enumerate(ordered):
        assert set(item.needs(CONFIG)) <= set(ordered[:place])


@given(ITEMS)
def test_only_needed_searches_are_added_and_adding_them_again_changes_nothing(
    items: list[WorkItem],
) -> None:
    ordered = with_needed(items, CONFIG)
    assert {item for item in ordered if item not in items} == {
        needed for item in items for needed in item.needs(CONFIG)
    }
    assert [item for item in ordered if not item.search] == items, "in the order given"
    assert with_needed(ordered, CONFIG) == ordered


@given(ITEMS)
def test_no_two_items_are_shown_under_one_name(items: list[WorkItem]) -> None:
    ordered = with_needed(items, CONFIG)
    assert len({str(item) for item in ordered}) == len(ordered)


def test_a_search_waits_for_nothing() -> None:
    assert not any(WorkItem(name, 0, search=True).needs(CONFIG) for name in SEARCHED)


@pytest.mark.parametrize(("votes", "seeds", "voting"), [(None, 2, 2), (None, 5, 3), (4, 2, 4)])
def test_a_searched_network_waits_for_the_races_that_vote(
    votes: int | None, seeds: int, voting: int
) -> None:
    config = Config(seed=7, search=Search(votes=votes), evidence=Evidence(seeds=seeds))
    searches = tuple(WorkItem("searched", 7 + n, search=True) for n in range(voting))
    for seed in (7, 9, 11):
        assert WorkItem("searched", seed).needs(config) == searches
        assert WorkItem("random_route", seed).needs(config) == searches
    without_race = replace(config, search=Search(votes=votes, race=False))
    assert WorkItem("searched", 9).needs(without_race) == (WorkItem("searched", 9, search=True),)


def test_seeds_count_up_from_the_first_and_judged_models_have_more() -> None:
    evidence = Evidence(seeds=3, control_seeds=2, controls=("mmoe",), baselines=("logistic",))
    config = Config(seed=7, evidence=evidence)
    seeds: dict[str, list[int]] = {}
    for item in all_items(config):
        seeds.setdefault(item.name, []).append(item.seed)
    assert seeds == {
        "searched": [7, 8, 9],
        "single_task": [7, 8, 9],
        "mmoe": [7, 8],
        "logistic": [7],
        "constant": [7],
    }
    assert searched_items(config) == [item for item in all_items(config) if item.name == "searched"]


def test_a_study_on_images_trains_what_it_compares_with_equal_seeds() -> None:
    config = VisionConfig(compare=("adashare", "single_task"), evidence=Evidence(seeds=2))
    assert [str(item) for item in with_needed(all_items(config), config)] == [
        "adashare-search-0",
        "adashare-search-1",
        "adashare-0",
        "adashare-1",
        "single_task-0",
        "single_task-1",
    ]

"""What comes first, and what a study shows of which not all was done."""

from dataclasses import replace

import pytest

from recmtl.job.work.items import WorkItem, all_items, with_needed
from recmtl.job.work.priority import groups_of, left_out, without
from recmtl.train.config import Config, Evidence, Search, Training

CONFIG = Config(evidence=Evidence(seeds=3, control_seeds=2, ablation_seeds=2), seed=10)
ITEMS = all_items(CONFIG)
STEPS = [
    WorkItem(name, seed) for name in ("shared_bottom.ids", "towers_apart") for seed in (10, 11)
]


def test_groups_hold_every_item_once_after_what_it_needs() -> None:
    groups = groups_of([*ITEMS, *STEPS], CONFIG)
    order = [item for group in groups for item in group]
    assert sorted(map(str, order)) == sorted(map(str, with_needed([*ITEMS, *STEPS], CONFIG)))
    for place, item in enumerate(order):
        assert set(item.needs(CONFIG)) <= set(order[:place])


def test_the_verdict_of_one_seed_comes_first_and_what_moved_the_metric_last() -> None:
    groups = groups_of([*STEPS, *reversed(ITEMS)], CONFIG)
    assert {str(item) for item in groups[0]} == {
        "searched-search-10",
        "searched-search-11",
        "searched-search-12",
        "searched-10",
        "single_task-10",
        "constant-10",
    }
    names = [{item.name for item in group} for group in groups]
    assert names[1:4] == [{"lightgbm"}, {"logistic"}, {"shared_bottom"}]
    assert names[4] == {"searched", "single_task", "lightgbm"} == names[5]
    assert [{item.seed for item in group} for group in groups[-2:]] == [{10}, {11}]
    assert names[-1] == {"shared_bottom.ids", "towers_apart"} == names[-2]


def test_a_study_of_which_all_was_done_is_what_was_asked_for() -> None:
    assert without(CONFIG, []).evidence == replace(CONFIG.evidence)
    assert left_out(CONFIG, without(CONFIG, [])) == []


@pytest.mark.parametrize("name", ["searched", "single_task", "lightgbm"])
def test_a_seed_counts_if_the_whole_verdict_of_it_was_done(name: str) -> None:
    done = without(CONFIG, [WorkItem(name, 12)])
    assert done.evidence.seeds == 2 and done.evidence.baselines == CONFIG.evidence.baselines
    assert left_out(CONFIG, done) == ["2 of 3 seeds of the verdict were done"]


def test_models_of_which_nothing_was_done_are_not_compared() -> None:
    lost = [WorkItem("mmoe", 10), WorkItem("mmoe", 11), WorkItem("lightgbm", 10)]
    done = without(CONFIG, [*lost, WorkItem("lightgbm", 11), WorkItem("lightgbm", 12)])
    assert done.evidence.seeds == 3
    assert "mmoe" not in done.evidence.controls
    assert done.evidence.baselines == ("logistic",)
    assert done.evidence.control_seeds == 2, "of the others, both seeds were done"
    assert left_out(CONFIG, done) == ["no comparison with mmoe, lightgbm"]


def test_controls_have_as_many_seeds_as_all_of_them_had() -> None:
    done = without(CONFIG, [WorkItem("ple", 11)])
    assert done.evidence.control_seeds == 1 and "ple" in done.evidence.controls
    assert left_out(CONFIG, done) == ["1 of 2 seeds of the controls"]


def test_random_routes_are_a_control_if_each_seed_of_the_verdict_has_one() -> None:
    third = WorkItem("random_route", 12)
    assert "random_route" not in without(CONFIG, [third]).evidence.controls
    fewer = without(CONFIG, [third, WorkItem("searched", 12)])
    assert "random_route" in fewer.evidence.controls and fewer.evidence.seeds == 2


def test_what_moved_the_metric_has_the_seeds_that_all_its_steps_had() -> None:
    done = without(CONFIG, [STEPS[-1]], STEPS)
    assert done.evidence.ablation_seeds == 1
    assert left_out(CONFIG, done) == ["1 of 2 seeds of what moved the metric"]
    gone = without(CONFIG, STEPS, STEPS)
    assert left_out(CONFIG, gone) == ["nothing of what moved the metric"]


def test_every_study_that_is_cut_off_can_be_judged_by_what_was_done() -> None:
    """Whatever is done first, the configuration asks for nothing that was lost."""
    order = [item for group in groups_of([*ITEMS, *STEPS], CONFIG) for item in group]
    core = len(groups_of(ITEMS, CONFIG)[0])
    for count in range(core, len(order) + 1):
        lost = order[count:]
        done = without(CONFIG, lost, STEPS)
        assert not set(with_needed(all_items(done), done)) & set(lost)
        wanted = {step for step in STEPS if step.seed - 10 < done.evidence.ablation_seeds}
        assert not wanted & set(lost)


def test_races_that_did_not_vote_are_said() -> None:
    done = replace(CONFIG, search=Search(votes=1))
    assert left_out(CONFIG, done) == ["only 1 of the races voted on the searched network"]


def test_changed_settings_are_said() -> None:
    done = replace(CONFIG, search=Search(race=False), training=Training(rows=12_500))
    assert left_out(CONFIG, done) == [
        "models learned from a sample of 12,500 train rows",
        "no ways to share raced: the searched route was trained unrivalled",
    ]

"""The models of a study by name, and the size that each is given."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from recmtl.baselines import logistic
from recmtl.errors import ConfigError, DataError
from recmtl.evaluate import evaluate
from recmtl.grid import Layout, Routes, mmoe, same_wiring
from recmtl.grid.catalog import CATALOG
from recmtl.job.fit import ModelResult
from recmtl.job.problem_kind import TABULAR_PROBLEMS
from recmtl.job.study import Study
from recmtl.job.work.begun import refuse_another_study
from recmtl.job.work.items import (
    FIXED,
    SEARCHED,
    SETTINGS,
    WorkItem,
    all_items,
    fixed_layout,
    search_settings,
    search_space,
    with_needed,
)
from recmtl.model import ModelSizes, load_model, predict
from recmtl.report.tables import MODEL_ORDER
from recmtl.schema.reading import load
from recmtl.search.race import EntrantRecord
from recmtl.search.search import SearchResult
from recmtl.train.config import Budget, Config, Evidence, Grid, Search, Training
from tests.tabular_problems import TASKS, make_problem

CONTROLS = (*(name for name in CATALOG if name != "recmtl_grid"), "full_grid", "random_route")
CONFIG = Config(
    sizes=ModelSizes(embedding=4, tower=(6,)),
    grid=Grid(cells=6, depth=2, widths=(32, 16), max_edges=2),
    training=Training(batch_size=64, epochs=1, checks=1),
    search=Search(epochs=1, candidates=2, race=False),
    evidence=Evidence(seeds=1, controls=CONTROLS, baselines=(), budget=0.5),
)
NETWORKS = [p for p in all_items(CONFIG) if p.name not in TABULAR_PROBLEMS.baselines]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return Study(tmp_path_factory.mktemp("study"), TABULAR_PROBLEMS, make_problem(400), CONFIG)


def trained(study: Study, name: str) -> ModelResult:
    return study.trained(name, 0)


def test_every_model_of_the_catalog_can_be_a_control() -> None:
    assert {item.name for item in NETWORKS} == {"searched", "single_task", *CONTROLS}
    assert set(FIXED) | set(SEARCHED) == {"searched", "full_grid", *CATALOG}


def test_every_model_of_the_catalog_has_its_place_in_tables() -> None:
    assert set(CATALOG) <= set(MODEL_ORDER)


@pytest.mark.parametrize("item", NETWORKS, ids=str)
def test_a_budget_gives_every_network_the_same_cost(item: WorkItem, study: Study) -> None:
    full = trained(study, "full_grid").cost["multiply_adds"]
    cost = trained(study, item.name).cost["multiply_adds"]
    assert full is not None and cost is not None
    share = 1.0 if item.name == "full_grid" else 0.5
    assert cost == pytest.approx(share * full, rel=0.05)


@pytest.mark.parametrize("item", NETWORKS, ids=str)
def test_what_is_told_of_validation_rows_is_what_the_kept_weights_score(
    item: WorkItem, study: Study
) -> None:
    found, rows = trained(study, item.name), study.problem.validation
    assert set(found.validation) == {task.name for task in TASKS}
    assert all(len(checks) == 1 for checks in found.curves.values())
    if item.name != "single_task":
        scores = predict(load_model(study.folder / "models" / item.name / "0"), rows)
        labels, weight = np.asarray(rows.labels), np.asarray(rows.weight)
        assert found.validation == evaluate(scores, labels, TASKS, weight=weight)
        assert found.validation_score == study.problem.score(found.validation)


def test_a_baseline_is_told_of_on_validation_rows_and_scores_test_rows(study: Study) -> None:
    found, problem = trained(study, "logistic"), study.problem
    assert {len(column) for column in found.predictions.values()} == {len(problem.test)}
    arguments = (problem.train, problem.validation, problem.validation, TASKS)
    classes = {"stars": ("1", "2", "3")}
    alone = logistic.fit_predict(*arguments, problem.encoding, classes=classes)
    labels, weight = (np.asarray(getattr(problem.validation, n)) for n in ("labels", "weight"))
    assert found.validation == evaluate(alone.predictions, labels, TASKS, weight=weight)


def test_without_a_budget_a_network_keeps_the_sizes_of_the_grid(study: Study) -> None:
    free = replace(CONFIG, evidence=replace(CONFIG.evidence, budget=0.0))
    layout = replace(study, config=free).layout("mmoe", 0)
    assert layout == mmoe(len(TASKS), experts=6, widths=(32, 16))


def test_the_saved_network_is_the_layout_that_was_trained(study: Study) -> None:
    trained(study, "mtnas")
    model = load_model(study.folder / "models" / "mtnas" / "0")
    assert study.wiring("mtnas", 0) == model.grid.layout == study.layout("mtnas", 0)


def test_a_tree_is_found_once_and_kept(study: Study) -> None:
    record = study.record("branched", 0)
    assert json.loads((study.folder / "search" / "branched-0.json").read_text()) == record
    assert len(record["tree"]) and study.layout("branched", 0).num_tasks == len(TASKS)


@pytest.mark.parametrize(
    ("name", "estimator", "run_odds"),
    [
        ("searched", "straight_through", -2.0),
        ("mtnas", "reinforce", -2.0),
        ("snr_aver", "hard_concrete", -2.0),
        ("snr_trans", "hard_concrete", -2.0),
        ("adashare", "straight_through", 0.0),
        ("dynashare", "straight_through", 0.0),
    ],
)
def test_a_space_is_searched_as_its_paper_does(name: str, estimator: str, run_odds: float) -> None:
    settings = search_settings(name, CONFIG).search
    assert (settings.estimator, settings.run_odds) == (estimator, run_odds)
    assert settings.epochs == CONFIG.search.epochs
    assert settings.budget == (Budget(share=0.5) if name == "searched" else None)


def test_the_table_of_settings_names_spaces_and_nothing_else() -> None:
    assert set(SETTINGS) <= set(SEARCHED)
    problem = make_problem(50)
    space = search_space("recmtl_grid", CONFIG, problem)
    assert search_space("searched", CONFIG, problem) == space


def test_a_search_keeps_its_own_budget_where_the_study_has_none() -> None:
    own = replace(CONFIG.search, budget=Budget(multiply_adds=1000))
    config = replace(CONFIG, search=own, evidence=Evidence())
    assert search_settings("searched", config).search.budget == own.budget
    assert search_settings("mtnas", config).search.budget is None


def test_a_item_comes_after_what_it_needs() -> None:
    items = with_needed(all_items(CONFIG), CONFIG)
    assert len(items) == len(set(items))
    for item in items:
        for needed in item.needs(CONFIG):
            assert items.index(needed) < items.index(item)
    assert WorkItem("random_route", 0).needs(CONFIG) == (WorkItem("searched", 0, search=True),)
    assert WorkItem("branched", 0).needs(CONFIG) == (WorkItem("branched", 0, search=True),)
    assert WorkItem("mmoe", 0).needs(CONFIG) == ()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("controls: [mmo]", "did you mean 'mmoe'"),
        ("controls: [lightgbm]", "no network 'lightgbm'"),
        ("budget: 1.5", "budget: must be at most 1"),
    ],
)
def test_wrong_evidence_is_refused(given: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load(Config, f"evidence: {{{given}}}", source="config.yaml", error=ConfigError)


@pytest.mark.parametrize("name", ["ple", "single_task"])
def test_a_budget_that_no_width_meets_is_refused_before_any_training(
    name: str, study: Study, tmp_path: Path
) -> None:
    tight = replace(CONFIG, evidence=replace(CONFIG.evidence, budget=0.01))
    small = replace(study, folder=tmp_path, config=tight)
    with pytest.raises(ConfigError, match=rf"evidence\.budget: {name}: .*: the nearest cost"):
        small.check([WorkItem(name, 0)])
    replace(small, config=CONFIG).check([WorkItem(name, 0)])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_keeps_to_the_facts_that_it_was_begun_with(tmp_path: Path) -> None:
    facts = {"data": "abc", "grid": {"widths": (8, 4)}, "seed": 0}
    refuse_another_study(tmp_path, facts)
    refuse_another_study(tmp_path, {**facts, "grid": {"widths": [8, 4]}})
    changed = {"data": "abd", "grid": {"widths": [8, 5]}, "seed": 1}
    told = (
        r"data was abc and is abd, grid\.widths was \[8, 4\] and is \[8, 5\], seed was 0 and is 1"
    )
    with pytest.raises(ConfigError, match=rf"{told}; put back what .* or give another --out"):
        refuse_another_study(tmp_path, changed)
    assert json.loads((tmp_path / "study.json").read_text())["seed"] == 0, "as it was begun"


def test_a_fact_that_a_folder_does_not_know_yet_is_noted(tmp_path: Path) -> None:
    """Preparing knows the data, training the settings; an older folder knows no version."""
    (tmp_path / "study.json").write_text('{"seed": 0}')
    refuse_another_study(tmp_path, {"seed": 0, "budget": 0.5})
    assert set(json.loads((tmp_path / "study.json").read_text())) == {"seed", "budget", "recmtl"}
    with pytest.raises(ConfigError, match=r"budget was 0\.5 and is absent"):
        refuse_another_study(tmp_path, {"seed": 0, "budget": None})


def test_a_folder_that_is_older_than_a_setting_was_begun_with_its_default(tmp_path: Path) -> None:
    now = asdict(CONFIG)
    before = {"seed": 3, "training": {**now["training"]}, "search": {**now["search"]}}
    del before["training"]["accumulate"]
    before["search"]["skips"] = {"hard": True}
    (tmp_path / "study.json").write_text(json.dumps(before))
    facts = {"seed": 3, **{name: now[name] for name in ("training", "search")}}
    refuse_another_study(tmp_path, facts)
    assert json.loads((tmp_path / "study.json").read_text())["training"]["accumulate"] == 1
    (tmp_path / "study.json").write_text(json.dumps(before))
    other = {**facts, "training": {**now["training"], "accumulate": 2}}
    with pytest.raises(ConfigError, match=r"training\.accumulate was 1 and is 2"):
        refuse_another_study(tmp_path, other)


def test_another_release_does_not_go_on(tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text('{"recmtl": "0.0.9"}')
    with pytest.raises(ConfigError, match=r"recmtl was 0\.0\.9 and is "):
        refuse_another_study(tmp_path, {})


def test_other_data_are_told_by_their_parts_and_equal_data_by_none(tmp_path: Path) -> None:
    inputs = {f"{day}.parquet": "1 bytes, hash a" for day in range(9)}
    facts = {"data": "abc", "inputs": inputs, "schema": {"tasks": {"click": "a"}}, "like": None}
    refuse_another_study(tmp_path, facts)
    refuse_another_study(tmp_path, {**facts, "inputs": {"moved.parquet": "1 bytes, hash a"}})
    refuse_another_study(tmp_path, facts)
    other = {**inputs, "3.parquet": "1 bytes, hash b", "9.parquet": "new"}
    with pytest.raises(ConfigError) as refusal:
        refuse_another_study(tmp_path, {**facts, "data": "abd", "inputs": other})
    line = (
        "inputs.3.parquet was 1 bytes, hash a and is 1 bytes, hash b, inputs.9.parquet was absent"
    )
    assert line in str(refusal.value) and "abd" not in str(refusal.value)
    with pytest.raises(ConfigError, match=r"schema\.tasks\.click was a and is b; put"):
        refuse_another_study(
            tmp_path, {**facts, "data": "abd", "schema": {"tasks": {"click": "b"}}}
        )
    with pytest.raises(ConfigError, match=r"inputs\.4\.parquet was .*, and 4 more; put back"):
        refuse_another_study(tmp_path, {**facts, "data": "abd", "inputs": {}})


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\udc80", '{"seed": 0'])
def test_a_damaged_record_of_the_facts_is_one_line_with_a_remedy(text: str, tmp_path: Path) -> None:
    (tmp_path / "study.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=r"study\.json: is damaged .*; delete it with models/"):
        refuse_another_study(tmp_path, {"seed": 0})


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '{"layout": 3}'])
def test_a_damaged_result_is_one_line_that_says_what_to_delete(
    text: str, study: Study, tmp_path: Path
) -> None:
    damaged = replace(study, folder=tmp_path)
    (tmp_path / "search").mkdir()
    for name in ("searched", "branched"):
        (tmp_path / "search" / f"{name}-0.json").write_text(text)
        with pytest.raises(DataError, match=rf"{name}-0\.json: is damaged .*; delete it"):
            damaged.layout(name, 0)
    with pytest.raises(DataError, match=r"searched-0\.json: is damaged"):
        damaged.search_result("searched", 0)
    folder = damaged.model_folder("mmoe", 0)
    folder.mkdir(parents=True)
    for name in ("trained.json", "network.json"):
        (folder / name).write_text(text)
    with pytest.raises(DataError, match=r"is damaged .*; delete the model's folder"):
        damaged.trained("mmoe", 0)
    with pytest.raises(DataError, match=r"is damaged .*; delete the model's folder"):
        damaged.wiring("mmoe", 0)


def test_a_work_item_is_done_when_its_file_is_there(study: Study, tmp_path: Path) -> None:
    empty = replace(study, folder=tmp_path)
    search, training = WorkItem("mtnas", 4, search=True), WorkItem("mtnas", 4)
    assert not empty.has(search) and not empty.has(training)
    (tmp_path / "search").mkdir()
    (tmp_path / "search" / "mtnas-4.json").write_text("{}")
    assert empty.has(search) and not empty.has(training)
    empty.model_folder("mtnas", 4).mkdir(parents=True)
    assert not empty.has(training), "a folder alone is no result"
    (empty.model_folder("mtnas", 4) / "trained.json").write_text("{}")
    assert empty.has(training)


def test_progress_is_shown_under_the_name_of_the_work_item(study: Study, tmp_path: Path) -> None:
    shown: list[tuple[str, int, int]] = []
    config = replace(CONFIG, evidence=replace(CONFIG.evidence, budget=0.0))
    watched = replace(
        study,
        folder=tmp_path,
        config=config,
        on_progress=lambda what, done, total, check: shown.append((what, done, total)),
    )
    for name in ("single_task", "mtnas", "constant"):
        watched.do(WorkItem(name, 1, search=name == "mtnas"))
    names = list(dict.fromkeys(what for what, _, _ in shown))
    tasks = [f"single_task-1-{task.name}" for task in TASKS]
    assert names == [*tasks, "mtnas-search-1", "constant-1"]
    assert [entry[1:] for entry in shown if entry[0] == "constant-1"] == [(0, 1), (1, 1)]
    assert list((tmp_path / "checkpoints").iterdir()) == [], "finished work needs none"


def test_single_task_networks_share_the_budget_equally(study: Study) -> None:
    alone = [study._layout_alone(study.problem.only(task)) for task in TASKS]
    costs = [
        study._multiply_adds(layout, study.problem.only(task))
        for layout, task in zip(alone, TASKS, strict=True)
    ]
    assert costs == pytest.approx([study._budget() / len(TASKS)] * len(TASKS), rel=0.05)


@pytest.mark.slow
def test_a_random_route_that_is_the_searched_network_is_drawn_anew(tmp_path: Path) -> None:
    """Whatever the search ended with, the control is another wiring of the same experts."""
    for seed in range(4):
        study = Study(tmp_path / str(seed), TABULAR_PROBLEMS, make_problem(100), CONFIG)
        drawn = study.layout("random_route", seed)
        record = study.record("searched", seed)
        path = study.folder / "search" / f"searched-{seed}.json"
        path.write_text(json.dumps({**record, "layout": drawn.to_json()}))
        again = study.layout("random_route", seed)
        assert not same_wiring(again, drawn)
        assert again.layers[0].experts == drawn.layers[0].experts
        study = replace(study, config=replace(CONFIG, evidence=Evidence(seeds=1)))
        assert not same_wiring(study.layout("random_route", seed), drawn)


def raced_study(folder: Path, *, winners: Sequence[str]) -> tuple[Study, list[Layout]]:
    """A study of five seeds, the first of which have raced, and the networks that won."""
    config = replace(CONFIG, search=Search(epochs=1, candidates=2), evidence=Evidence(seeds=5))
    study = Study(folder, TABULAR_PROBLEMS, make_problem(100), config)
    layouts = [fixed_layout(name, config, study.problem) for name in winners]
    (folder / "search").mkdir(parents=True)
    for seed, (name, layout) in enumerate(zip(winners, layouts, strict=True)):
        race = [EntrantRecord(name=name, standing="won", trained=1.0, score=0.7 + 0.01 * seed)]
        result = SearchResult(Routes.full(layout), layout.to_json(), race=race, winner=name)
        path = folder / "search" / f"searched-{seed}.json"
        path.write_text(json.dumps(result.to_json()))
    return study, layouts


def test_every_seed_is_trained_on_the_network_that_the_races_vote_for(tmp_path: Path) -> None:
    winners = ["shared_bottom", "towers_apart", "shared_bottom"]
    study, layouts = raced_study(tmp_path, winners=winners)
    assert [study.layout("searched", seed) for seed in range(5)] == [layouts[2]] * 5
    assert study.decisive(4).winner == "shared_bottom"
    assert not same_wiring(study.layout("random_route", 4), layouts[2])


def test_a_training_goes_on_only_where_a_race_trained_that_network(tmp_path: Path) -> None:
    """What a race left of its winner is of no use to the network of another class."""
    winners = ["shared_bottom", "towers_apart", "shared_bottom"]
    study, layouts = raced_study(tmp_path, winners=winners)
    files = [study._going_on("searched", seed, model="searched").name for seed in range(4)]
    assert [name.partition("-")[2] for name in files] == [
        "0.safetensors",
        "elected-1.safetensors",
        "2.safetensors",
        "3.safetensors",
    ]
    left = study._checkpoint("searched", 1)
    left.write_bytes(b"of towers apart")
    study.trained("searched", 1)
    assert study.wiring("searched", 1) == layouts[2]
    assert list((tmp_path / "checkpoints").iterdir()) == []

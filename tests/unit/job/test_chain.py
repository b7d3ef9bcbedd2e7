"""What moved the metric: a chain of networks of equal cost, each compared with the one before."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from recmtl.errors import ConfigError
from recmtl.job.outcome import TabularStudy, curves_of, judged_results, trained_models
from recmtl.job.problem_kind import TABULAR_PROBLEMS
from recmtl.job.study import SOURCES_FILE, Study
from recmtl.job.what_matters.chain import Step, ablation_items, steps_of, what_mattered
from recmtl.job.what_matters.source_choice import choose_sources
from recmtl.job.work.items import WorkItem, all_items, sampled_items
from recmtl.job.work.workers import complete
from tests.planted_sources import CONFIG, make_planted

HEARD, ALL = ("ids", "statistics"), ("ids", "counts", "statistics")


def study_that_hears(folder: Path, hears: tuple[str, ...], *, budget: float = 0.0) -> TabularStudy:
    evidence = replace(CONFIG.evidence, budget=budget)
    (folder / SOURCES_FILE).write_text(json.dumps({"hears": hears}))
    return Study(folder, TABULAR_PROBLEMS, make_planted(), replace(CONFIG, evidence=evidence))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> TabularStudy:
    done = study_that_hears(tmp_path_factory.mktemp("chain"), HEARD)
    complete(done, ablation_items(done), lambda item: None)
    return done


def by_step(study: TabularStudy) -> dict[str, dict]:
    return {f"{entry['kind']} {entry['step']}": entry for entry in what_mattered(study)}


def test_the_chain_goes_from_plain_over_sources_to_wirings_and_leaves_out_what_is_heard(
    tmp_path: Path,
) -> None:
    together = "shared_bottom"
    assert steps_of(study_that_hears(tmp_path, HEARD)) == (
        Step("plain", "plain", together, ("ids",)),
        Step("counts", "source", together, ("ids", "counts"), "plain", False),
        Step("statistics", "source", together, HEARD, "plain", True),
        Step("embeddings_apart", "wiring", "embeddings_apart", HEARD, "statistics", False),
        Step("towers_apart", "wiring", "towers_apart", HEARD, "statistics", False),
        Step("searched", "wiring", "searched", HEARD, "statistics", True),
        Step("ids", "without", "searched", ("statistics",), "searched"),
        Step("statistics", "without", "searched", ("ids",), "searched"),
    )


def test_what_decides_labels_moved_the_metric_and_noise_did_not(study: TabularStudy) -> None:
    entries = by_step(study)
    past, noise = entries["source statistics"], entries["source counts"]
    assert past["interval"]["verdict"] == "helped" and past["kept"]
    assert past["tasks"]["click"]["interval"]["verdict"] == "helped"
    assert noise["interval"]["verdict"] == "not proven"
    assert abs(noise["interval"]["gain"]) < past["interval"]["gain"]
    without = entries["without statistics"]
    assert without["interval"]["gain"] < -0.05 and without["against"] == "searched"
    assert entries["plain plain"]["interval"] == {}
    gain = past["mean"]["mean"] - entries["plain plain"]["mean"]["mean"]
    assert past["interval"]["gain"] == pytest.approx(gain)


def test_the_networks_of_the_chain_cost_the_same(study: TabularStudy) -> None:
    for entry in what_mattered(study):
        # Widths are small whole numbers here.
        assert entry["cost"]["multiply_adds"] == pytest.approx(study.equal_cost, rel=0.15)


def test_the_chain_is_json_and_the_same_when_it_is_read_back(study: TabularStudy) -> None:
    entries = what_mattered(study)
    assert json.loads(json.dumps(entries, allow_nan=False)) == json.loads(json.dumps(entries))
    again = Study(study.folder, TABULAR_PROBLEMS, make_planted(), study.config)
    assert what_mattered(again) == entries


@pytest.mark.parametrize(
    ("hears", "budget", "shared"),
    [
        (ALL, 0.0, {"shared_bottom"}),
        (HEARD, 0.0, set()),
        (HEARD, 0.5, {"shared_bottom", "searched"}),
    ],
)
def test_a_network_that_the_study_trains_anyhow_is_not_trained_twice(
    hears: tuple[str, ...], budget: float, shared: set[str], tmp_path: Path
) -> None:
    study = study_that_hears(tmp_path, hears, budget=budget)
    items = ablation_items(study)
    compared = {item.name for item in all_items(study.config)}
    assert {item.name for item in items} & compared == shared
    for name in shared:
        hearing = f"{name}.{'-'.join(hears)}"
        assert WorkItem(hearing, 0) not in items


def test_a_network_hears_what_its_name_says(tmp_path: Path) -> None:
    study = study_that_hears(tmp_path, HEARD)
    assert study.heard_by("mmoe").encoding.fields == ("user", "past")
    assert study.heard_by("mmoe.ids-counts").encoding.fields == ("user", "noise")
    config = replace(CONFIG, search=replace(CONFIG.search, race=False))
    search = WorkItem("searched", 4, search=True)
    assert WorkItem("searched.ids", 4).needs(config) == (search,)
    assert WorkItem("shared_bottom.ids", 4).needs(config) == ()


def test_a_step_that_cannot_be_made_so_small_does_not_end_the_job(tmp_path: Path) -> None:
    study = study_that_hears(tmp_path, HEARD, budget=0.001)
    assert {"embeddings_apart.ids-statistics", "towers_apart.ids-statistics"} <= {
        item.name for item in ablation_items(study)
    }
    assert study.layout("embeddings_apart.ids-statistics", 0).layers
    with pytest.raises(ConfigError, match="nearest cost"):
        study.layout("embeddings_apart", 0)


def test_the_network_whose_sources_are_chosen_goes_on_as_one_of_the_studys_models(
    tmp_path: Path,
) -> None:
    """More seeds of it are trained later, and all are shown as one model."""
    evidence = replace(CONFIG.evidence, seeds=4, budget=0.5)
    config = replace(CONFIG, evidence=evidence)
    study = Study(tmp_path, TABULAR_PROBLEMS, make_planted(), config)
    choose_sources(study, lambda item: None)
    assert study.hears == HEARD
    results = {seed: study.trained("shared_bottom", seed) for seed in range(4)}
    shown = curves_of({"shared_bottom": results})["shared_bottom"]
    assert [len(curves) for curves in shown.values()] == [4]


@pytest.mark.slow
def test_the_verdicts_models_are_trained_once_more_on_samples_of_the_train_rows(
    tmp_path: Path,
) -> None:
    evidence = replace(CONFIG.evidence, seeds=2, resamples=3, controls=())
    study = study_that_hears(tmp_path, HEARD)
    study = replace(study, config=replace(CONFIG, evidence=evidence))
    items = sampled_items(study.config)
    assert [item.name for item in items][:3] == ["searched~0", "single_task~0", "searched~1"]
    complete(study, [*all_items(study.config), *items], lambda item: None)
    assert study.wiring("searched~1", 0) == study.wiring("searched", 0), "nothing is searched anew"
    scores = [study.trained(f"single_task~{n}", 0).validation_score for n in range(3)]
    assert len({*scores, study.trained("single_task", 0).validation_score}) == 4
    models = trained_models(study, all_items(study.config))
    results = judged_results(study, models, fingerprint="f", truth=tmp_path / "none.json")
    entry = results["verdicts"]["click"]
    assert entry["train_samples"] == 3 and entry["single_task"]["error_sample"] >= 0
    assert not any("~" in name for name in results["cost"])
    assert list((tmp_path / "checkpoints").iterdir()) == []

"""A whole tuning: what it leaves, what it never reads, and how it goes on."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from recmtl.errors import ConfigError, DataError
from recmtl.schema import Schema
from recmtl.tracking.journal import Journal
from recmtl.train.config import Aim, Config
from recmtl.tuning.space import config_with
from recmtl.tuning.trials import Piece, RoundResult, Trial
from tests.unit.tuning.conftest import CONFIG, SCHEMA, RunTuning, read


def test_half_of_a_generation_goes_on_at_each_round(tuned: Path) -> None:
    trials = read(tuned)["trials"]
    assert [trial["trained"] for trial in trials].count(1.0) == 2  # one, and the configuration
    assert sorted(trial["trained"] for trial in trials[1:]) == [0.25, 0.25, 0.5, 1.0]
    first = [trial["by_round"]["0.25"] for trial in trials[1:]]
    gone_on = [trial["by_round"]["0.25"] for trial in trials[1:] if "0.5" in trial["by_round"]]
    assert sorted(first)[2:] == sorted(gone_on)


def test_the_configuration_is_a_trial_that_is_never_dropped(tuned: Path) -> None:
    first = read(tuned)["trials"][0]
    assert first["values"] == {} and first["standing"] == "done" and len(first["by_round"]) == 3


def test_the_chosen_settings_have_the_best_mean_over_the_seeds(tuned: Path) -> None:
    results = read(tuned)
    means = {final["number"]: np.mean(list(final["seeds"].values())) for final in results["finals"]}
    assert all(len(final["seeds"]) == 2 for final in results["finals"])
    assert results["chosen"]["number"] == max(means, key=lambda number: means[number])
    assert results["chosen"]["score"] == pytest.approx(means[results["chosen"]["number"]])


def test_what_was_chosen_is_a_configuration_to_keep(tuned: Path) -> None:
    chosen = read(tuned)["chosen"]
    config = Config.load(tuned / "tuned.yaml")
    assert config == config_with(CONFIG, chosen["values"])
    assert (tuned / "tuned.yaml").read_text().startswith(f"# {chosen['text']}")


def test_every_trial_is_a_nested_run(tuned: Path) -> None:
    events = Journal(tuned).read()[0]
    starts = {e["name"]: e for e in events if e["event"] == "start"}
    assert starts.keys() == {"tune", *(f"trial-{n}" for n in range(5))}
    assert {starts[f"trial-{n}"]["parent"] for n in range(5)} == {starts["tune"]["run"]}
    params = [e["params"] for e in events if e["run"] == starts["trial-1"]["run"] and "params" in e]
    assert {"training.learning_rate", "sizes.embedding"} <= params[0].keys()


def test_states_of_trainings_are_removed_when_nothing_goes_on_from_them(tuned: Path) -> None:
    assert list(tuned.glob("trials/*/*/checkpoint*")) == []


def test_no_test_row_is_read(run_tuning: RunTuning, prepared: Path, tuned: Path) -> None:
    for file in (prepared / "log" / "test").glob("*.npy"):
        rows = np.load(file)
        np.save(file, np.full_like(rows, 99 if rows.dtype.kind == "i" else np.nan))
    assert run_tuning(prepared) == read(tuned)


def test_a_tuning_that_was_interrupted_ends_as_if_it_had_not_been(
    run_tuning: RunTuning, prepared: Path, tuned: Path
) -> None:
    calls = 0

    def interrupt(what: str, *progress: Any) -> None:
        nonlocal calls
        calls += what.startswith("trial")
        if calls in (9, 31):
            calls += 1
            raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run_tuning(prepared, on_progress=interrupt)
    assert run_tuning(prepared) == read(tuned)
    names = [e["name"] for e in Journal(prepared).read()[0] if e["event"] == "start"]
    assert sorted(n for n in names if n != "tune") == [f"trial-{n}" for n in range(5)]


def test_a_finished_tuning_trains_nothing_again(
    run_tuning: RunTuning, tuned: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(tuned, tmp_path / "again")
    shown = list[str]()
    assert run_tuning(out, on_progress=lambda what, *_: shown.append(what)) == read(tuned)
    assert [what for what in shown if what.startswith("trial")] == []


@pytest.mark.slow
def test_more_trials_go_on_where_fewer_have_ended(
    run_tuning: RunTuning, prepared: Path, tmp_path: Path
) -> None:
    at_once = shutil.copytree(prepared, tmp_path / "at_once")
    settings: dict[str, Any] = {"generation": 2, "halving": False, "seeds": 1}
    fewer = run_tuning(prepared, trials=2, **settings)
    more = run_tuning(prepared, trials=4, **settings)
    assert more["trials"][:3] == fewer["trials"] and len(more["trials"]) == 5
    assert more == run_tuning(at_once, trials=4, **settings)


def test_without_time_the_configuration_is_kept_and_it_is_said_so(
    run_tuning: RunTuning, prepared: Path
) -> None:
    results = run_tuning(prepared, time_limit=1e-3)
    assert results["chosen"]["number"] == 0 and results["tasks"] == {}
    assert results["left_out"] == ["4 trials were stopped by the time limit"]
    assert Config.load(prepared / "tuned.yaml") == CONFIG


def test_settings_that_are_refused_together_end_their_trial_only(
    run_tuning: RunTuning, prepared: Path
) -> None:
    space = {"sizes.late_labels": ["importance"], "sizes.chain.counterfactual": ["none", "ips"]}
    results = run_tuning(prepared, space=space, halving=False, seeds=1, trials=6, generation=6)
    by_value: dict[str, set[str]] = {}
    for trial in results["trials"][1:]:
        standing = by_value.setdefault(trial["values"]["sizes.chain.counterfactual"], set())
        standing.add(trial["standing"])
    assert by_value == {"none": {"done"}, "ips": {"failed"}}
    assert any("late_labels" in trial["why"] for trial in results["trials"])


def test_a_setting_of_the_schema_has_a_log_of_its_own(
    run_tuning: RunTuning, prepared: Path
) -> None:
    path, before = "schema.features.user_id,device.min_count", Schema.load(SCHEMA)
    shared: dict[str, Any] = {"halving": False, "seeds": 1, "generation": 2, "trials": 2}
    results = run_tuning(prepared, space={path: [1, 5]}, **shared)
    chosen = Schema.load(prepared / "tuned_schema.yaml")
    value = results["chosen"]["values"].get(path)
    for feature, was in zip(chosen.features, before.features, strict=True):
        is_named = feature.name in ("user_id", "device") and value is not None
        assert feature == (replace(was, min_count=value) if is_named else was)
    tried = {trial["values"][path] for trial in results["trials"][1:]}
    assert len(list(prepared.glob("logs/*/log/manifest.json"))) == len(tried)


def test_sizes_of_embeddings_are_tried_on_the_one_log(
    run_tuning: RunTuning, prepared: Path
) -> None:
    path, features = "schema.features.user_id,device.dim", Schema.load(SCHEMA).features
    shared: dict[str, Any] = {"halving": False, "seeds": 1, "generation": 2, "trials": 2}
    results = run_tuning(prepared, space={path: [2, 7]}, **shared)
    assert not list(prepared.glob("logs/*"))
    of_size = {t["values"].get(path): t["multiply_adds"] for t in results["trials"]}
    assert len(of_size) > 1 and len(set(of_size.values())) == len(of_size)
    chosen = Schema.load(prepared / "tuned_schema.yaml").features
    value = results["chosen"]["values"].get(path)
    assert chosen == tuple(
        replace(f, dim=value) if f.name in ("user_id", "device") else f for f in features
    )


def test_a_folder_refuses_another_tuning(
    run_tuning: RunTuning, tuned: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(tuned, tmp_path / "another")
    with pytest.raises(ConfigError, match=r"another job: tune\.sampler was tpe and is random"):
        run_tuning(out, sampler="random")
    assert json.loads((out / "tune.json").read_text()) == json.loads(
        (tuned / "tune.json").read_text()
    )


def test_an_aim_decides_what_is_best(run_tuning: RunTuning, prepared: Path) -> None:
    aimed = replace(CONFIG, aim=Aim(enabled=True, task="purchase"))
    results = run_tuning(prepared, aimed, trials=2, generation=2, halving=False, seeds=1)
    for trial in results["trials"]:
        assert trial["score"] == pytest.approx(trial["tasks"]["purchase"])


def test_a_model_that_no_trial_can_train_is_refused(run_tuning: RunTuning, prepared: Path) -> None:
    with pytest.raises(ConfigError, match=r"tune\.model: 'mmo' .*did you mean 'mmoe'"):
        run_tuning(prepared, model="mmo")


def test_a_configuration_without_a_score_is_said_so(
    run_tuning: RunTuning, prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "recmtl.tuning.trial_study.TrialStudy._trained", lambda *_: RoundResult(float("nan"))
    )
    with pytest.raises(DataError, match="has no score on validation rows"):
        run_tuning(prepared)


@pytest.mark.slow
def test_a_searched_network_can_be_tuned_with_its_search(
    run_tuning: RunTuning, prepared: Path
) -> None:
    config = replace(CONFIG, search=replace(CONFIG.search, race=False, candidates=2, refine=0))
    space = {"search.learning_rate": [0.05, 0.2]}
    settings: dict[str, Any] = {"trials": 2, "generation": 2, "seeds": 1, "space": space}
    results = run_tuning(prepared, config, model="searched", **settings)
    assert all(trial["score"] is not None for trial in results["trials"])


@pytest.mark.slow
def test_several_processes_come_to_the_same(
    run_tuning: RunTuning, prepared: Path, tuned: Path
) -> None:
    assert run_tuning(prepared, replace(CONFIG, workers=2)) == read(tuned)


def test_a_damaged_result_is_named_with_a_remedy(tmp_path: Path) -> None:
    piece = Piece("mmoe", 0, trial=1)
    file = piece.file(tmp_path)
    file.parent.mkdir(parents=True)
    file.write_text("{")
    with pytest.raises(DataError, match=r"round-100\.json.*delete the folder of this trial"):
        piece.result(tmp_path)


def test_a_trial_is_read_as_it_was_written(tmp_path: Path) -> None:
    trial = Trial(3, {"grid.widths": [8], "training.decay": True}, 0, "abc")
    assert Trial.begun(tmp_path, 3) is None
    trial.save(tmp_path)
    assert Trial.begun(tmp_path, 3) == trial
    assert trial.log_folder(tmp_path) == tmp_path / "logs" / "abc"


def test_the_kept_file_is_plain_yaml(tuned: Path) -> None:
    assert yaml.safe_load((tuned / "tuned.yaml").read_text())["tune"]["model"] == "shared_bottom"

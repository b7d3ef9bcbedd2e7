"""Slices: each row is in one of them, and each is judged on its own rows."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recmtl.errors import ConfigError
from recmtl.evaluate.task_metrics import evaluate
from recmtl.job import steps
from recmtl.job.analysis.slices import _by_count, _by_quarter, _by_value, check_slices, slices
from recmtl.job.handed_on import TrainedModels
from recmtl.train.config import Config, Report
from tests.unit.job.test_steps import as_run, simulated_job


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedModels:
    job = simulated_job(tmp_path_factory.mktemp("slices"), 2500)
    return steps.train_all(job, steps.prepare(job, as_run(job)), as_run(job))


def cut(trained: TrainedModels, *names: str) -> list[dict[str, Any]]:
    config = replace(trained.study.config, report=Report(slices=names))
    return slices(replace(trained, study=replace(trained.study, config=config)))


def test_users_and_items_are_cut_by_how_often_training_saw_them(trained: TrainedModels) -> None:
    entries = slices(trained)
    assert [entry["feature"] for entry in entries] == ["user_id", "item_id"]
    rows = len(trained.study.problem.test)
    for entry in entries:
        assert entry["by"] == "train rows"
        assert sum(part["rows"] for part in entry["slices"]) == rows
        assert sum(part["share"] for part in entry["slices"]) == pytest.approx(1.0)


def test_a_value_s_slice_has_the_metrics_of_its_rows(trained: TrainedModels) -> None:
    (entry,) = cut(trained, "device")
    log, encoder = trained.prepared.log, trained.prepared.encoder
    vocabulary = encoder.vocabularies["device"]
    ids = np.asarray(log.split("test").ids[:, encoder.encoding.single.index("device")])
    first = entry["slices"][0]
    rows = np.flatnonzero(ids == vocabulary.first + 1)
    assert entry["by"] == "value" and first["name"] == str(vocabulary.values[0])
    assert first["rows"] == len(rows)
    problem = trained.study.problem
    auc = [
        evaluate(
            {name: scores[rows] for name, scores in result.predictions.items()},
            np.asarray(problem.test.labels)[rows],
            problem.tasks,
            weight=np.asarray(problem.test.weight)[rows],
        )["click"]["auc"]
        for result in trained.models["searched"].values()
    ]
    shown = first["tasks"]["click"]["models"]["searched"]
    assert shown["mean"] == pytest.approx(np.mean(auc)) and shown["seeds"] == 2
    gain = first["tasks"]["click"]["single_task"]
    assert gain["low"] < gain["gain"] < gain["high"] and "lightgbm" not in first["tasks"]["click"]


def test_numbers_are_cut_into_quarters(trained: TrainedModels) -> None:
    (entry,) = cut(trained, "price")
    assert entry["by"] == "quarter"
    shares = [part["share"] for part in entry["slices"]]
    assert len(shares) == 4 and all(0.15 < share < 0.35 for share in shares)
    assert cut(trained) == []


def test_a_name_that_cannot_be_sliced_is_refused_with_a_near_one(trained: TrainedModels) -> None:
    encoder = trained.prepared.encoder
    for name, hint in (("devise", "did you mean 'device'"), ("history", "history")):
        with pytest.raises(ConfigError, match=hint):
            check_slices(Config(report=Report(slices=(name,))), encoder)
    check_slices(Config(report=Report(slices=("device", "price"))), encoder)


def test_every_row_is_in_one_slice() -> None:
    random = np.random.default_rng(3)
    place = random.integers(-1, 30, 500)
    numbers = np.where(random.random(500) < 0.1, np.nan, random.integers(0, 5, 500))
    cuts = [
        _by_value(place, [str(n) for n in range(30)]),
        _by_count(random.integers(0, 5000, 500)),
        _by_quarter(numbers, numbers),
        _by_quarter(np.full(4, np.nan), numbers),
    ]
    for parts in cuts:
        assert (np.sum([chosen for _, chosen in parts], axis=0) == 1).all()

"""The page says where its figures come from, without what is secret."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from recmtl.job import steps
from recmtl.job.analysis.provenance import provenance, summary_line
from recmtl.job.fit import ModelResult
from recmtl.job.handed_on import JobContext, TrainedModels
from tests.unit.job.test_steps import as_run, simulated_job


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> JobContext:
    return simulated_job(tmp_path_factory.mktemp("provenance"), 2000)


@pytest.fixture(scope="module")
def trained(job: JobContext) -> TrainedModels:
    return steps.train(job, steps.prepare(job, as_run(job)), as_run(job))


def test_data_seeds_and_costs_are_told(job: JobContext, trained: TrainedModels) -> None:
    facts = provenance(job, trained)
    assert facts["fingerprint of data and schema"] == trained.prepared.log.fingerprint
    assert facts["data"].startswith(job.data) and "(1 file, " in facts["data"]
    assert facts["seeds"] == "0 1 of searched"
    assert facts["training"].startswith("2 models, ")
    written = datetime.strptime(facts["written"], "%Y-%m-%d %H:%M UTC").replace(tzinfo=UTC)
    assert abs((datetime.now(UTC) - written).total_seconds()) < 180
    line = summary_line(trained.prepared.log)
    assert line.startswith("simulated: 2,000 rows, 4 tasks. ")


def test_seconds_of_all_models_add_up(job: JobContext, trained: TrainedModels) -> None:
    cost = {"cpu_s": 1500.0, "train_s": 1000.0}
    models = {"a_b": {0: ModelResult({}, cost), 1: ModelResult({}, cost)},
              "constant": {0: ModelResult({}, {"cpu_s": None, "train_s": None})}}  # fmt: skip
    facts = provenance(job, replace(trained, models={**trained.models, **models}))
    assert facts["training"].startswith("5 models, 3,0")
    assert facts["seeds"] == "0 1 of searched, a b, 0 of constant"


def test_passwords_of_urls_are_masked(job: JobContext, trained: TrainedModels) -> None:
    remote = replace(job, data="https://me:secret@example.com/log.parquet")
    assert "secret" not in " ".join(provenance(remote, trained).values())

"""Updates of the bundles of an earlier release: what goes on, what stays, what is refused."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from recmtl.daily.parent import open_parent
from recmtl.daily.trained_on import SearchWhen, in_few_passes
from recmtl.daily.update import Update, updated
from recmtl.errors import BundleError, ConfigError, DataError
from recmtl.serve import Scorer
from recmtl.serve.bundle import load_bundle
from recmtl.train.config import Training
from recmtl.train.tabular_problem import TabularProblem
from recmtl.train.training_state import ValidationCheck
from tests.unit.daily.conftest import RELEASED, OpenJob, rows_of_days


def update_in(
    out: Path, job_on: OpenJob, days: Path, parent: Path, search_when: SearchWhen = "never"
) -> Update:
    with job_on(parent, days, out) as job:
        return updated(job, open_parent(parent), search_when=search_when)


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("name", ["grid", "mmoe"])
def test_a_bundle_of_an_earlier_release_is_updated(
    name: str, tmp_path: Path, job_on: OpenJob, days: Path
) -> None:
    before = contents(RELEASED / name)
    done = update_in(tmp_path / "out", job_on, days, RELEASED / name)
    assert contents(RELEASED / name) == before
    bundle, parent = load_bundle(done.bundle), load_bundle(RELEASED / name)
    assert bundle.model.columns == parent.model.columns
    assert bundle.model.heads.specs == parent.model.heads.specs
    [lineage] = bundle.lineage
    assert lineage["parent"] == parent.fingerprint and lineage["rows"] == 600
    changes = done.results["update"]["vocabularies"]
    # Beside the five, one golden row has a user that no vocabulary of that release had.
    assert changes["user_id"]["new"] == 6 and changes["item"]["new"] == 0
    known = parent.encoder.vocabularies["user_id"].values.to_pylist()
    assert bundle.encoder.vocabularies["user_id"].values.to_pylist()[: len(known)] == known
    assert done.report is not None
    page = done.report.read_text()
    assert "What changed, and why" in page and "6 of user_id" in page
    assert {"parent", "searched", "constant", "verdict"} == set(done.results["tasks"]["click"])


@pytest.mark.parametrize(
    ("training", "rows"), [(Training(), 100_000), (Training(epochs=5, batch_size=500), 3000)]
)
def test_two_passes_have_as_many_steps_as_several_had(training: Training, rows: int) -> None:
    few = in_few_passes(training, rows)
    before, after = (t.passes(rows) * t.steps_a_pass(rows) for t in (training, few))
    assert few.passes(rows) == 2 and after == pytest.approx(before, rel=0.1)
    assert in_few_passes(Training(), 100).batch_size == 64
    for kept in (replace(training, epochs=1), replace(training, epochs=2)):
        assert in_few_passes(kept, rows) == kept
    assert in_few_passes(replace(training, batch_size=16), rows).batch_size == 16


@pytest.mark.slow
def test_an_update_is_updated_again_and_remembers_both(
    tmp_path: Path, job_on: OpenJob, days: Path
) -> None:
    first = update_in(tmp_path / "first", job_on, days, RELEASED / "grid")
    pq.write_table(rows_of_days(500, seed=3, new_users=9), tmp_path / "more.parquet")
    second = update_in(tmp_path / "second", job_on, tmp_path / "more.parquet", first.bundle.parent)
    bundle = load_bundle(second.bundle)
    assert [entry["rows"] for entry in bundle.lineage] == [600, 500]
    assert bundle.lineage[1]["parent"] == load_bundle(first.bundle).fingerprint
    assert second.results["update"]["vocabularies"]["user_id"]["new"] == 4
    assert second.results["update"]["number"] == 2


def test_an_updated_bundle_scores_the_same_wherever_it_lies(
    tmp_path: Path, job_on: OpenJob, days: Path
) -> None:
    done = update_in(tmp_path / "out", job_on, days, RELEASED / "grid")
    rows = pq.read_table(days)
    copytree(done.bundle, tmp_path / "elsewhere")
    scores = [Scorer.load(f).scores(rows) for f in (done.bundle, tmp_path / "elsewhere")]
    assert (scores[0] == scores[1]).all()
    test = done.trained.problem.test
    in_training = done.trained.problem.scored(done.trained.model)[0]["p_click"]
    assert np.allclose(scores[0][test.row, 0], in_training, atol=1e-6)


def test_the_same_update_is_done_once(tmp_path: Path, job_on: OpenJob, days: Path) -> None:
    update_in(tmp_path / "out", job_on, days, RELEASED / "grid")
    weights = tmp_path / "out" / "models" / "searched" / "0" / "weights.safetensors"
    before, made = contents(tmp_path / "out" / "bundle"), weights.stat().st_mtime_ns
    update_in(tmp_path / "out", job_on, days, RELEASED / "grid")
    assert weights.stat().st_mtime_ns == made
    after = contents(tmp_path / "out" / "bundle")
    assert after["model/weights.safetensors"] == before["model/weights.safetensors"]


class _Killed(BaseException):
    """A kill, at a step of the training."""


def test_an_update_that_is_killed_ends_with_the_same_bits(
    tmp_path: Path, job_on: OpenJob, days: Path
) -> None:
    update_in(tmp_path / "whole", job_on, days, RELEASED / "grid")
    kills, random = 0, np.random.default_rng(0)

    def killed(what: str, done: int, total: int, check: ValidationCheck | None) -> None:
        if random.random() < 0.12:
            raise _Killed

    for _ in range(200):
        try:
            with job_on(RELEASED / "grid", days, tmp_path / "killed", killed) as job:
                updated(job, open_parent(RELEASED / "grid"), search_when="never")
            break
        except _Killed:
            kills += 1
            assert not (tmp_path / "killed" / "bundle").exists()
    assert kills >= 5
    for name in ("bundle/model/weights.safetensors", "bundle/encoder/vocabularies.arrow"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_the_weights_stay_where_training_makes_them_worse(
    tmp_path: Path, job_on: OpenJob, days: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TabularProblem, "score", lambda self, metrics: 0.5)
    done = update_in(tmp_path / "out", job_on, days, RELEASED / "mmoe")
    [network] = done.results["update"]["networks"]
    assert network["before"] == network["after"] == 0.5
    parent = load_file(str(RELEASED / "mmoe" / "model" / "weights.safetensors"))
    kept = load_file(str(done.bundle / "model" / "weights.safetensors"))
    starts = torch.from_numpy(done.trained.days.starts)
    for name, tensor in kept.items():
        expected = parent[name][starts] if name == "encoder.table.weight" else parent[name]
        assert torch.equal(tensor, expected), name


@pytest.mark.slow
def test_always_searching_finds_a_route_that_serves_only_if_it_scores_more(
    tmp_path: Path, job_on: OpenJob, days: Path
) -> None:
    done = update_in(tmp_path / "out", job_on, days, RELEASED / "grid", "always")
    route, network = done.results["update"]["new_route"], done.results["update"]["networks"][0]
    assert route["serves"] == (route["validation"] > network["after"])
    assert (tmp_path / "out" / "search" / "searched-0.json").is_file()
    load_bundle(done.bundle)


def test_another_update_is_refused_in_the_same_folder(
    tmp_path: Path, job_on: OpenJob, days: Path
) -> None:
    update_in(tmp_path / "out", job_on, days, RELEASED / "grid")
    before = contents(tmp_path / "out" / "bundle")
    with pytest.raises(ConfigError, match="was begun with another job"):
        update_in(tmp_path / "out", job_on, days, RELEASED / "mmoe")
    assert contents(tmp_path / "out" / "bundle") == before


def test_days_without_a_positive_row_leave_nothing_half_done(
    tmp_path: Path, job_on: OpenJob, days: Path
) -> None:
    table = pq.read_table(days)
    zeros = pq.read_table(days)["clicked"].to_numpy() * 0
    for name in ("clicked", "bought"):
        table = table.set_column(table.schema.names.index(name), name, [zeros])
    pq.write_table(table, tmp_path / "zeros.parquet")
    with pytest.raises(DataError, match="on every train row"):
        update_in(tmp_path / "out", job_on, tmp_path / "zeros.parquet", RELEASED / "grid")
    assert not (tmp_path / "out" / "bundle").exists() and not (tmp_path / "out" / "log").exists()


def test_ids_cannot_retire_without_a_column_of_time(
    tmp_path: Path, job_on: OpenJob, days: Path
) -> None:
    with (
        job_on(RELEASED / "grid", days, tmp_path / "out") as job,
        pytest.raises(ConfigError, match=r"the schema names no roles\.time"),
    ):
        updated(job, open_parent(RELEASED / "grid"), retire_after="90d")


def test_what_cannot_be_updated_is_told_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "job.json").write_text(json.dumps({"data": "log"}))
    with pytest.raises(DataError, match="has no bundle yet"):
        open_parent(tmp_path / "begun")
    with pytest.raises(BundleError, match="no such folder"):
        open_parent(tmp_path / "nowhere")

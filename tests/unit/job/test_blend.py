"""A job blends the searched networks and its forests, where validation rows say that it gains."""

import json
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq
import pytest

from recmtl.forest.settings import Trees
from recmtl.job import steps
from recmtl.job.handed_on import Evaluation, JobContext, TrainedModels
from recmtl.model import BlendedModel, TabularModel
from recmtl.serve import Scorer
from recmtl.tracking import TrackedRun, Tracker
from recmtl.train.config import Blend, Calibration
from recmtl.train.presets import PRESETS
from recmtl.vision.config import VisionConfig
from tests.unit.job.test_steps import CONFIG, FileRun, simulated_job

TREES = Trees(enabled=True, rounds=20, learning_rate=0.1, leaves=4, folds=2, tune=False)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> JobContext:
    """A job on 4,000 simulated rows, whose networks learn next to nothing in one pass."""
    settings: dict[str, Any] = {
        "trees": TREES,
        "blend": Blend(enabled=True),
        "calibration": Calibration("platt", min_rows=20),
        "search": replace(CONFIG.search, source_seeds=0),
    }
    config = replace(CONFIG, **settings)
    return simulated_job(tmp_path_factory.mktemp("blend"), 4000, config, users=60, items=30)


@pytest.fixture(scope="module")
def trained(job: JobContext) -> TrainedModels:
    run = cast(TrackedRun, FileRun())
    return steps.train_all(job, steps.prepare(job, run), run)


@pytest.fixture(scope="module")
def evaluation(job: JobContext, trained: TrainedModels) -> Evaluation:
    return steps.evaluate(job, trained, cast(TrackedRun, FileRun()))


def test_the_results_show_the_blend_its_weights_and_its_cost(
    trained: TrainedModels, evaluation: Evaluation
) -> None:
    results, blend = evaluation.results, trained.blend
    assert blend is not None and isinstance(trained.served, BlendedModel)
    facts = results["blend"]
    assert facts == json.loads(json.dumps(facts))
    assert set(facts["tasks"]) == set(results["tasks"])
    for task in facts["tasks"].values():
        weights = np.array(list(task["weights"].values()))
        assert (weights >= 0).all() and weights.sum() == pytest.approx(1, abs=1e-3)
    assert results["tasks"]["click"]["blend"]["auc"]["seeds"] == 1
    assert results["cost"]["blend"]["multiply_adds"] == trained.served.cost().multiply_adds
    assert "blend" in results["mean"] and results["score"]["blend"]["mean"] > 0
    assert "blend" not in results["best_fixed"]["mean"].get("model", "")


def test_the_bundle_scores_raw_rows_as_the_blend_was_validated_and_tested(
    job: JobContext, trained: TrainedModels, evaluation: Evaluation
) -> None:
    bundled = steps.bundle(job, evaluation)
    scorer, problem = Scorer.load(bundled.folder), trained.prepared.problem
    result = trained.compared["blend"][trained.chosen.seed]
    log = pq.read_table(job.data)
    parts = (problem.validation, result.on_validation), (problem.test, result.predictions)
    for rows, columns in parts:
        raw = log.take(np.asarray(rows.row).tolist())
        expected = np.stack([columns[name] for name in scorer.columns], 1)
        ids = np.asarray(trained.encoder.encode(raw).ids)
        calibrated = evaluation.calibrators.apply(expected, ids)
        np.testing.assert_allclose(scorer.scores(raw), calibrated, rtol=1e-5, atol=1e-6)
    members = len(list((bundled.folder / "members").iterdir())) if trained.blend else 0
    assert members == len(cast(BlendedModel, trained.served).networks) - 1
    steps.score(job, bundled)
    assert pq.read_table(job.out / "scored").num_rows == 4000


def test_the_report_shows_the_weights(job: JobContext, evaluation: Evaluation) -> None:
    page = steps.report(job, evaluation, cast(TrackedRun, FileRun())).read_text()
    assert "What the bundle blends" in page and "forest" in page


def test_a_job_that_goes_on_fits_the_same_blend(job: JobContext, trained: TrainedModels) -> None:
    run = FileRun()
    later = replace(job, tracker=cast(Tracker, run))
    again = steps.train_all(
        later, steps.prepare(later, cast(TrackedRun, run)), cast(TrackedRun, run)
    )
    assert run.runs == [] and again.blend is not None and trained.blend is not None
    assert again.blend.facts == trained.blend.facts


def test_a_blend_may_be_asked_for_in_a_folder_that_was_begun_without(
    job: JobContext, trained: TrainedModels
) -> None:
    plain = replace(job, config=replace(job.config, blend=Blend()))
    run = cast(TrackedRun, FileRun())
    without = steps.train_all(plain, steps.prepare(plain, run), run)
    assert without.blend is None and type(without.served) is TabularModel
    assert "blend" not in without.compared
    evaluated = steps.evaluate(plain, without, run)
    assert "blend" not in evaluated.results and "blend" not in evaluated.results["cost"]


def test_forests_that_no_network_hears_are_bundled_where_they_are_a_member(
    trained: TrainedModels,
) -> None:
    blend = trained.blend
    assert blend is not None and blend.hears_forest
    assert trained.prepared.trees is not None
    assert trained.forests is trained.prepared.trees.forests


def test_validation_alone_shows_the_blend(job: JobContext, trained: TrainedModels) -> None:
    run = cast(TrackedRun, FileRun())
    results = steps.validate(job, steps.prepare(job, run), run)
    assert results["tasks"]["click"]["blend"]["auc"]["mean"] > 0.5


def test_the_preset_best_blends_and_fast_does_not() -> None:
    assert PRESETS["best"]["blend"] == {"enabled": True}
    assert "blend" not in PRESETS["fast"]


def test_images_are_not_blended() -> None:
    with pytest.raises(ValueError, match=r"blend.enabled is for tables"):
        VisionConfig(blend=Blend(enabled=True))

"""A network that was trained on sampled negatives predicts the rates of the whole log."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from recmtl.data.prepare import prepare
from recmtl.evaluate.metrics import auc, calibration_ratio
from recmtl.grid import shared_bottom
from recmtl.model import ModelSizes
from recmtl.schema import SampledNegatives, SplitRule
from recmtl.train.config import Training
from recmtl.train.loop import train
from recmtl.train.tabular_problem import TabularProblem
from tests.late_logs import late_log, late_schema, write_log

TRAINING = Training(batch_size=256, epochs=6, checks=1, learning_rate=5e-3, stop_metric="log_loss")


SIZES = ModelSizes(embedding=4, tower=(8,))


def quality(folder: Path, rows: int, seed: int, *, share: float) -> tuple[float, float]:
    """Calibration ratio and AUC on all test rows of a network that learns from a sample."""
    columns, _ = late_log(rows, seed)
    folder.mkdir(parents=True, exist_ok=True)
    schema = replace(late_schema("bought"), split=SplitRule("random", 0.2, 0.2))
    sampled = replace(schema, sample=(SampledNegatives("buy", share),)) if share < 1 else schema
    source = write_log(columns, folder / "log.parquet")
    log = prepare(source, sampled, folder / "sampled")
    problem = TabularProblem.of(log, TRAINING.stop_metric)
    model = problem.network(shared_bottom(1, widths=(8,)), SIZES)
    train(model, problem, TRAINING, seed=seed)
    test = prepare(source, schema, folder / "whole").split("test").row
    encoded = log.encoder().encode(pa.table(columns).take(pa.array(test)))
    scores = (
        model.eval()
        .predict(torch.from_numpy(encoded.ids).long(), torch.from_numpy(encoded.numeric))[:, 0]
        .numpy()
    )
    label = columns["bought"][test]
    return calibration_ratio(label, scores), auc(label, scores)


def test_probabilities_and_order_are_those_of_the_whole_log(tmp_path: Path) -> None:
    whole = quality(tmp_path / "whole", 16_000, 0, share=1.0)
    sampled = quality(tmp_path / "sampled", 16_000, 0, share=0.2)
    assert sampled[0] == pytest.approx(1.0, abs=0.08)
    assert sampled[1] == pytest.approx(whole[1], abs=0.01)


@pytest.mark.slow
def test_a_twentieth_is_within_two_percent(tmp_path: Path) -> None:
    pairs = [
        [quality(tmp_path / f"{seed}{share}", 150_000, seed, share=share) for share in (1.0, 0.05)]
        for seed in range(5)
    ]
    ratios, aucs = np.moveaxis(np.array(pairs), -1, 0)
    assert abs(ratios[:, 1].mean() - 1) < 0.02, ratios
    gaps = aucs[:, 1] - aucs[:, 0]
    assert abs(gaps.mean()) < 3 * max(gaps.std(ddof=1) / np.sqrt(5), 1e-3), aucs

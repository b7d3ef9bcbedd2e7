"""Simulated delays with a known answer: what the readings of late labels recover."""

from pathlib import Path

import numpy as np
import pytest

from recmtl.data.prepare import prepare
from recmtl.grid import shared_bottom
from recmtl.model import ModelSizes, predict
from recmtl.train.config import Training
from recmtl.train.loop import train
from recmtl.train.tabular_problem import TabularProblem
from tests.late_logs import LATE, late_log, late_schema, write_log

TRAINING = Training(batch_size=512, epochs=6, checks=1, learning_rate=5e-3, stop_metric="log_loss")


def mean_bias(folder: Path, rows: int, seed: int, *, label: str, reading: str) -> float:
    """Of the mean predicted rate over all train rows, relative to what really happens in time."""
    columns, happens = late_log(rows, seed)
    folder.mkdir(exist_ok=True)
    log = prepare(write_log(columns, folder / "log.parquet"), late_schema(label), folder / "log")
    problem = TabularProblem.of(log, TRAINING.stop_metric)
    sizes = ModelSizes(embedding=4, tower=(8,), late_labels=reading)  # type: ignore[arg-type] # a reading
    model = problem.network(shared_bottom(1, widths=(8,)), sizes)
    train(model, problem, TRAINING, seed=seed)
    scores = predict(model.eval(), problem.train)["p_buy"]
    return float(scores.mean() / happens[np.asarray(problem.train.row)].mean() - 1)


@pytest.mark.parametrize("reading", ["unknown", "exponential", "importance"])
def test_the_rate_of_late_events_is_recovered(reading: str, tmp_path: Path) -> None:
    bias = mean_bias(tmp_path / reading, 20_000, 0, label=LATE, reading=reading)
    assert abs(bias) < 0.06


def test_to_ignore_the_delay_is_to_be_a_fifth_too_low(tmp_path: Path) -> None:
    assert mean_bias(tmp_path / "log", 20_000, 0, label="bought", reading="unknown") < -0.2


@pytest.mark.slow
@pytest.mark.parametrize("reading", ["exponential", "importance"])
def test_the_bias_is_below_two_percent(reading: str, tmp_path: Path) -> None:
    biases = [
        mean_bias(tmp_path / str(seed), 100_000, seed, label=LATE, reading=reading)
        for seed in range(5)
    ]
    assert abs(np.mean(biases)) < 0.02, biases

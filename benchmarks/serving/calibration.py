"""Calibration on real data: maps fitted on validation rows, judged on test rows."""

import os
import tempfile
from pathlib import Path
from typing import Any

import torch

from recmtl.data.prepare import prepare
from recmtl.grid import CATALOG
from recmtl.model import TabularModel
from recmtl.schema import load_schema
from recmtl.serve.calibration.fit import calibration_gain, fit_calibrators
from recmtl.train.config import Calibration, Config
from recmtl.train.loop import train
from recmtl.train.tabular_problem import TabularProblem

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("RECMTL_DATA") or ROOT.parent / "shared" / "data")

LOGS = {
    "census_income": DATA / "census_income" / "train.parquet",
    "kuairand_pure": DATA / "kuairand_pure" / "log_0425_0430.parquet",
}


def measure(name: str, *, seed: int = 0) -> dict[str, Any]:
    """Train an MMoE with the data set's configuration, and calibrate it with both methods."""
    torch.set_num_threads(1)
    config = Config.load(ROOT / "pipelines" / "configs" / name / "recmtl.yaml")
    schema = load_schema(ROOT / "datasets" / name / "schema.yaml")
    grid = config.grid
    with tempfile.TemporaryDirectory() as folder:
        log = prepare(str(LOGS[name]), schema, Path(folder) / "log")
        problem, tasks = TabularProblem.of(log), len(schema.tasks)
        layout = CATALOG["mmoe"].layout(
            tasks, cells=grid.cells or tasks + 2, widths=grid.widths, depth=grid.depth
        )
        torch.manual_seed(seed)
        model = TabularModel(problem.encoding, problem.heads, layout=layout, sizes=config.sizes)
        train(model, problem, config.training, seed=seed)
        gains = {}
        for method in ("platt", "isotonic"):
            rows, encoder = log.split("validation"), log.encoder()
            maps = fit_calibrators(
                model.eval(), encoder, rows=rows, settings=Calibration(method=method)
            )
            gains[method] = calibration_gain(
                model, encoder, calibrators=maps, rows=log.split("test")
            )
        rows = {part: len(log.split(part).ids) for part in ("train", "validation", "test")}
    return {"rows": rows, "seed": seed, "gains": gains}

"""LightGBM, one model a task, on the same rows: `... FOLDER`; the order is `trees`."""

import sys
import time
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.speed.ours import encoder_of, schema_of, split_of
from benchmarks.speed.shape import TASKS, TEST_ROWS
from benchmarks.speed.simulated_log import TRAIN_ROWS
from benchmarks.worker import peak_mb, work
from recmtl.baselines import lightgbm

VALIDATION_ROWS = TRAIN_ROWS // 10


def fitted(folder: Path) -> dict[str, object]:
    """Fit on nine tenths of the train rows, stop by the last tenth, score the test rows."""
    rows = split_of(folder)
    first_test, first_validation = TRAIN_ROWS, TRAIN_ROWS - VALIDATION_ROWS
    parts = (
        rows.take(np.arange(first_validation)),
        rows.take(np.arange(first_validation, first_test)),
        rows.take(np.arange(first_test, first_test + TEST_ROWS)),
    )
    tasks, encoding = schema_of(folder.name).tasks, encoder_of(folder.name).encoding
    began = time.process_time()
    models = lightgbm.fit_predict(*parts, tasks, encoding, threads=1)
    spent, cost = time.process_time() - began, models.cost
    score_s = TEST_ROWS / float(cost["score_rows_per_s"] or 1.0)
    return {
        "leaves": cost["parameters"],
        "train": first_validation / (spent - score_s),
        "score": cost["score_rows_per_s"],
        "peak_mb": peak_mb(),
        "auc": {
            task: roc_auc_score(parts[2].labels[:, t], models.predictions[f"p_{task}"])
            for t, task in enumerate(TASKS)
        },
    }


if __name__ == "__main__":
    work({"trees": lambda: fitted(Path(sys.argv[1]))}, {})

"""Serving: a bundle on disk becomes scores, and scores become a ranking.

`bundle` writes, verifies and loads the folder that leaves training. `scoring` turns Arrow or pandas
rows into scored columns and explains them, `batch` does so for files larger than memory, and
`ranking` orders candidates by a formula over those columns. `calibration` makes probabilities mean
what they say, and `mlflow_model` is the scorer behind MLflow's interface.

Imports run one way: `calibration`, `bundle`, `scoring`, then `batch` and `ranking`.
"""

from recmtl.formula import Formula
from recmtl.serve.batch.parquet import score_parquet
from recmtl.serve.bundle import Bundle, load_bundle, save_bundle
from recmtl.serve.ranking.ranker import Ranker
from recmtl.serve.scoring.scorer import Scorer

__all__ = [
    "Bundle",
    "Formula",
    "Ranker",
    "Scorer",
    "load_bundle",
    "save_bundle",
    "score_parquet",
]

"""Serving: a bundle on disk becomes scores, and scores become a ranking.

`bundle` writes and verifies the folder that leaves training; `scorer` turns Arrow or pandas rows
into scored columns, `parquet` does so for files larger than memory, `ranker` orders candidates by
a `formula` over those columns, and `mlflow_model` is the same scorer behind MLflow's interface.
"""

from recmtl.serve.batch.parquet import score_parquet
from recmtl.serve.bundle.bundle import Bundle, load_bundle, save_bundle
from recmtl.serve.ranking.formula import Formula
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

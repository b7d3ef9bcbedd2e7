"""A study in double precision, whose problem any process opens: equal to the last digits."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from recmtl.data.encoded_log import EncodedLog, LogSplit
from recmtl.grid import Layout
from recmtl.job.problem_kind import LOG, TABULAR_PROBLEMS, ProblemKind
from recmtl.model import ModelSizes, TabularModel
from recmtl.train.config import Config
from recmtl.train.tabular_problem import TabularProblem

__all__ = ["EXACT", "open_exact"]


def _exact(rows: LogSplit) -> LogSplit:
    names = ("numeric", "labels", "weight")
    return replace(rows, **{n: np.asarray(getattr(rows, n), np.float64) for n in names})


@dataclass(frozen=True)
class ExactProblem(TabularProblem):
    """A problem whose networks compute in double precision."""

    def network(self, layout: Layout, sizes: ModelSizes) -> TabularModel:
        """A new network."""
        return super().network(layout, sizes).double()


def open_exact(folder: Path, config: Config) -> ExactProblem:
    """Open a log; what a search draws has double precision from here on."""
    torch.set_default_dtype(torch.float64)
    training = config.training
    plain = TabularProblem.of(
        EncodedLog.open(folder / LOG), training.stop_metric, training.rare_ids
    )
    fields = {name: getattr(plain, name) for name in TabularProblem.__dataclass_fields__}
    parts = {name: _exact(fields[name]) for name in ("train", "validation", "test")}
    return ExactProblem(**{**fields, **parts})


EXACT = ProblemKind("tables", Config, open_exact, TABULAR_PROBLEMS.baselines)

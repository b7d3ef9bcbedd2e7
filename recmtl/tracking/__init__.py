"""Tracking: the settings, the course and the results of a job, kept in MLflow.

A job writes what it has to log into a journal in its output folder (`journal`, `run`), and the
journal is fed to MLflow (`tracker`, `feed`), now or later. Models are logged as code and a bundle
(`model`), and the best is the champion (`champion`); nothing is pickled. `recmtl.mlflow_store` says
where the store is. Only `feed`, `model` and `champion` import MLflow, and a job survives without.
"""

from recmtl.tracking.run import TrackedRun, git_commit
from recmtl.tracking.tracker import Tracker

__all__ = ["TrackedRun", "Tracker", "git_commit"]

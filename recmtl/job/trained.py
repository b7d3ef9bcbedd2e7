"""One trained model of a study on disk: its scores of the test rows and what it cost."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from recmtl.model import Network, save_model
from recmtl.train.fitted import Check, Metrics

__all__ = ["Trained", "curve"]


@dataclass(frozen=True)
class Trained:
    """What a study keeps of one model and seed.

    Attributes:
        predictions: scored columns `[R]` of the test rows.
        cost: parameters, multiply_adds, train_s, score_rows_per_s; None where not counted.
        validation_score: of the restored weights; None for models that have none.
        validation: task -> metric -> value on the validation rows, of the restored weights.
        curves: for each network that was trained, epoch, score and loss of every check.
        health: of the experts at every check (`health_record`), if all tasks share a network.
        test: task -> metric -> value on the test rows, where no predictions are kept.
    """

    predictions: dict[str, np.ndarray]
    cost: dict[str, float | None]
    validation_score: float | None = None
    validation: Metrics = field(default_factory=dict)
    curves: Mapping[str, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    health: Mapping[str, Any] = field(default_factory=dict)
    test: Metrics = field(default_factory=dict)

    def save(self, folder: Path, model: Network | None = None) -> None:
        """Write a folder atomically; with a model, the folder holds its weights too."""
        partial = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        columns = {name: np.ascontiguousarray(v) for name, v in self.predictions.items()}
        save_file(columns, str(partial / "test.safetensors"))
        facts = {name: value for name, value in asdict(self).items() if name != "predictions"}
        (partial / "trained.json").write_text(json.dumps(facts, indent=1))
        if model is not None:
            save_model(model, partial)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)

    @classmethod
    def load(cls, folder: Path) -> "Trained | None":
        """The model that was saved there, or None if there is none."""
        if not (folder / "trained.json").is_file():
            return None
        facts = json.loads((folder / "trained.json").read_text())
        return cls(load_file(str(folder / "test.safetensors")), **facts)


def curve(checks: Sequence[Check]) -> list[dict[str, float]]:
    """What is kept of a training's checks."""
    return [{"epoch": c.epoch, "score": c.score, "loss": c.loss} for c in checks]

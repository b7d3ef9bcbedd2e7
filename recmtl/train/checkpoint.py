"""The state of a training run on disk: weights, moments, generator, history; no pickle."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from recmtl.errors import DataError
from recmtl.model import Network
from recmtl.train.fitted import Check, Fitted
from recmtl.train.optimizer import Optimizer

__all__ = ["Checkpoint"]


class Checkpoint:
    """Keeps the best weights in memory and, with a path, the whole state in one file.

    The file is replaced atomically, so that a killed process leaves the previous one. It holds
    safetensors with the run's history as JSON in its metadata.
    """

    def __init__(self, model: Network, optimizer: Optimizer, *, path: Path | None) -> None:
        self.path, self.model, self.optimizer = path, model, optimizer
        self.best: dict[str, Tensor] = {}

    def keep_if_best(self, fitted: Fitted) -> None:
        """Copy the weights if the newest check is the best so far."""
        if fitted.newest_is_best:
            fitted.best = len(fitted.checks) - 1
            self.best = {name: t.detach().clone() for name, t in self.model.state_dict().items()}

    def restore_best(self) -> None:
        """Put the best weights back into the model."""
        if self.best:
            self.model.load_state_dict(self.best)

    def save(self, fitted: Fitted) -> None:
        """Write the state as it is between two steps."""
        if self.path is None:
            return
        tensors = {f"model/{name}": t for name, t in self.model.state_dict().items()}
        tensors |= {f"best/{name}": t for name, t in self.best.items()}
        tensors["generator"] = torch.get_rng_state()
        if torch.cuda.is_available():
            tensors["cuda_generator"] = torch.cuda.get_rng_state()
        described = _pack(self.optimizer.state_dict(), "optimizer", tensors)
        history = {**asdict(fitted), "loss": float(fitted.loss), "optimizer": described}
        partial = self.path.with_suffix(".partial")
        try:
            contiguous = {name: t.contiguous().clone() for name, t in tensors.items()}
            save_file(contiguous, str(partial), {"history": json.dumps(history)})
            os.replace(partial, self.path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            fault = f"{self.path}: checkpoint not written: {error}; free disk space"
            raise DataError(fault) from error

    def load(self, fitted: Fitted) -> None:
        """Restore the state if the file exists.

        Raises:
            DataError: the file is damaged, or of another network.
        """
        if self.path is None or not self.path.exists():
            return
        try:
            with safe_open(str(self.path), "pt") as file:
                history = json.loads(file.metadata()["history"])
            tensors = load_file(str(self.path))
            self.model.load_state_dict(_under(tensors, "model/"))
            self.best = _under(tensors, "best/")
            self.optimizer.load_state_dict(_unpack(history["optimizer"], tensors))
            torch.set_rng_state(tensors["generator"])
            if "cuda_generator" in tensors and torch.cuda.is_available():
                torch.cuda.set_rng_state(tensors["cuda_generator"])
            fitted.checks = [Check.from_json(check) for check in history["checks"]]
            for name in ("best", "seconds", "rows", "loss", "steps"):
                setattr(fitted, name, history[name])
        except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
            reason = str(error).partition("\n")[0]
            fault = f"{self.path}: not a checkpoint of this network: {reason}; delete it"
            raise DataError(fault) from error


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _pack(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """Nested state as JSON; every tensor goes to `tensors` under its path."""
    if isinstance(value, Tensor):
        tensors[path] = value
        return {"tensor": path}
    if isinstance(value, dict):
        return {"items": [[k, _pack(v, f"{path}/{k}", tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return [_pack(item, f"{path}/{n}", tensors) for n, item in enumerate(value)]
    return value


def _unpack(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, dict) and "tensor" in value:
        return tensors[value["tensor"]]
    if isinstance(value, dict):
        return {key: _unpack(item, tensors) for key, item in value["items"]}
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    return value

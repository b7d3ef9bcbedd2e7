"""The state of a training or a search on disk: weights, moments, generators, history; no pickle.

A file is replaced atomically, so that a killed process leaves the previous one. It holds
safetensors, with all that is no tensor as JSON in its metadata.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from recmtl.atomic import new_file
from recmtl.errors import DataError
from recmtl.model import Network
from recmtl.train.config import Training
from recmtl.train.optimizer import Optimizer
from recmtl.train.training_state import TrainingState, ValidationCheck

__all__ = ["Checkpoint", "read_state", "save_due", "sibling_checkpoint", "write_state"]


class Checkpoint:
    """Keeps the best weights in memory and, with a path, the whole state in one file."""

    def __init__(self, model: Network, optimizer: Optimizer, *, path: Path | None) -> None:
        self.path, self.model, self.optimizer = path, model, optimizer
        self.best: dict[str, Tensor] = {}

    def keep_if_best(self, fitted: TrainingState) -> None:
        """Copy the weights if the newest check is the best so far."""
        if fitted.newest_is_best:
            fitted.best = len(fitted.checks) - 1
            self.best = {name: t.detach().clone() for name, t in self.model.state_dict().items()}

    def restore_best(self) -> None:
        """Put the best weights back into the model."""
        if self.best:
            self.model.load_state_dict(self.best)

    def save(self, fitted: TrainingState) -> None:
        """Write the state as it is between two steps."""
        if self.path is None:
            return
        state = {
            "model": self.model.state_dict(),
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
            "history": {**asdict(fitted), "loss": float(fitted.loss)},
        }
        write_state(self.path, state)

    def load(self, fitted: TrainingState) -> None:
        """Restore the state if the file exists.

        Raises:
            DataError: the file is damaged, or of another network.
        """
        if self.path is None:
            return
        with read_state(self.path) as state:
            if state is None:
                return
            self.model.load_state_dict(state["model"])
            self.best = state["best"]
            self.optimizer.load_state_dict(state["optimizer"])
            history = state["history"]
            fitted.checks = [ValidationCheck.from_json(check) for check in history["checks"]]
            for name in ("best", "seconds", "rows", "loss", "steps"):
                setattr(fitted, name, history[name])


def save_due(steps: int, *, epoch: int, settings: Training) -> bool:
    """Whether state is saved after so many steps: at the end of an epoch, and of `save_every`."""
    return any(steps % every == 0 for every in (epoch, settings.save_every or epoch))


def sibling_checkpoint(checkpoint: Path, what: str) -> Path:
    """The file of something that leads to the training of a checkpoint."""
    return checkpoint.with_suffix(f".{what}{checkpoint.suffix}")


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write nested state (tensors and JSON data) and that of torch's generators.

    Raises:
        DataError: the disk is full.
    """
    tensors: dict[str, Tensor] = {}
    generators = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        generators["cuda"] = torch.cuda.get_rng_state()
    packed = json.dumps(_pack({**state, "generators": generators}, "", tensors))
    contiguous = {name: t.contiguous().clone() for name, t in tensors.items()}
    try:
        with new_file(path) as partial:
            save_file(contiguous, str(partial), {"state": packed})
    except OSError as error:
        fault = f"{path}: checkpoint not written: {error}; free disk space"
        raise DataError(fault) from error


@contextmanager
def read_state(path: Path) -> Iterator[dict[str, Any] | None]:
    """What `write_state` wrote, or None where nothing is; torch's generators go on from there.

    Raises:
        DataError: the file is damaged, or whoever takes it up within finds it of something else.
    """
    if not path.exists():
        yield None
        return
    try:
        with safe_open(str(path), "pt") as file:
            packed = json.loads(file.metadata()["state"])
        state: dict[str, Any] = _unpack(packed, load_file(str(path)))
        yield state
        torch.set_rng_state(state["generators"]["cpu"])
        if "cuda" in state["generators"] and torch.cuda.is_available():
            torch.cuda.set_rng_state(state["generators"]["cuda"])
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        fault = f"{path}: not a checkpoint of this network: {reason}; delete it"
        raise DataError(fault) from error


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

"""The state of a training or of a search on disk: weights, moments, random generators, history.

A checkpoint is one safetensors file that holds everything but tensors as JSON in its metadata;
nothing is pickled. A file is replaced atomically, so that a killed process leaves the previous one.
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
from recmtl.ranks import ranks
from recmtl.train.config import Training
from recmtl.train.optimizer import Optimizer
from recmtl.train.training_state import TrainingState, ValidationCheck

__all__ = ["Checkpoint", "read_state", "save_due", "sibling_checkpoint", "write_state"]


class Checkpoint:
    """Keeps the best weights in memory and, if there is a path, the whole state in one file.

    Args:
        model: the network in training.
        optimizer: its optimizer.
        path: of the file; with None nothing is written or read.
    """

    def __init__(self, model: Network, optimizer: Optimizer, *, path: Path | None) -> None:
        self.path, self.model, self.optimizer = path, model, optimizer
        self.best: dict[str, Tensor] = {}

    def keep_if_best(self, state: TrainingState) -> None:
        """Copy the weights if the newest check is the best so far, and mark it as the best."""
        if state.newest_is_best:
            state.best = len(state.checks) - 1
            self.best = {name: t.detach().clone() for name, t in self.model.state_dict().items()}

    def restore_best(self) -> None:
        """Copy the best weights back into the model, if there has been a check."""
        if self.best:
            self.model.load_state_dict(self.best)

    def save(self, state: TrainingState) -> None:
        """Write the state between two steps.

        Raises:
            DataError: the disk is full.
        """
        if self.path is None:
            return
        # From here on every rank has the mean of all, as it would after reading this file.
        state.loss = ranks().mean(torch.as_tensor(state.loss))
        history = {**asdict(state), "loss": float(state.loss)}
        write_state(
            self.path,
            {
                "model": self.model.state_dict(),
                "best": self.best,
                "optimizer": self.optimizer.state_dict(),
                "history": history,
            },
        )

    def load(self, state: TrainingState) -> None:
        """Restore the state if the file exists.

        Raises:
            DataError: the file is damaged or belongs to another network.
        """
        if self.path is None:
            return
        with read_state(self.path) as saved:
            if saved is None:
                return
            self.model.load_state_dict(saved["model"])
            self.best = saved["best"]
            self.optimizer.load_state_dict(saved["optimizer"])
            history = saved["history"]
            state.checks = [ValidationCheck.from_json(check) for check in history["checks"]]
            state.cpu_seconds = history.get("cpu_seconds", 0.0)  # 0.1 did not count them
            for name in ("best", "seconds", "rows", "loss", "steps"):
                setattr(state, name, history[name])
            for name in ("weights", "stretch"):  # older ones have none
                setattr(state, name, history.get(name, []))


def save_due(steps: int, *, epoch: int, settings: Training) -> bool:
    """Whether a checkpoint is due after `steps`: at the end of an epoch and every `save_every`."""
    return any(steps % every == 0 for every in (epoch, settings.save_every or epoch))


def sibling_checkpoint(checkpoint: Path, part: str) -> Path:
    """The checkpoint of a part of the work, `<name>.<part>.safetensors` beside the whole one.

    >>> sibling_checkpoint(Path("models/ple-0.safetensors"), "click").name
    'ple-0.click.safetensors'
    """
    return checkpoint.with_suffix(f".{part}{checkpoint.suffix}")


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write nested state (tensors and JSON data) and the state of torch's random generators.

    All ranks have the same state, and the first of them writes it.

    Raises:
        DataError: the disk is full.
    """
    if not ranks().is_first:
        return
    tensors: dict[str, Tensor] = {}
    generators = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        generators["cuda"] = torch.cuda.get_rng_state()
    packed = json.dumps(_pack({**state, "generators": generators}, "", tensors))
    contiguous = {name: t.contiguous().clone() for name, t in tensors.items()}
    try:
        with new_file(path) as partial:
            save_file(contiguous, str(partial), {"state": packed})
    except (OSError, SafetensorError) as error:
        fault = f"{path}: checkpoint not written: {error}; free disk space"
        raise DataError(fault) from error


@contextmanager
def read_state(path: Path) -> Iterator[dict[str, Any] | None]:
    """Yield what `write_state` wrote, or None if the file does not exist.

    Afterwards torch's random generators continue from the state in the file. Errors that the body
    raises while it loads the state count as those of a file that does not fit.

    Raises:
        DataError: the file is damaged or belongs to another network.
    """
    if not ranks().first(path.exists):
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

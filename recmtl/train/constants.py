"""What an image task costs without looking: the loss of the best constant prediction."""

from collections.abc import Sequence

import numpy as np

from recmtl.data.images.examples import ImageTask, Target

__all__ = ["constant_loss"]

LEAST = 1e-3
MOST_PIXELS = 2_000_000


def constant_loss(task: ImageTask, targets: Sequence[Target]) -> float:
    """The loss of `image_loss` for the best constant, at least 0.001; 1 where nothing is known.

    Entropy of the classes or labels, mean distance from the median of a map, `1 - |mean|` of
    normals.
    """
    flat = _known(task, targets)
    if flat.size == 0:
        return 1.0
    if task.kind in ("classification", "segmentation"):
        shares = np.bincount(flat.astype(np.int64), minlength=task.classes) / flat.size
        shares = shares[shares > 0]
        found = float(-(shares * np.log(shares)).sum())
    elif task.kind == "multilabel":
        rates = flat.mean(0).clip(1e-6, 1 - 1e-6)
        found = float(-(rates * np.log(rates) + (1 - rates) * np.log(1 - rates)).mean())
    elif task.kind == "normals":
        found = float(1.0 - np.linalg.norm(flat.mean(0)))
    else:
        found = float(np.abs(flat - np.median(flat, axis=0)).mean())
    return max(found, LEAST)


def _known(task: ImageTask, targets: Sequence[Target]) -> np.ndarray:
    """Values that are known: `[N]` classes, or `[N, channels]`."""
    if task.kind in ("classification", "segmentation"):
        flat = np.concatenate([np.asarray(target).reshape(-1) for target in targets])
        return flat[flat >= 0][:MOST_PIXELS]
    maps = [np.asarray(target, np.float64).reshape(task.classes, -1).T for target in targets]
    together = np.concatenate(maps)
    return together[~np.isnan(together).any(1)][:MOST_PIXELS]

"""The structure of results.json: every model, task and metric as mean, std and number of seeds."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["assemble"]

SeedMetrics = Mapping[int, Mapping[str, Mapping[str, float]]]


def assemble(
    metrics: Mapping[str, SeedMetrics],
    *,
    verdicts: Mapping[str, Mapping[str, Any]],
    cost: Mapping[str, Mapping[str, float | None]],
    fingerprint: str,
) -> dict[str, Any]:
    """Everything that results.json holds, ready for `json.dump(..., allow_nan=False)`.

    Args:
        metrics: model -> seed -> what `evaluate` returned for it (task -> metric -> value).
        verdicts: what `audit` returned.
        cost: model -> {parameters, multiply_adds, train_s, score_rows_per_s}.
        fingerprint: of data and schema.

    Returns:
        `fingerprint`; `tasks.<task>.<model>.<metric> = {mean, std, seeds}` with the sample standard
        deviation (0 with one seed) and the number of seeds on which the metric is defined;
        `tasks.<task>.verdict`; `verdicts`; `cost`. What is not defined (NaN, infinite) is None.
    """
    tasks: dict[str, dict[str, Any]] = {}
    for model, seeds in metrics.items():
        for task in _names(seeds.values()):
            by_seed = [found[task] for found in seeds.values() if task in found]
            tasks.setdefault(task, {})[model] = {
                metric: _summary([found[metric] for found in by_seed if metric in found])
                for metric in _names(by_seed)
            }
    for task, entry in tasks.items():
        if task in verdicts:
            entry["verdict"] = verdicts[task]["verdict"]
    result: dict[str, Any] = _plain(
        {"fingerprint": fingerprint, "tasks": tasks, "verdicts": verdicts, "cost": cost}
    )
    return result


def _names(mappings: Any) -> list[str]:
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))


def _summary(values: list[float]) -> dict[str, float | int | None]:
    known = np.array([value for value in values if math.isfinite(value)], dtype=np.float64)
    if len(known) == 0:
        return {"mean": None, "std": None, "seeds": 0}
    std = float(known.std(ddof=1)) if len(known) > 1 else 0.0
    return {"mean": float(known.mean()), "std": std, "seeds": len(known)}


def _plain(value: Any) -> Any:
    """The same value in JSON's own types: numpy scalars unpacked, NaN and infinity as None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

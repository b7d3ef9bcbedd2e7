"""The structure of results.json: every model, task and metric as mean, std and number of seeds."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["assemble", "strongest_opponent", "summary"]

SeedMetrics = Mapping[int, Mapping[str, Mapping[str, float]]]


def assemble(
    metrics: Mapping[str, SeedMetrics],
    *,
    verdicts: Mapping[str, Mapping[str, Any]],
    cost: Mapping[str, Mapping[str, float | None]],
    fingerprint: str,
    scores: Mapping[str, Mapping[int, float]] | None = None,
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Everything that results.json holds, ready for `json.dump(..., allow_nan=False)`.

    Args:
        metrics: model -> seed -> what `evaluate` returned for it (task -> metric -> value).
        verdicts: what `audit` returned.
        cost: model -> {parameters, multiply_adds, train_s, score_rows_per_s}.
        fingerprint: of data and schema.
        scores: model -> seed -> one number for all tasks.
        more: further entries.

    Returns:
        `fingerprint`; `tasks.<task>.<model>.<metric> = {mean, std, seeds}` with the sample standard
        deviation (0 with one seed) and the number of seeds on which the metric is defined;
        `tasks.<task>.verdict`; `verdicts`; `cost`; `score.<model> = {mean, std, seeds}`;
        and what is in `more`. What is not defined (NaN, infinite) is None.
    """
    tasks: dict[str, dict[str, Any]] = {}
    for model, seeds in metrics.items():
        for task in _names(seeds.values()):
            by_seed = [found[task] for found in seeds.values() if task in found]
            tasks.setdefault(task, {})[model] = {
                metric: summary([found[metric] for found in by_seed if metric in found])
                for metric in _names(by_seed)
            }
    for task, entry in tasks.items():
        if task in verdicts:
            entry["verdict"] = verdicts[task]["verdict"]
    score = {model: summary(list(seeds.values())) for model, seeds in (scores or {}).items()}
    parts = {"fingerprint": fingerprint, "tasks": tasks, "verdicts": verdicts}
    result: dict[str, Any] = _plain({**parts, "cost": cost, "score": score, **(more or {})})
    return result


def strongest_opponent(gains: Mapping[str, Any], opponents: Collection[str]) -> dict[str, Any]:
    """The strongest of some opponents: `model`, and the gain against it; empty without any.

    The strongest is picked by the very rows that judge it, which makes it look stronger than it is.

    Args:
        gains: one task's entry, or the mean's, of an `Audit`.
        opponents: names of models; those that were not audited are passed over.
    """
    known = {
        name: gain
        for name, gain in gains.items()
        if name in opponents and math.isfinite(gain["gain"])
    }
    if not known:
        return {}
    strongest = min(known, key=lambda name: float(known[name]["gain"]))
    return {"model": strongest, **known[strongest]}


def _names(mappings: Any) -> list[str]:
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))


def summary(values: Sequence[float]) -> dict[str, float | int | None]:
    """Mean, sample standard deviation and number of the values that are defined."""
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

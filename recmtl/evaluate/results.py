"""The content of results.json: every model, task and metric as mean, std and number of seeds."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["assemble", "plain", "strongest_opponent", "summary"]

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
    """The content of results.json, ready for `json.dump(..., allow_nan=False)`.

    Args:
        metrics: model -> seed -> task -> metric -> value, as `evaluate` returns them.
        verdicts: `tasks` of a `TransferVerdict`.
        cost: model -> {parameters, multiply_adds, train_s, cpu_s, score_rows_per_s}.
        fingerprint: of data and schema.
        scores: model -> seed -> one number for all tasks.
        more: further entries of the file.

    Returns:
        `fingerprint`; `tasks.<task>.<model>.<metric> = {mean, std, seeds}` with the sample standard
        deviation (0 with one seed) and the number of seeds on which the metric is defined;
        `tasks.<task>.verdict`; `verdicts`; `cost`; `score.<model> = {mean, std, seeds}`;
        and the entries of `more`. Numbers that are NaN or infinite become None.
    """
    tasks: dict[str, dict[str, Any]] = {}
    for model, seeds in metrics.items():
        for task in _names(seeds.values()):
            by_seed = [by_task[task] for by_task in seeds.values() if task in by_task]
            tasks.setdefault(task, {})[model] = {
                metric: summary([values[metric] for values in by_seed if metric in values])
                for metric in _names(by_seed)
            }
    for task, entry in tasks.items():
        if task in verdicts:
            entry["verdict"] = verdicts[task]["verdict"]
    score = {model: summary(list(seeds.values())) for model, seeds in (scores or {}).items()}
    parts = {"fingerprint": fingerprint, "tasks": tasks, "verdicts": verdicts}
    result: dict[str, Any] = plain({**parts, "cost": cost, "score": score, **(more or {})})
    return result


def strongest_opponent(gains: Mapping[str, Any], opponents: Collection[str]) -> dict[str, Any]:
    """The strongest of some opponents: `model` and the gain against it; empty if there is none.

    It is chosen on the same rows that judge it, so it looks stronger than it is.

    Args:
        gains: the entry of a task, or that of the mean, in a `TransferVerdict`.
        opponents: names of models; those without a gain are passed over.
    """
    judged = {
        name: gain
        for name, gain in gains.items()
        if name in opponents and math.isfinite(gain["gain"])
    }
    if not judged:
        return {}
    strongest = min(judged, key=lambda name: float(judged[name]["gain"]))
    return {"model": strongest, **judged[strongest]}


def _names(mappings: Iterable[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))


def summary(values: Sequence[float]) -> dict[str, float | int | None]:
    """Mean, sample standard deviation (0 for one) and number of the finite values.

    >>> summary([1.0, 3.0, float("nan")])["mean"]
    2.0
    """
    finite = np.array([value for value in values if math.isfinite(value)], dtype=np.float64)
    if len(finite) == 0:
        return {"mean": None, "std": None, "seeds": 0}
    std = float(finite.std(ddof=1)) if len(finite) > 1 else 0.0
    return {"mean": float(finite.mean()), "std": std, "seeds": len(finite)}


def plain(value: Any) -> Any:
    """The value in JSON's types: numpy scalars unpacked, NaN and infinity as None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value

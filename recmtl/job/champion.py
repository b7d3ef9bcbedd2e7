"""Whether a new bundle becomes champion: it must beat the present one on the new run's test rows.

Both bundles score the same raw test rows, and the paired test of `evaluate.transfer_test` compares
them task by task, by row or by group. The rule:

1. The new bundle is better than a constant: the interval of its mean gain lies above 0, and no task
   is worse than a constant.
2. If there is a champion, no task is worse than the champion's, and either at least one is better,
   or none is, the mean falls behind by at most `EQUAL`, and the new bundle has fewer multiply-adds.

"Worse" and "better" mean that the whole interval lies on that side of 0. Test rows of the new run
may have been training rows of the champion; that can only be in the champion's favour.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recmtl.data.encoded_log import EncodedLog
from recmtl.errors import BundleError, DataError
from recmtl.evaluate.transfer_test import TransferVerdict, judge_transfer
from recmtl.job.analysis.raw_scores import Scores, scores_of_part
from recmtl.job.fit import ModelResult
from recmtl.job.outcome import metric_groups
from recmtl.job.problem_kind import LOG
from recmtl.report.tables import format_gain
from recmtl.serve.bundle import Bundle, load_bundle
from recmtl.tracking.champion import ChampionDecision

__all__ = [
    "CANDIDATE",
    "CONSTANT",
    "EQUAL",
    "PRESENT",
    "decide",
    "judge_champion",
    "require_same_tasks",
]

EQUAL = 0.005
"""How far the mean over the tasks may fall behind, at the low end of its interval, and be equal."""
CANDIDATE, PRESENT, CONSTANT = "candidate", "champion", "constant"


def judge_champion(
    present: Path | None, alive: Callable[[float], None], *, out: Path, data: str
) -> ChampionDecision:
    """Compare the bundle in an output folder with the present champion and with a constant.

    Args:
        present: the champion's bundle; None if there is none.
        alive: called while it works.
        out: the output folder, with `log/`, `models/` and `bundle/`.
        data: the raw log that was prepared there.

    Raises:
        RecmtlError: the data or a bundle cannot be read, or the champion has other tasks.
    """
    bundles = {CANDIDATE: load_bundle(out / "bundle")}
    if present is not None:
        bundles[PRESENT] = load_bundle(present)
        if bundles[PRESENT].fingerprint == bundles[CANDIDATE].fingerprint:
            return ChampionDecision(False, "left: the champion is this very bundle")
        require_same_tasks(bundles)
    log = EncodedLog.open(out / LOG)
    rows, tasks = log.split("test"), log.schema.tasks
    scores = {CONSTANT: _constant(out), **scores_of_part(bundles, log, data, alive=alive)}
    verdict = judge_transfer(
        {name: {0: columns} for name, columns in scores.items()},
        np.asarray(rows.labels),
        tasks,
        group=metric_groups(rows.group),
        weight=np.asarray(rows.weight_by_task),
        subject=CANDIDATE,
        decisive=CONSTANT if present is None else PRESENT,
        fixed=tuple(scores),  # these very bundles are compared, not trainings like theirs
    )
    cost = {name: float(bundle.model.cost().multiply_adds) for name, bundle in bundles.items()}
    return decide(verdict, cost)


def decide(verdict: TransferVerdict, cost: Mapping[str, float]) -> ChampionDecision:
    """Apply the rule of this module.

    Args:
        verdict: of `candidate` against `constant` and, if there is one, `champion`.
        cost: multiply-adds an example of the candidate and the champion.
    """
    figures = _figures(verdict, cost)
    promote, reason = _beats_constant(verdict)
    if promote and PRESENT in cost:
        promote, reason = _beats_champion(verdict, cost)
    return ChampionDecision(promote, f"{'promoted' if promote else 'left'}: {reason}", figures)


def _beats_constant(verdict: TransferVerdict) -> tuple[bool, str]:
    worse, mean = _tasks(verdict, CONSTANT, "hurt"), verdict.mean.get(CONSTANT)
    if worse:
        return False, f"worse than a constant on {', '.join(worse)}"
    if mean is None or mean["verdict"] != "helped":
        return False, f"not proven better than a constant (mean gain {format_gain(mean)})"
    return True, f"there was no champion, and a constant is beaten by {format_gain(mean)}"


def _beats_champion(verdict: TransferVerdict, cost: Mapping[str, float]) -> tuple[bool, str]:
    worse, better = (_tasks(verdict, PRESENT, what) for what in ("hurt", "helped"))
    if worse:
        return False, f"worse than the champion on {', '.join(worse)}"
    if better:
        return True, f"better than the champion on {', '.join(better)}, worse on no task"
    mean = verdict.mean[PRESENT]
    is_equal = mean["low"] >= -EQUAL
    if is_equal and cost[CANDIDATE] < cost[PRESENT]:
        share = cost[CANDIDATE] / cost[PRESENT]
        return True, f"equal to the champion with {share:.0%} of its multiply-adds"
    likeness = "equal to the champion, and not cheaper" if is_equal else "not proven better"
    return False, f"{likeness} (mean gain {format_gain(mean)})"


def _tasks(verdict: TransferVerdict, opponent: str, what: str) -> list[str]:
    return [task for task, gains in verdict.tasks.items() if gains[opponent]["verdict"] == what]


def _figures(verdict: TransferVerdict, cost: Mapping[str, float]) -> dict[str, str]:
    """Gains over each opponent by task and on the mean, and costs, as text."""
    figures = {f"multiply_adds.{name}": f"{value:.0f}" for name, value in cost.items()}
    gains_by_task: dict[str, Mapping[str, Any]] = {**verdict.tasks, "mean": verdict.mean}
    for opponent in (PRESENT, CONSTANT):
        for task, gains in gains_by_task.items():
            if opponent in gains:
                gain = gains[opponent]
                figures[f"over_{opponent}.{task}"] = f"{format_gain(gain)}, {gain['verdict']}"
    return figures


def require_same_tasks(bundles: Mapping[str, Bundle]) -> None:
    """Raise a `BundleError` unless `CANDIDATE` and `PRESENT` score the same columns."""
    ours, theirs = (set(bundles[name].model.columns) for name in (CANDIDATE, PRESENT))
    if ours != theirs:
        differ = ", ".join(sorted(ours ^ theirs)[:5])
        raise BundleError(f"the champion has other tasks: {differ}; promote with --promote always")


def _constant(out: Path) -> Scores:
    """What the constant that was fitted on train rows predicts for the test rows."""
    for folder in sorted((out / "models" / CONSTANT).glob("*")):
        result = ModelResult.load(folder)
        if result is not None:
            return result.predictions
    raise DataError(f"{out / 'models'}: holds no constant to compare with; run the job again")

"""What bundles score on a day before anything learns from it, with the labels that came after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from safetensors.numpy import load_file, save_file

from recmtl.atomic import new_file, reading
from recmtl.daily.rolling.day_files import Day
from recmtl.data.columns.labels import Labels, LabelStatistics
from recmtl.data.counted_log import CountedBatch, CountedLog
from recmtl.data.passes.encode import group_codes
from recmtl.data.reader import open_log
from recmtl.schema import Schema
from recmtl.serve.bundle import load_bundle
from recmtl.serve.scoring.scorer import Scorer

__all__ = ["DayScores", "RolledDay", "score_day"]

LABELS, WEIGHT, GROUP = "labels", "weight", "group"


@dataclass(frozen=True)
class DayScores:
    """The rows of a day that count, and their scores.

    Attributes:
        labels: float32 [R, T], NaN where a task is not defined.
        weight: float64 [R], above 0; [R, T] where tasks have their own.
        group: int64 [R]; None without a group role.
        scores: strategy -> scored column -> values [R].
    """

    labels: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float64]
    group: npt.NDArray[np.int64] | None
    scores: dict[str, dict[str, npt.NDArray[np.float32]]]

    def save(self, path: Path) -> None:
        """Write one file atomically."""
        tensors = {LABELS: self.labels, WEIGHT: self.weight}
        if self.group is not None:
            tensors[GROUP] = self.group
        for name, columns in self.scores.items():
            tensors |= {f"{name}/{column}": values for column, values in columns.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        with new_file(path) as partial:
            save_file({n: np.ascontiguousarray(t) for n, t in tensors.items()}, str(partial))

    @classmethod
    def load(cls, path: Path) -> "DayScores":
        """Read what `save` wrote; raises `DataError` if it is damaged."""
        with reading(path, remedy="delete it, so that the day is scored again"):
            tensors = load_file(str(path))
            labels, weight, group = (
                tensors.pop(LABELS),
                tensors.pop(WEIGHT),
                tensors.pop(GROUP, None),
            )
            scores: dict[str, dict[str, npt.NDArray[np.float32]]] = {}
            for name, values in tensors.items():
                strategy, _, column = name.partition("/")
                scores.setdefault(strategy, {})[column] = values
        return cls(labels, weight, group, scores)


@dataclass(frozen=True)
class RolledDay:
    """A day that was scored, and what the strategies did after it.

    Attributes:
        day: the day.
        scores: of all strategies.
        refreshes: strategy -> JSON: `cpu_s`, the `days` learned from, `failed` with the reason.
    """

    day: Day
    scores: DayScores
    refreshes: dict[str, dict[str, Any]]


def score_day(
    bundles: Mapping[str, Path],
    day: Day,
    schema: Schema,
    statistics: Mapping[str, LabelStatistics],
) -> DayScores:
    """Score the raw rows of a day with the bundle of every strategy, as in service.

    Args:
        bundles: strategy -> the folder of its present bundle; each is loaded once.
        day: the day.
        schema: of the day's file.
        statistics: of the labels of the first log, which say what classes there are.

    Raises:
        DataError: a label is not what the schema says.
    """
    scorers = {f: Scorer(load_bundle(f), record=False) for f in dict.fromkeys(bundles.values())}
    inputs = [column for scorer in scorers.values() for column in scorer.input_columns]
    columns = tuple(dict.fromkeys([*schema.other_columns(), *inputs]))
    log = open_log(day.file, formulas=schema.formulas)
    labels, rows = Labels(schema, dict(statistics)), list[CountedBatch]()
    by_folder: dict[Path, list[npt.NDArray[np.float32]]] = {folder: [] for folder in scorers}
    encoded = []
    weights = []
    for batch in CountedLog(log, schema.roles.sample_weight).batches(columns):
        encoded.append(labels.encode(batch.columns, batch.place))
        every = np.ones(batch.rows) if batch.weight is None else batch.weight
        by_task = labels.weights(encoded[-1], batch.columns, batch.place, every)
        weights.append(by_task if by_task.shape[1] else every)
        rows.append(batch)
        for folder, scorer in scorers.items():
            by_folder[folder].append(scorer.scores(pa.table(batch.columns)))
    whole = {folder: np.concatenate(parts) for folder, parts in by_folder.items()}
    return DayScores(
        np.concatenate(encoded),
        np.concatenate(weights),
        _groups(schema, rows),
        {
            name: dict(zip(scorers[folder].columns, whole[folder].T, strict=True))
            for name, folder in bundles.items()
        },
    )


def _groups(schema: Schema, batches: Sequence[CountedBatch]) -> npt.NDArray[np.int64] | None:
    """A code for each row, equal within a group, as in an encoded log; None without a role."""
    if schema.roles.group is None:
        return None
    return np.concatenate([group_codes(schema, batch) for batch in batches])

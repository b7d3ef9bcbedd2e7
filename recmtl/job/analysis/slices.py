"""Slices: how each task does on the test rows of one kind, such as new users or rare items.

A categorical feature with few values has a slice a value; one with many, such as a user's id, is
cut by how often the train rows held the value, from those that training has never seen. A number is
cut into quarters. Slices show where a network is weak; nothing is chosen by them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from recmtl.data.encoded_log import EncodedLog
from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import ConfigError, did_you_mean
from recmtl.evaluate.label_space import defined_rows, scores_of, task_position, weight_of
from recmtl.evaluate.measured import Grouped, primary_measure
from recmtl.evaluate.results import plain, summary
from recmtl.evaluate.transfer_test import judge_transfer
from recmtl.job.handed_on import TrainedModels
from recmtl.job.outcome import UNSEEDED, metric_groups
from recmtl.schema import TaskSpec
from recmtl.train.config import Config

__all__ = ["check_slices", "slices"]

MODELS = ("searched", "single_task", "lightgbm")
"""The model that is looked into, and those that it is compared with."""
MOST_VALUES = 12
"""Values of a feature with a slice each; where there are more, they are cut by their frequency."""
USUAL_SLICED = 2
BANDS = (10, 100, 1000)
"""Bounds of the number of train rows that held a value."""
Slice = tuple[str, npt.NDArray[np.bool_]]


def check_slices(config: Config, encoder: RowEncoder) -> None:
    """Refuse slices by what is no feature, or by ids that stand for no one value.

    Raises:
        ConfigError: `report.slices` names something else.
    """
    encoding = encoder.encoding
    usable = [*_sliced_ids(encoder), *(field.name for field in encoding.numeric)]
    for name in config.report.slices or ():
        if name not in usable:
            raise ConfigError(
                f"report.slices names {name!r}, which is no categorical or numeric feature with "
                f"values of its own{did_you_mean(name, usable)}"
            )


def slices(trained: TrainedModels) -> list[dict[str, Any]]:
    """Every task on the test rows of each slice.

    Returns:
        For each feature `feature`, `by` (`value`, `train rows` or `quarter`) and `slices`, each
        with `name`, `rows`, `share` of the test rows, and `tasks`: task -> `rows`, `metric`,
        `models` (model -> mean, std and seeds of the metric) and the gain over each other model, as
        in `verdicts` of results.json.
    """
    log, encoder = trained.prepared.log, trained.prepared.encoder
    chosen = trained.study.config.report.slices
    names = _usual(encoder) if chosen is None else chosen
    entries = []
    for name in names:
        by, parts = _cut(log, encoder, name)
        judged = [_judged(trained, part) for part in parts if part[1].any()]
        entries.append({"feature": name, "by": by, "slices": judged})
    result: list[dict[str, Any]] = plain(entries)
    return result


def _sliced_ids(encoder: RowEncoder) -> list[str]:
    """The categorical features with a vocabulary, hashed ones left out."""
    single = encoder.encoding.single
    return [name for name in single if encoder.vocabulary_of(name).buckets is None]


def _usual(encoder: RowEncoder) -> list[str]:
    """The categorical features with the most values, if there are more values than slices."""
    sizes = {name: encoder.vocabulary_of(name).rows for name in _sliced_ids(encoder)}
    many = [name for name, rows in sizes.items() if rows > MOST_VALUES]
    return sorted(many, key=lambda name: -sizes[name])[:USUAL_SLICED]


def _cut(log: EncodedLog, encoder: RowEncoder, name: str) -> tuple[str, list[Slice]]:
    """How a feature is cut, and its slices."""
    encoding = encoder.encoding
    if name in encoding.single:
        ids = np.asarray(log.split("test").ids[:, encoding.single.index(name)])
        vocabulary = encoder.vocabulary_of(name)
        place = ids - vocabulary.first - 1
        if vocabulary.counts is None or len(vocabulary.values) <= MOST_VALUES:
            return "value", list(_by_value(place, vocabulary.values.to_pylist()))
        counts = np.append(vocabulary.counts, 0)[place]  # place -1, the unknown row, is the last
        return "train rows", list(_by_count(counts))
    column = [field.name for field in encoding.numeric].index(name)
    train, test = (np.asarray(log.split(part).numeric[:, column]) for part in ("train", "test"))
    return "quarter", list(_by_quarter(train, test))


def _by_value(place: npt.NDArray[Any], values: Sequence[object]) -> Iterator[Slice]:
    shown = values[:MOST_VALUES]  # the most frequent first
    for number, value in enumerate(shown):
        yield str(value), place == number
    yield "all other values", place >= len(shown)
    yield "missing or not known from training", place < 0


def _by_count(counts: npt.NDArray[np.int64]) -> Iterator[Slice]:
    yield "not known from training", counts == 0
    bounds = (1, *BANDS)
    for low, high in zip(bounds, BANDS, strict=False):
        yield f"in {low:,} to {high - 1:,} train rows", (counts >= low) & (counts < high)
    yield f"in {BANDS[-1]:,} train rows or more", counts >= BANDS[-1]


def _by_quarter(train: npt.NDArray[Any], test: npt.NDArray[Any]) -> Iterator[Slice]:
    """Quarters of the train values; values that stand for more than a quarter widen one of them."""
    edges = np.nanquantile(train, (0.25, 0.5, 0.75)) if np.isfinite(train).any() else np.zeros(3)
    quarter = np.searchsorted(edges, test, side="left")
    for number, name in enumerate(("lowest", "second", "third", "highest")):
        yield f"{name} quarter", (quarter == number) & ~np.isnan(test)
    yield "missing", np.isnan(test)


def _judged(trained: TrainedModels, part: Slice) -> dict[str, Any]:
    """The tasks on the rows of a slice."""
    name, chosen = part
    study, rows = trained.study, np.flatnonzero(chosen)
    test, tasks = study.problem.test, study.problem.tasks
    labels, weight = np.asarray(test.labels)[rows], np.asarray(test.weight_by_task)[rows]
    group = metric_groups(test.group)
    predictions = {
        model: {
            seed: {column: scores[rows] for column, scores in result.predictions.items()}
            for seed, result in trained.models[model].items()
        }
        for model in MODELS
        if model in trained.models
    }
    evidence = study.config.evidence
    verdict = judge_transfer(
        predictions,
        labels,
        tasks,
        group=None if group is None else group[rows],
        weight=weight,
        resamples=evidence.bootstrap,
        fixed=UNSEEDED,
        false_discovery=evidence.false_discovery,
    )
    entries = {}
    for task in tasks:
        gains = {model: verdict.tasks[task.name].get(model) for model in MODELS[1:]}
        entries[task.name] = {
            "rows": verdict.tasks[task.name]["rows"],
            "metric": verdict.tasks[task.name]["metric"],
            "models": _metrics(predictions, labels, Grouped(test.group[rows], weight), tasks, task),
            **{model: gain for model, gain in gains.items() if gain is not None},
        }
    return {"name": name, "rows": len(rows), "share": len(rows) / len(chosen), "tasks": entries}


def _metrics(
    predictions: Mapping[str, Mapping[int, Mapping[str, npt.NDArray[Any]]]],
    labels: npt.NDArray[Any],
    groups: Grouped,
    tasks: Sequence[TaskSpec],
    task: TaskSpec,
) -> dict[str, Any]:
    """Model -> the summary over its seeds of the task's primary metric."""
    defined = defined_rows(labels, tasks, task)
    position = task_position(tasks, task.name)
    label, weights = labels[defined, position], weight_of(groups.weight, position)[defined]
    if not len(label):
        return {}
    of_rows = Grouped(groups.group[defined], weights)
    values = {
        model: [
            float(
                primary_measure(
                    task.judged_as, label, scores_of(columns, tasks, task)[defined], of_rows
                )(weights[:, np.newaxis].astype(np.float64))[0]
            )
            for columns in seeds.values()
        ]
        for model, seeds in predictions.items()
    }
    return {model: summary(of_seeds) for model, of_seeds in values.items()}

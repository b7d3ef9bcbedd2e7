"""Forests grown on an encoded log, in a folder beside it.

    forests/              the forests, as a bundle holds them
    <part>/numeric.npy    the log's numeric columns with those of the trees, memory-mapped
    <part>/logits.npy     what the forests say, as plain numbers; of train rows out of fold
    grown.json            of which log, with which settings, hashes of the forests, cost

The folder is whole or absent, and used again where log, settings and seed are the same.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recmtl.atomic import new_folder, read_json, write_json
from recmtl.data.columns.numeric import NumericFit, Scaler
from recmtl.data.encoded_log import (
    EncodedLog,
    LogSplit,
    new_array,
    refuse_full_disk,
    write_faults_as_data_error,
)
from recmtl.data.encoding import Encoding
from recmtl.errors import ConfigError, DataError
from recmtl.forest.columns import ForestColumns
from recmtl.forest.cost import forest_cost
from recmtl.forest.forests import Forests, TaskForest
from recmtl.forest.out_of_fold import ForestGrower, fold_rule, folds_of
from recmtl.forest.settings import Trees
from recmtl.forest.text import mean_text
from recmtl.memory import release_pages
from recmtl.paths import content_hash
from recmtl.schema import Numeric

__all__ = ["GrownForests", "grow_forests", "kept_forests"]

PARTS = ("train", "validation", "test")
AT_ONCE = 65_536
OnProgress = Callable[[str, int, int], None]
GROW_AGAIN = "delete the folder, so that its forests are grown again"


@dataclass(frozen=True)
class GrownForests:
    """The forests of a log, and its rows with their numbers.

    Attributes:
        folder: where they are.
        log: on which they were grown.
        forests: that serve.
        cost: `grow_cpu_s`, and what `recmtl.forest.cost.forest_cost` says.
    """

    folder: Path
    log: EncodedLog
    forests: Forests
    cost: Mapping[str, float]

    @property
    def encoding(self) -> Encoding:
        """Of the log's columns and those of the trees."""
        encoding = self.log.encoding
        return replace(encoding, numeric=(*encoding.numeric, *self.forests.fields))

    def split(self, part: str) -> LogSplit:
        """The rows of a part of the log, with the numbers of the trees."""
        numeric = np.load(self.folder / part / "numeric.npy", mmap_mode="r", allow_pickle=False)
        return replace(self.log.split(part), numeric=numeric)

    def logits(self, part: str) -> NDArray[np.float64]:
        """What the forests say of the rows of a part, `[R, fields]`."""
        path = self.folder / part / "logits.npy"
        logits: NDArray[np.float64] = np.load(path, mmap_mode="r", allow_pickle=False)
        return logits


def grow_forests(
    log: EncodedLog,
    folder: Path,
    settings: Trees,
    *,
    threads: int,
    seed: int,
    on_progress: OnProgress = lambda what, done, total: None,
) -> GrownForests:
    """Grow the forests of a log, or open them if they were grown before.

    Args:
        log: the encoded log.
        folder: where they go; forests of another log or of other settings are replaced.
        settings: how they are grown.
        threads: forests that are grown at the same time, on one core each.
        seed: of LightGBM.
        on_progress: called with (what was grown, forests done, forests in all).

    Raises:
        ConfigError: a feature has the name of a tree's field.
        DataError: no task has train labels that differ, the disk is full, or what is in the folder
            is damaged.
    """
    identity = {"log": log.fingerprint, "settings": asdict(settings), "seed": seed}
    if (grown := _opened(log, folder, identity)) is not None:
        return grown
    with write_faults_as_data_error(folder), new_folder(folder) as partial:
        began = time.process_time()
        forests, of_train = _grow(log, settings, threads, seed, on_progress)
        forests = _written(log, forests, of_train, partial)
        cost = _cost(log, forests, time.process_time() - began)
        _close(partial, identity, cost)
    return GrownForests(folder, log, forests, cost)


def kept_forests(log: EncodedLog, folder: Path, forests: Forests) -> GrownForests:
    """Forests that were grown on an earlier log, and their numbers of every row of this one.

    They have seen none of its labels, so that a train row gets what any other row gets.

    Args:
        log: the encoded log.
        folder: where forests and numbers go; those of another log or other forests are replaced.
        forests: of the log's columns.

    Raises:
        DataError: the disk is full, or what is in the folder is damaged.
    """
    texts = "".join(forest.text for forest in forests.forests)
    identity = {"log": log.fingerprint, "kept": hashlib.blake2b(texts.encode()).hexdigest()}
    if (grown := _opened(log, folder, identity)) is not None:
        return grown
    with write_faults_as_data_error(folder), new_folder(folder) as partial:
        forests = _written(log, forests, None, partial)
        cost = _cost(log, forests, 0.0)
        _close(partial, identity, cost)
    return GrownForests(folder, log, forests, cost)


def _opened(log: EncodedLog, folder: Path, identity: Mapping[str, Any]) -> GrownForests | None:
    """What the folder holds if it is of this identity, else None."""
    if not (folder / "grown.json").is_file():
        return None
    facts = read_json(folder / "grown.json", remedy=GROW_AGAIN)
    if {name: facts.get(name) for name in identity} != identity:
        return None
    if _hashes(folder / "forests") != facts.get("files"):
        raise DataError(f"{folder}: its forests are not those that were grown; {GROW_AGAIN}")
    forests = Forests.load(folder / "forests", log.encoding)
    return GrownForests(folder, log, forests, facts["cost"])


def _written(
    log: EncodedLog, forests: Forests, of_train: NDArray[np.float64] | None, folder: Path
) -> Forests:
    """Write the forests and their numbers; what was written is what answers, as in a bundle."""
    (folder / "forests").mkdir()
    forests.save(folder / "forests")
    forests = Forests.load(folder / "forests", log.encoding)
    _write_numbers(log, forests, of_train, folder)
    return forests


def _cost(log: EncodedLog, forests: Forests, grow_s: float) -> dict[str, float]:
    return {"grow_cpu_s": grow_s, **forest_cost(forests, log.split("validation"))}


def _close(folder: Path, identity: Mapping[str, Any], cost: Mapping[str, float]) -> None:
    facts = {**identity, "files": _hashes(folder / "forests"), "cost": cost}
    write_json(folder / "grown.json", facts)


def _hashes(folder: Path) -> dict[str, str]:
    return {path.name: content_hash(path) for path in sorted(folder.iterdir())}


def _grow(
    log: EncodedLog, settings: Trees, threads: int, seed: int, on_progress: OnProgress
) -> tuple[Forests, NDArray[np.float64]]:
    """The forests, with the scalers of their fields, and the train rows' logits."""
    tasks, train = log.schema.tasks, log.split("train")
    classes = {t.name: tuple(map(str, log.label_statistics[t.name].classes)) for t in tasks}
    columns = ForestColumns.fit(train.ids, log.encoding, largest_category=settings.largest_category)
    folds = folds_of(train, settings.folds, fold_rule(log.schema))
    grower = ForestGrower(train, log.split("validation"), tasks, columns, folds, settings, seed)
    forests, logits = list[TaskForest](), list[NDArray[np.float64]]()
    # Each forest on one core: LightGBM's threads wait for one another where others work, too.
    pool = ThreadPoolExecutor(threads)
    try:
        of_folds = {
            t.name: [
                pool.submit(grower.of_fold, t, classes[t.name], fold)
                for fold in range(settings.folds)
            ]
            for t in tasks
        }
        futures = list(chain(*of_folds.values()))
        for done, future in enumerate(as_completed(futures), 1):
            future.result()
            on_progress("forests", done, len(futures))
    finally:
        pool.shutdown(cancel_futures=True)
    for task in tasks:
        parts = [future.result() for future in of_folds[task.name]]
        members = [part.forest for part in parts if part.forest is not None]
        if members:
            answers = np.empty((len(train), len(members[0].fields)))
            for fold, part in enumerate(parts):
                answers[folds == fold] = part.logits
            text = mean_text([member.text for member in members])
            forests.append(replace(members[0], text=text))
            logits.append(answers)
    if not forests:
        raise DataError(f"{log.folder}: no task has train labels that differ; grow no trees")
    of_train = np.concatenate(logits, 1)
    names = [name for forest in forests for name in forest.fields]
    _refuse_names(names, log.encoding)
    scalers = map(_scaler, names, of_train.T)
    return Forests(columns, tuple(forests), tuple(scalers)), of_train


def _refuse_names(names: Sequence[str], encoding: Encoding) -> None:
    for name in names:
        if name in encoding.fields:
            raise ConfigError(
                f"trees: the schema has a feature {name!r}, the name of a tree's field; rename it"
            )


def _scaler(name: str, logits: NDArray[np.float64]) -> Scaler:
    fit = NumericFit(Numeric(name, name))
    fit.add(logits)
    return fit.finish()


def _write_numbers(
    log: EncodedLog, forests: Forests, of_train: NDArray[np.float64] | None, folder: Path
) -> None:
    """Write the arrays of every part, some rows at a time; `of_train` are logits out of fold."""
    fields = len(forests.fields)
    row_bytes = 8 * fields + 4 * (log.encoding.numeric_columns + fields)
    refuse_full_disk(folder, sum(log.manifest["rows"].values()) * row_bytes)
    for part in PARTS:
        split = log.split(part)
        (folder / part).mkdir()
        with ExitStack() as stack:
            widths = {"numeric": split.numeric.shape[1] + fields, "logits": fields}
            numeric, logits = (
                stack.enter_context(
                    new_array(folder / part / f"{name}.npy", kind, (len(split), widths[name]))
                )
                for name, kind in (("numeric", np.float32), ("logits", np.float64))
            )
            for first in range(0, len(split), AT_ONCE):
                rows_now = slice(first, first + AT_ONCE)
                ids, numbers = split.ids[rows_now], np.asarray(split.numeric[rows_now])
                if part == "train" and of_train is not None:
                    answers = of_train[rows_now]
                else:
                    answers = forests.logits(ids, numbers)
                logits.write(np.ascontiguousarray(answers).data)
                every = log.encoding.with_numbers(numbers, forests.encoded(answers))
                numeric.write(np.ascontiguousarray(every).data)
                release_pages(split.ids)
                release_pages(split.numeric)

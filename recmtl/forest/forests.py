"""Fitted forests: encoded rows to the numbers that a network hears of them.

A forest's answer for a row is its logit: the log odds of a binary task (given its parent's event,
in a funnel), the log probability of each class of a multiclass task, the value of a regression on
the scale on which it is trained. The answer depends on that row alone, bit for bit.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import lightgbm
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.special import log_softmax

from recmtl.data.columns.numeric import Scaler
from recmtl.data.encoding import Encoding, NumericField
from recmtl.errors import DataError
from recmtl.forest.columns import Codes, ForestColumns
from recmtl.forest.grow import leaves
from recmtl.forest.text import check_forest_text

__all__ = ["Forests", "TaskForest", "tree_fields"]

FORESTS, CODES = "forests.json", "codes.safetensors"
UNREADABLE = (
    *(OSError, KeyError, TypeError, ValueError, OverflowError),
    *(SafetensorError, lightgbm.basic.LightGBMError),
)


def tree_fields(task: str, classes: Sequence[str]) -> tuple[str, ...]:
    """The fields of a task's forest: one, or one a class.

    >>> tree_fields("click", ()), tree_fields("stars", ("1", "2"))
    (('click.tree',), ('stars.tree.1', 'stars.tree.2'))
    """
    return tuple(f"{task}.tree.{name}" for name in classes) or (f"{task}.tree",)


@dataclass(frozen=True)
class TaskForest:
    """The forest of one task.

    Attributes:
        task: the task.
        classes: of a multiclass task, in the order of the label's indices; otherwise none.
        text: the trees, as LightGBM writes them.
    """

    task: str
    classes: tuple[str, ...]
    text: str

    @cached_property
    def booster(self) -> lightgbm.Booster:
        """The trees, as LightGBM reads them."""
        return lightgbm.Booster(model_str=self.text)

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of its logits."""
        return tree_fields(self.task, self.classes)

    def logits(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Columns `[R, F]` to logits `[R, fields]`."""
        # On one thread: more would start OpenMP's own, which a forked process lacks, and callers
        # use the cores by asking for several chunks at the same time.
        raw = np.asarray(self.booster.predict(x, raw_score=True, num_threads=1))
        logits: NDArray[np.float64] = log_softmax(raw, 1) if self.classes else raw.reshape(-1, 1)
        return logits

    @property
    def leaves(self) -> int:
        """Leaves of all its trees."""
        return leaves(self.booster)


@dataclass(frozen=True)
class Forests:
    """One forest a task, and how their logits are encoded as fields of a network.

    Attributes:
        columns: encoded rows to what the trees split.
        forests: of the tasks that have one.
        scalers: of the fields, in the order of the forests.
    """

    columns: ForestColumns
    forests: tuple[TaskForest, ...]
    scalers: tuple[Scaler, ...]

    @cached_property
    def fields(self) -> tuple[NumericField, ...]:
        """The numeric fields that a network has in addition, after all others."""
        return tuple(NumericField(s.name, s.field_encoding, s.bins) for s in self.scalers)

    def places(self, tasks: Sequence[str]) -> tuple[tuple[int, ...], ...]:
        """For each of the tasks the places of its logits among the fields, or none."""
        first, places = 0, dict[str, tuple[int, ...]]()
        for forest in self.forests:
            places[forest.task] = tuple(range(first, first + len(forest.fields)))
            first += len(forest.fields)
        return tuple(places.get(task, ()) for task in tasks)

    @cached_property
    def leaves(self) -> int:
        """Leaves of all trees: the numbers that were fitted."""
        return sum(forest.leaves for forest in self.forests)

    def logits(self, ids: NDArray[np.int32], numeric: NDArray[np.float32]) -> NDArray[np.float64]:
        """The logits `[R, fields]` of encoded ids `[R, I]` and numbers `[R, N]`."""
        if not len(ids):
            return np.empty((0, len(self.scalers)))
        x = self.columns.matrix(ids, numeric)
        return np.concatenate([forest.logits(x) for forest in self.forests], 1)

    def encoded(self, logits: NDArray[np.float64]) -> NDArray[np.float32]:
        """Logits `[R, fields]` as numbers of a network."""
        columns = [s.transform(column) for s, column in zip(self.scalers, logits.T, strict=True)]
        return np.stack(columns, 1)

    def with_trees(
        self, ids: NDArray[np.int32], numeric: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """The numbers `[R, N + fields]` that a network hears of encoded rows."""
        return np.concatenate([numeric, self.encoded(self.logits(ids, numeric))], 1)

    def grown(self, starts: NDArray[np.int64], encoding: Encoding) -> "Forests":
        """The same trees over the columns of a grown encoder; see `ForestColumns.grown`."""
        return Forests(self.columns.grown(starts, encoding), self.forests, self.scalers)

    def save(self, folder: Path) -> None:
        """Write `forests.json`, `codes.safetensors` and `<number>.txt` of each forest.

        The trees are LightGBM's text; nothing is executable.
        """
        codes = {f"{i}.{c.first}": c.code for i, c in enumerate(self.columns.codes)}
        save_file(codes, str(folder / CODES))
        document = {
            "largest_category": self.columns.largest_category,
            "forests": [{"task": f.task, "classes": list(f.classes)} for f in self.forests],
            "scalers": [scaler.to_json() for scaler in self.scalers],
        }
        (folder / FORESTS).write_text(json.dumps(document, indent=1), encoding="utf-8")
        for number, forest in enumerate(self.forests):
            (folder / f"{number}.txt").write_text(forest.text, encoding="utf-8")

    @staticmethod
    def load(folder: Path, encoding: Encoding) -> "Forests":
        """Read what `save` wrote; `encoding` is that of the rows, without trees.

        Raises:
            DataError: it is not all there, or does not fit the rows.
        """
        try:
            document = json.loads((folder / FORESTS).read_text(encoding="utf-8"))
            columns = _columns(folder, encoding, int(document["largest_category"]))
            forests = tuple(
                TaskForest(
                    str(entry["task"]),
                    tuple(entry["classes"]),
                    (folder / f"{number}.txt").read_text(encoding="utf-8"),
                )
                for number, entry in enumerate(document["forests"])
            )
            scalers = [Scaler.from_json(entry) for entry in document["scalers"]]
            loaded = Forests(columns, forests, tuple(scalers))
            _refuse_misfit(folder, loaded, encoding)
            for forest in forests:
                forest.booster.num_trees()  # now, rather than in the middle of a request
        except UNREADABLE as fault:
            reason = " ".join(f"not complete forests ({fault})".split())
            raise DataError(f"{folder}: {reason}; grow them again") from fault
        return loaded


def _columns(folder: Path, encoding: Encoding, largest_category: int) -> ForestColumns:
    by_number: Mapping[int, Codes] = {
        int(number): Codes(int(first), code)
        for name, code in load_file(str(folder / CODES)).items()
        for number, _, first in [name.partition(".")]
    }
    codes = tuple(by_number[number] for number in range(len(by_number)))
    return ForestColumns(codes, encoding.lists, largest_category)


def _refuse_misfit(folder: Path, forests: Forests, encoding: Encoding) -> None:
    """Refuse forests of other columns, and text that only seems to be LightGBM's."""
    codes, scalers = forests.columns.codes, forests.scalers
    width = len(encoding.single) + len(encoding.lists) + encoding.numeric_columns
    fields = [name for forest in forests.forests for name in forest.fields]
    are_codes = all(c.code.ndim == 1 and c.code.dtype == np.int32 and len(c.code) for c in codes)
    if len(codes) != len(encoding.single) or fields != [scaler.name for scaler in scalers]:
        raise DataError(f"{folder}: its forests are not of these columns; grow them again")
    if not are_codes:
        raise ValueError(f"{CODES} holds no codes")
    for forest in forests.forests:
        check_forest_text(forest.text, columns=width, outputs=len(forest.fields))

"""An engine that runs pieces of a log one by one in this process, as if each were elsewhere."""

import filecmp
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np

from recmtl.engines.folds import FoldT, merged, runs


class Pieces:
    """Every piece gets its own copy of the work, and its result comes back as a copy.

    Args:
        parts: most pieces of a pass.
        seed: of the order in which they run; a piece in four runs twice.
    """

    def __init__(self, parts: int, seed: int = 0) -> None:
        self.parts, self.passes = parts, 0
        self._dice = np.random.default_rng(seed)

    def fold(self, work: Callable[[Sequence[Any]], FoldT], units: Sequence[Any]) -> FoldT:
        self.passes += 1
        pieces = runs(units, [unit.rows for unit in units], self.parts)
        sent, results = cloudpickle.dumps(work), [b""] * len(pieces)
        for number in self._dice.permutation(len(pieces)).tolist():
            for _ in range(1 + (self._dice.random() < 0.25)):
                results[number] = cloudpickle.dumps(cloudpickle.loads(sent)(pieces[number]))
        return merged(map(cloudpickle.loads, results))


def differing_files(left: Path, right: Path) -> list[str]:
    """The files of two folders that are not in both with equal bytes."""
    names = {str(p.relative_to(f)) for f in (left, right) for p in f.rglob("*") if p.is_file()}
    return sorted(
        filecmp.cmpfiles(left, right, names, shallow=False)[1]
        + filecmp.cmpfiles(left, right, names, shallow=False)[2]
    )

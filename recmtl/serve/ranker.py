"""The ranker: candidates in, the best k of every group out, by a formula over their scores."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recmtl.errors import DataError
from recmtl.serve.formula import Formula
from recmtl.serve.frames import Frame, Scores, column_names, require, taken, to_arrow
from recmtl.serve.scorer import Scorer

__all__ = ["Ranker"]

RANK_SCORE = "rank_score"
RANK = "rank"


class Ranker:
    """Orders candidates with the scores of a bundle; safe to call from several threads."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    @classmethod
    def load(cls, path_or_uri: str | Path) -> "Ranker":
        """Load a bundle from a folder, `models:/name@alias` or `runs:/id/path`, and verify it."""
        return cls(Scorer.load(path_or_uri))

    def rank(
        self,
        frame: Frame,
        by: str,
        *,
        group: str | None = None,
        k: int | None = None,
        keep: Sequence[str] | None = None,
    ) -> Frame:
        """Score candidates and keep the best of every group, best first.

        Groups come in the order in which they first appear, equal candidates in the order of the
        input. Scores are those of `Scorer.score`, bit for bit; `rank_score` is the formula's
        value in float64, `rank` counts from 1 in every group.

        Args:
            frame: candidates, one a row: pandas, Arrow or a dict of arrays; the same kind returns.
            by: formula over scored columns and numeric columns of the frame, higher is better,
                for instance "p_click * p_purchase"; see `recmtl.serve.formula`.
            group: column that says which candidates compete; all rows compete without it.
            k: candidates kept in a group; all of them without it.
            keep: columns of the frame to return; all of them without it.

        Raises:
            FormulaError: the formula is wrong, or not finite on some row.
            DataError: a column is missing, or is named like a column that ranking adds.
        """
        if k is not None and k < 1:
            raise DataError(f"k is {k}; keep at least one candidate a group")
        formula = Formula(by)
        names = column_names(frame)
        kept = names if keep is None else list(keep)
        self._check(formula, names, kept, group)
        from_frame = [name for name in formula.names if name in names]
        wanted = [*self.scorer.input_columns, *from_frame, *([group] if group else [])]
        table = to_arrow(frame, list(dict.fromkeys(wanted)))
        scored = self.scorer.scores(table)
        scores = {name: scored[:, i] for i, name in enumerate(self.scorer.columns)}
        numbers = {name: _numbers(table[name]) for name in from_frame}
        values = formula.evaluate({**numbers, **scores}, rows=table.num_rows)
        rows, ranks = _best(values, _codes(table, group), k)
        added: Scores = {**scores, RANK_SCORE: values, RANK: ranks}
        return taken(frame, rows, kept, added)

    def _check(
        self, formula: Formula, names: list[str], kept: list[str], group: str | None
    ) -> None:
        columns = self.scorer.columns
        require([*kept, *([group] if group else [])], names, source="input")
        for name in (*columns, RANK_SCORE, RANK):
            if name in kept or (name in columns and name in formula.names and name in names):
                raise DataError(
                    f"input: column {name!r} has the name of one that ranking adds; rename it, or "
                    "leave it out with keep"
                )
        formula.check_names([*columns, *names])


def _numbers(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    values: npt.NDArray[np.float64] = column.to_numpy()
    return values


def _codes(table: pa.Table, group: str | None) -> npt.NDArray[np.int64]:
    """Number the groups by first appearance; a missing group is a group like another."""
    if group is None:
        return np.zeros(table.num_rows, dtype=np.int64)
    values = table[group].combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    try:
        encoded = pc.dictionary_encode(values, null_encoding="encode")
    except pa.ArrowException:
        raise DataError(f"input: cannot group by {group!r} of type {values.type}") from None
    codes: npt.NDArray[np.int64] = encoded.indices.to_numpy().astype(np.int64)
    return codes


def _best(
    values: npt.NDArray[np.float64], codes: npt.NDArray[np.int64], k: int | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the kept rows in output order, and the rank of every INPUT row in its group."""
    order = np.lexsort((-values, codes))
    sizes = np.bincount(codes, minlength=1)
    starts = np.cumsum(sizes) - sizes
    position = np.arange(len(values)) - starts[codes[order]]
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[order] = position + 1
    return order if k is None else order[position < k], ranks

"""The ranker: candidates in, the best k of every group out, by a formula over their scores."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recmtl.errors import DataError
from recmtl.serve.arguments import as_column_list, as_instance, as_mapping, short_repr
from recmtl.serve.bundle.bundle import user_features
from recmtl.serve.frames import (
    Frame,
    Scores,
    column_names,
    require_columns,
    row_count,
    take_rows,
    to_arrow,
)
from recmtl.serve.ranking.formula import Formula
from recmtl.serve.ranking.fusion import Fusion, fuse
from recmtl.serve.ranking.request import RequestScorer, one_value
from recmtl.serve.scoring.explain import Explanation, explain
from recmtl.serve.scoring.onnx import Engine, request_network
from recmtl.serve.scoring.scorer import Scorer

__all__ = ["Ranker"]

RANK_SCORE = "rank_score"
RANK = "rank"


class _Best(NamedTuple):
    """Rows of a ranking in output order, and what ranking adds to every row of the input."""

    rows: npt.NDArray[np.int64]
    added: Scores


class Ranker:
    """Orders candidates with the scores of a bundle; safe to call from several threads.

    Args:
        scorer: scores them.
        user: input columns that requests give once; those that the bundle names unless told. If
            the scorer's engine is ONNX Runtime, `rank_request` computes their part of the network
            once a request, equal to float32 rounding. With an engine of `onnx` the network for
            that is exported now, which takes some seconds, unless the bundle brings it.

    Raises:
        DataError: `user` names a column that is no input column.
        ConfigError: `user` leaves no feature to the candidates.
    """

    def __init__(self, scorer: Scorer, *, user: Sequence[str] | None = None) -> None:
        self.scorer = as_instance("scorer", scorer, Scorer)
        self._requests: dict[frozenset[str], RequestScorer] = {}
        encoder, features = scorer.bundle.encoder, scorer.bundle.user
        if user is not None:
            features = user_features(encoder, as_column_list("user", user))
        network = (
            request_network(scorer.bundle, scorer.requested_engine, features) if features else None
        )
        if network is not None:
            columns = frozenset(encoder.schema.feature(name).column for name in features)
            self._requests[columns] = RequestScorer(scorer, columns, network=network)

    @classmethod
    def load(
        cls,
        path_or_uri: str | Path,
        *,
        engine: Engine = "auto",
        user: Sequence[str] | None = None,
    ) -> "Ranker":
        """Load a bundle from a folder, `models:/name@alias` or `runs:/id/path`, and verify it.

        `engine` says what scores a request, see `Scorer`: `auto` takes ONNX Runtime where it is
        installed, in the bundle, and equal to float32 rounding.
        """
        # A service loads models for as long as it runs.
        return cls(Scorer.load(path_or_uri, engine=engine, record=False), user=user)

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
                for instance "p_click * p_purchase"; see `recmtl.serve.ranking.formula`.
            group: column that says which candidates compete; all rows compete without it.
            k: candidates kept in a group; all of them without it.
            keep: columns of the frame to return; all of them without it.

        Raises:
            FormulaError: the formula is wrong, or not finite on some row.
            DataError: a column is missing, or is named like a column that ranking adds.
        """
        formula, present = _formula(by, k), column_names(frame)
        kept = present if keep is None else as_column_list("keep", keep)
        self._check(formula, present, kept, group)
        wanted = [*self._needed(formula, present), *([] if group is None else [group])]
        table = to_arrow(frame, list(dict.fromkeys(wanted)))
        numbers = {name: _numbers(table[name]) for name in formula.names if name in present}
        codes = None if group is None else _codes(table, group)
        scored = self.scorer.scores(table)
        best = self._best(scored, formula, numbers=numbers, codes=codes, k=k)
        return take_rows(frame, best.rows, kept, best.added)

    def rank_request(
        self,
        user: Mapping[str, Any],
        candidates: Frame,
        by: str,
        *,
        k: int | None = None,
        keep: Sequence[str] | None = None,
    ) -> Frame:
        """Rank the candidates of one request, whose user and context are given once.

        Equal to `rank` of the candidates with the user's columns joined on: bit for bit, but to
        float32 rounding where ONNX Runtime scores.

        Args:
            user: one value a column, for every column that is the same for all candidates.
            candidates: the other columns, one candidate a row, as in `rank`.
            by: formula over scored columns and numeric columns of candidates and user.
            k: candidates kept; all of them without it.
            keep: columns of the candidates to return; all of them without it.

        Raises:
            FormulaError: the formula is wrong, or not finite on some row.
            DataError: a column is missing, stands in both, or is named like one that ranking adds.
        """
        as_mapping("user", user)
        formula, present = _formula(by, k), column_names(candidates)
        kept = present if keep is None else as_column_list("keep", keep)
        for name in user:
            if name in present:
                raise DataError(f"user: column {name!r} is one of the candidates too; give it once")
        require_columns(kept, present, source="candidates")
        self._check(formula, [*present, *user], [*kept, *user], None)
        inputs = self.scorer.input_columns
        scorer = self._request(frozenset(name for name in inputs if name in user))
        of_rows = [name for name in formula.names if name in present]
        table = to_arrow(candidates, list(dict.fromkeys([*scorer.candidates, *of_rows])))
        rows = table.num_rows if table.num_columns else row_count(candidates)
        numbers = {name: _numbers(table[name]) for name in of_rows}
        for name in formula.names:
            if name in user:
                value = _numbers(pa.chunked_array([one_value(name, user[name])]))
                numbers[name] = np.broadcast_to(value, (rows,))
        scored = scorer.scores(user, table, rows=rows)
        best = self._best(scored, formula, numbers=numbers, codes=None, k=k)
        return take_rows(candidates, best.rows, kept, best.added)

    def explain(
        self, frame: Frame, task: str | Sequence[str] | None = None, *, steps: int = 64
    ) -> Explanation:
        """Say why rows get their scores: the route each task took, what each feature added.

        Args:
            frame: a few rows; the work is rows x steps x tasks passes.
            task: which task or tasks; all without it.
            steps: of the integral behind the contributions; more bring their sum closer to the
                prediction (see `Explanation.gap`).

        Raises:
            DataError: a task or column is not there, no row, no step.
        """
        several = () if task is None else task
        tasks = [task] if isinstance(task, str) else as_column_list("task", several)
        table = to_arrow(frame, self.scorer.input_columns)
        return explain(self.scorer, table, tasks=tasks, steps=steps)

    def fuse(
        self,
        frame: Frame,
        target: Mapping[str, float],
        *,
        group: str,
        columns: Sequence[str] | None = None,
        k: int | None = 10,
        seed: int = 0,
    ) -> Fusion:
        """Learn the exponents of a product formula for `rank` from rows whose outcome is known.

        Args:
            frame: labelled rows that the network was not trained on (validation rows).
            target: weight of each label column in what a row is worth, for instance
                {"click": 1, "purchase": 5}; see `recmtl.serve.ranking.fusion`.
            group: column that says which rows compete.
            columns: what is multiplied, scored columns or numeric columns of the frame; the own
                probability of every binary task without it.
            k: ranks that count; all without it.
            seed: of the search.

        Raises:
            DataError: a column is missing, has missing values, or is no number; no group with
                anything good in it.
        """
        present = column_names(frame)
        as_mapping("target", target)
        as_column_list("group", [group])
        heads = self.scorer.bundle.model.heads.specs
        own = [head.columns[0] for head in heads if head.kind == "binary"]
        chosen = own if columns is None else as_column_list("columns", columns)
        from_frame = [name for name in chosen if name not in self.scorer.columns]
        wanted = [*self.scorer.input_columns, *from_frame, *target, group]
        table = to_arrow(frame, list(dict.fromkeys(wanted)))
        scored = self.scorer.scores(table)
        scores = {name: scored[:, i] for i, name in enumerate(self.scorer.columns)}
        require_columns(chosen, [*scores, *present], source="fuse")
        return fuse(
            {name: scores[name] if name in scores else _numbers(table[name]) for name in chosen},
            {name: _numbers(table[name]) for name in target},
            target=target,
            group=_codes(table, group),
            k=k,
            seed=seed,
        )

    def _needed(self, formula: Formula, present: Sequence[str]) -> list[str]:
        """Input columns, and those that the formula takes from the frame, each once."""
        from_frame = [name for name in formula.names if name in present]
        return list(dict.fromkeys([*self.scorer.input_columns, *from_frame]))

    def _best(
        self,
        scored: npt.NDArray[np.float32],
        formula: Formula,
        *,
        numbers: dict[str, npt.NDArray[Any]],
        codes: npt.NDArray[np.int64] | None,
        k: int | None,
    ) -> "_Best":
        scores = {name: scored[:, i] for i, name in enumerate(self.scorer.columns)}
        values = formula.evaluate({**numbers, **scores}, rows=len(scored))
        rows, ranks = _best(values, codes, k)
        return _Best(rows, {**scores, RANK_SCORE: values, RANK: ranks})

    def _request(self, user: frozenset[str]) -> RequestScorer:
        """The scorer of requests whose user brings these input columns."""
        found = self._requests.get(user)
        if found is None:
            found = self._requests[user] = RequestScorer(self.scorer, user)
        return found

    def _check(
        self, formula: Formula, present: list[str], kept: list[str], group: str | None
    ) -> None:
        columns = self.scorer.columns
        of_group = [] if group is None else as_column_list("group", [group])
        require_columns([*kept, *of_group], present, source="input")
        for name in (*columns, RANK_SCORE, RANK):
            if name in kept or (name in columns and name in formula.names and name in present):
                raise DataError(
                    f"input: column {name!r} has the name of one that ranking adds; rename it, or "
                    "leave it out with keep"
                )
        formula.check_names([*columns, *present])


def _formula(by: str, k: int | None) -> Formula:
    if k is not None and (isinstance(k, bool) or not isinstance(k, Integral) or k < 1):
        raise DataError(f"k is {short_repr(k)}; keep at least one candidate a group")
    return _parsed(by) if isinstance(by, str) else Formula(by)


@lru_cache(maxsize=64)
def _parsed(by: str) -> Formula:
    """A service ranks by few formulas, over and over."""
    return Formula(by)


def _numbers(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    values: npt.NDArray[np.float64] = column.to_numpy()
    return values


def _codes(table: pa.Table, group: str) -> npt.NDArray[np.int64]:
    """Number the groups by first appearance; a missing group is a group like another."""
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
    values: npt.NDArray[np.float64], codes: npt.NDArray[np.int64] | None, k: int | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the kept rows in output order, and the rank of every INPUT row in its group."""
    position = np.arange(len(values))
    if codes is None:
        order = np.argsort(-values, kind="stable")
    else:
        order = np.lexsort((-values, codes))
        sizes = np.bincount(codes, minlength=1)
        position -= (np.cumsum(sizes) - sizes)[codes[order]]
    ranks = np.empty(len(values), dtype=np.int64)
    ranks[order] = position + 1
    return order if k is None else order[position < k], ranks

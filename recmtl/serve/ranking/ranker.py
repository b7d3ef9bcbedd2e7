"""The ranker: candidates in, the best k of every group out, by a formula over their scores.

It joins a `Scorer`, a `Formula` over its scores, a `RequestScorer` for one user with many
candidates, and `fuse`, which learns a formula. It returns the kind of frame that it was given.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recmtl.data.columns.canonical import canonical, missing_rows
from recmtl.data.columns.numeric import numbers
from recmtl.data.encoded_log import NO_GROUP
from recmtl.errors import DataError, SourceLocation
from recmtl.formula import Formula
from recmtl.serve.arguments import as_column_list, as_instance, as_mapping, short_repr
from recmtl.serve.bundle.bundle import user_features
from recmtl.serve.frames import (
    Frame,
    Scores,
    column_names,
    readable,
    require_columns,
    row_count,
    take_rows,
    to_arrow,
)
from recmtl.serve.ranking.fusion import FusionResult, fuse
from recmtl.serve.ranking.request import RequestScorer, one_value
from recmtl.serve.scoring.explain import Explanation, explain
from recmtl.serve.scoring.onnx import Engine, OnnxNetwork, request_network
from recmtl.serve.scoring.scorer import Scorer

__all__ = ["RANKING_COLUMNS", "Ranker", "best_rows"]

HERE = SourceLocation()
RANK_SCORE = "rank_score"
RANK = "rank"
RANKING_COLUMNS = (RANK_SCORE, RANK)
"""The columns that ranking adds beside the scored ones."""


class _Ranking(NamedTuple):
    """Rows of a ranking in output order, and the columns that it adds, for every INPUT row."""

    rows: npt.NDArray[np.int64]
    added: Scores


class Ranker:
    """Orders candidates with the scores of a bundle; safe to call from several threads.

    >>> ranker = Ranker.load("tests/data/bundles/0.1/grid", engine="torch")
    >>> candidates = {"item": ["item-1", "item-2", "item-3"], "price": [9.5, 20.0, 3.0]}
    >>> user = {"user_id": 1099511627779, "history": ["item-2"], "age": 31}
    >>> ranked = ranker.rank_request(user, candidates, by="-price", k=2, keep=["item"])
    >>> ranked["item"].tolist(), ranked["rank"].tolist()
    (['item-3', 'item-1'], [1, 2])

    Args:
        scorer: scores the candidates.
        user: input columns that a request gives once; if None, those that the bundle names. If
            the scorer's engine is ONNX Runtime, `rank_request` computes their part of the network
            once a request, equal to float32 rounding. The engine `onnx` exports the network for
            that now, which takes some seconds, unless the bundle brings it.

    Raises:
        DataError: `user` names a column that is no input column.
        ConfigError: `user` leaves no feature to the candidates.
    """

    def __init__(self, scorer: Scorer, *, user: Sequence[str] | None = None) -> None:
        self.scorer = as_instance("scorer", scorer, Scorer)
        self._requests: dict[frozenset[str], RequestScorer] = {}
        self._network: OnnxNetwork | None = None
        encoder, features = scorer.bundle.encoder, scorer.bundle.user
        if user is not None:
            features = user_features(encoder, as_column_list("user", user))
        self._features = frozenset(features)
        if features:
            self._network = request_network(scorer.bundle, scorer.requested_engine, features)
        if self._network is not None:
            self._request_scorer(frozenset(encoder.schema.columns_of(features)))

    def __repr__(self) -> str:
        request = f"; a request gives {', '.join(sorted(self._features))} once"
        return f"Ranker by {self.scorer!r}{request if self._features else ''}"

    @classmethod
    def load(
        cls,
        path_or_uri: str | Path,
        *,
        engine: Engine = "auto",
        user: Sequence[str] | None = None,
    ) -> "Ranker":
        """Load a bundle from a folder, `models:/name@alias` or `runs:/id/path`, and verify it.

        `engine` says what scores a request, see `Scorer`: `auto` takes ONNX Runtime if it is
        installed and the bundle brings a network whose scores are equal to float32 rounding.
        """
        # A service loads models as long as it runs, and torch keeps every trace until it ends.
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
            frame: candidates, one a row, in a kind of frame that `Scorer.score` takes.
            by: formula over scored columns and numeric columns of the frame, higher is better,
                for instance "p_click * p_purchase"; see `recmtl.formula`.
            group: column whose equal values mark the candidates that compete; if None, all do.
            k: candidates kept in a group; None keeps all of them.
            keep: columns of the frame to return; None returns all of them.

        Raises:
            FormulaError: the formula is wrong, or not finite on some row.
            DataError: a column is missing, or is named like a column that ranking adds.
        """
        frame = readable(frame)
        formula, present = _checked_formula(by, k), column_names(frame)
        kept = present if keep is None else as_column_list("keep", keep)
        self._check(formula, present, kept, group)
        from_frame = [name for name in formula.names if name in present]
        needed = [*self._inputs(present), *from_frame, *([] if group is None else [group])]
        table = to_arrow(frame, list(dict.fromkeys(needed)))
        numbers = {name: _as_numpy(table[name], name) for name in from_frame}
        codes = None if group is None else _group_codes(table, group)
        scores = self.scorer.scores(table)
        ranking = self._ranking(scores, formula, numbers=numbers, codes=codes, k=k)
        return take_rows(frame, ranking.rows, kept, ranking.added)

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

        Equal to `rank` of the candidates with the user's columns joined on: bit for bit where
        torch scores, to float32 rounding where ONNX Runtime does.

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
        candidates = readable(candidates)
        formula, present = _checked_formula(by, k), column_names(candidates)
        kept = present if keep is None else as_column_list("keep", keep)
        for name in user:
            if name in present:
                raise DataError(f"user: column {name!r} is one of the candidates too; give it once")
        require_columns(kept, present, source="candidates")
        self._check(formula, [*present, *user], [*kept, *user], None)
        inputs = self.scorer.input_columns
        scorer = self._request_scorer(frozenset(name for name in inputs if name in user))
        from_frame = [name for name in formula.names if name in present]
        brought = self._inputs(present)[len(inputs) :]
        needed = [*scorer.candidates, *brought, *from_frame]
        table = to_arrow(candidates, list(dict.fromkeys(needed)))
        rows = table.num_rows if table.num_columns else row_count(candidates)
        numbers = {name: _as_numpy(table[name], name) for name in from_frame}
        for name in formula.names:
            if name in user:
                value = _as_numpy(one_value(name, user[name]), name)
                numbers[name] = np.broadcast_to(value, (rows,))
        scores = scorer.scores(user, table, rows=rows)
        ranking = self._ranking(scores, formula, numbers=numbers, codes=None, k=k)
        return take_rows(candidates, ranking.rows, kept, ranking.added)

    def explain(
        self, frame: Frame, task: str | Sequence[str] | None = None, *, steps: int = 64
    ) -> Explanation:
        """Explain the scores of rows: the route of each task, the contribution of each feature.

        Args:
            frame: a few rows; the cost is rows x steps x tasks passes.
            task: one task or several; None explains all of them.
            steps: of the integral behind the contributions; more steps bring their sum closer to
                the prediction (see `Explanation.gap`).

        Raises:
            DataError: a task or column is absent, or there is no row or no step.
        """
        names = () if task is None else task
        tasks = [task] if isinstance(task, str) else as_column_list("task", names)
        frame = readable(frame)
        table = to_arrow(frame, self._inputs(column_names(frame)))
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
    ) -> FusionResult:
        """Learn the exponents of a product formula for `rank` from labelled rows.

        Args:
            frame: labelled rows that the network was not trained on (validation rows).
            target: weight of each label column in the gain of a row, for instance
                {"click": 1, "purchase": 5}; see `recmtl.serve.ranking.fusion`.
            group: column whose equal values mark the rows that compete; where it is missing, rows
                are left out.
            columns: the factors, scored columns or numeric columns of the frame; if None, the
                first column of every binary task.
            k: ranks that count; None counts all of them.
            seed: of the search.

        Raises:
            DataError: a column is missing, has missing values or is no number, or a label is 0 on
                every row.
        """
        frame = readable(frame)
        present = column_names(frame)
        as_mapping("target", target)
        as_column_list("group", [group])
        heads = self.scorer.bundle.model.heads.specs
        binary = [head.columns[0] for head in heads if head.kind == "binary"]
        factors = binary if columns is None else as_column_list("columns", columns)
        from_frame = [name for name in factors if name not in self.scorer.columns]
        needed = [*self._inputs(present), *from_frame, *target, group]
        table = to_arrow(frame, list(dict.fromkeys(needed)))
        scores = self._by_column(self.scorer.scores(table))
        require_columns(factors, [*scores, *present], source="fuse")
        return fuse(
            {
                name: scores[name] if name in scores else _as_numpy(table[name], name)
                for name in factors
            },
            {name: _as_numpy(table[name], name) for name in target},
            target=target,
            group=np.where(_missing(table, group), NO_GROUP, _group_codes(table, group)),
            k=k,
            seed=seed,
        )

    def _inputs(self, present: list[str]) -> tuple[str, ...]:
        return self.scorer.columns_to_read(present)

    def _ranking(
        self,
        scores: npt.NDArray[np.float32],
        formula: Formula,
        *,
        numbers: dict[str, npt.NDArray[Any]],
        codes: npt.NDArray[np.int64] | None,
        k: int | None,
    ) -> _Ranking:
        """Order rows with scores `[R, C]` and numeric columns by the formula, within groups."""
        by_column = self._by_column(scores)
        values = formula.evaluate({**numbers, **by_column}, rows=len(scores))
        rows, ranks = _order(values, codes, k)
        return _Ranking(rows, {**by_column, RANK_SCORE: values, RANK: ranks})

    def _by_column(self, scores: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[np.float32]]:
        return {name: scores[:, i] for i, name in enumerate(self.scorer.columns)}

    def _request_scorer(self, user: frozenset[str]) -> RequestScorer:
        """The scorer of requests whose user brings these input columns."""
        scorer = self._requests.get(user)
        if scorer is None:
            part = self.scorer.bundle.encoder.part(user)
            network = self._network if self._features == set(part.encoding.fields) else None
            scorer = self._requests[user] = RequestScorer(self.scorer, user, network=network)
        return scorer

    def _check(
        self, formula: Formula, present: list[str], kept: list[str], group: str | None
    ) -> None:
        """Refuse columns that are absent, and those that ranking would overwrite."""
        columns = self.scorer.columns
        of_group = [] if group is None else as_column_list("group", [group])
        require_columns([*kept, *of_group], present, source="input")
        for name in (*columns, *RANKING_COLUMNS):
            if name in kept or (name in columns and name in formula.names and name in present):
                raise DataError(
                    f"input: column {name!r} has the name of one that ranking adds; rename it, or "
                    "leave it out with keep"
                )
        formula.check_names([*columns, *present])


def best_rows(
    table: pa.Table, values: npt.NDArray[np.float64], *, group: str | None, k: int | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The rows `[K]` of the best k of each group, in output order, and the rank of all rows `[R]`.

    Raises:
        DataError: the values of the group's column cannot be told apart.
    """
    return _order(values, None if group is None else _group_codes(table, group), k)


def _checked_formula(by: str, k: int | None) -> Formula:
    if k is not None and (isinstance(k, bool) or not isinstance(k, Integral) or k < 1):
        raise DataError(f"k is {short_repr(k)}; keep at least one candidate a group")
    return _cached_formula(by) if isinstance(by, str) else Formula(by)


@lru_cache(maxsize=64)
def _cached_formula(by: str) -> Formula:
    """A service ranks by a few formulas, over and over."""
    return Formula(by)


def _as_numpy(column: pa.ChunkedArray, name: str) -> npt.NDArray[Any]:
    """A column's numbers, of whatever Arrow form; other values as they are, to be refused."""
    array = canonical(column, name, HERE)
    if pa.types.is_decimal(array.type):
        return numbers(array, name, HERE)
    values: npt.NDArray[Any] = array.to_numpy(zero_copy_only=False)
    return values


def _group_codes(table: pa.Table, group: str) -> npt.NDArray[np.int64]:
    """Number the groups by first appearance, `[R]`; missing values form a group of their own."""
    values = canonical(table[group], group, HERE)
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    try:
        encoded = pc.dictionary_encode(values, null_encoding="encode")
    except pa.ArrowException:
        raise DataError(f"input: cannot group by {group!r} of type {values.type}") from None
    codes: npt.NDArray[np.int64] = encoded.indices.to_numpy().astype(np.int64)
    return codes


def _missing(table: pa.Table, group: str) -> npt.NDArray[np.bool_]:
    """Where the groups are null or NaN, bool `[R]`."""
    return missing_rows(table[group].combine_chunks())


def _order(
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

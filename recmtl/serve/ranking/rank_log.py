"""Rank a whole log: batch by batch, in memory that grows with the rows kept, not with the log.

The best k of a group are the best k of the best k of its parts. So what is kept of earlier batches
and the new batch are joined, and the best k of each group kept again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from recmtl.atomic import new_file
from recmtl.data.reader import Log, open_log
from recmtl.errors import DataError
from recmtl.formula import Formula, usual_order
from recmtl.serve.arguments import as_path
from recmtl.serve.ranking.ranker import RANK, RANK_SCORE, RANKING_COLUMNS, Ranker, best_rows
from recmtl.serve.scoring.scorer import Scorer

__all__ = ["RankingSummary", "rank_log", "rows_of"]

ROWS_AT_ONCE = 100_000


@dataclass(frozen=True)
class RankingSummary:
    """What a call of `rank_log` did.

    Attributes:
        file: the ranking.
        by: the formula.
        rows: of the input.
        kept: rows of the ranking.
        groups: groups of the ranking.
    """

    file: Path
    by: str
    rows: int
    kept: int
    groups: int


def rank_log(
    ranker: Ranker,
    source: str | Path,
    file: str | Path,
    *,
    by: str | None = None,
    group: str | None = None,
    k: int | None = None,
    keep: Sequence[str] | None = None,
    rows_at_once: int = ROWS_AT_ONCE,
) -> RankingSummary:
    """Rank the rows of a log into a Parquet file, as `Ranker.rank` would rank them at once.

    Args:
        ranker: ranks the rows.
        source: the log, as in `recmtl.data.reader.open_log`.
        file: what is written; rows of a group lie together, best first.
        by: formula over scored and numeric columns; if None, the first `score_` or `p_`.
        group: column whose equal values mark the rows that compete; if None, all do.
        k: rows kept in a group; None keeps all.
        keep: columns to carry along; if None, the schema's id, group and time, and `group`.
        rows_at_once: rows that are scored together.

    Raises:
        DataError: nothing can be read, a column is missing, or `keep` names one that ranking adds.
        FormulaError: the formula is wrong, or not finite on some row.
    """
    scorer = ranker.scorer
    by = by or usual_order(scorer.columns)
    log = _open(scorer, source)
    kept = _kept(scorer, log, group) if keep is None else list(keep)
    of_formula = [name for name in Formula(by).names if name not in scorer.columns]
    of_group = [] if group is None else [group]
    columns = dict.fromkeys([*_inputs(scorer, log), *kept, *of_formula, *of_group])
    carried = list(dict.fromkeys([*kept, *of_group]))
    batches = log.batches(list(columns), rows=rows_at_once, as_stored=True)
    rankings = (
        ranker.rank(pa.table(batch.columns), by=by, group=group, k=k, keep=carried)
        for batch in batches
    )
    best = _best(rankings, group, k)
    if best is None:
        raise DataError(f"{source}: has no rows to rank")
    ranking = best.select([*kept, *scorer.columns, *RANKING_COLUMNS])
    path = Path(as_path("file", file))
    path.parent.mkdir(parents=True, exist_ok=True)
    with new_file(path) as partial:
        pq.write_table(ranking, partial)
    groups = int((best[RANK].to_numpy() == 1).sum())
    return RankingSummary(path, by, log.rows, ranking.num_rows, groups)


def rows_of(scorer: Scorer, source: str | Path, *, first: int = 0, count: int = 1) -> pa.Table:
    """Some rows of a log, with the columns that a scorer reads.

    Raises:
        DataError: the log ends before `first`, or no row is asked for.
    """
    log = _open(scorer, source)
    if count < 1 or not 0 <= first < log.rows:
        raise DataError(f"{source}: has {log.rows:,} rows, the first of them row 0")
    pieces, before = list[pa.Table](), 0
    for batch in log.batches(_inputs(scorer, log), as_stored=True, start=first):
        table = pa.table(batch.columns)
        skipped = max(0, first - batch.first) if not pieces else 0
        pieces.append(table.slice(skipped, count - before))
        before += pieces[-1].num_rows
        if before >= count:
            break
    return pa.concat_tables(pieces)


def _open(scorer: Scorer, source: str | Path) -> Log:
    tables, encoder = scorer.bundle.tables(), scorer.bundle.encoder
    path = str(as_path("source", source))
    return open_log(path, tables, fitted=encoder.types, layout=encoder.schema.files)


def _inputs(scorer: Scorer, log: Log) -> list[str]:
    return list(scorer.columns_to_read(list(log.column_names())))


def _kept(scorer: Scorer, log: Log, group: str | None) -> list[str]:
    roles = scorer.bundle.encoder.schema.roles
    present = log.column_names()
    names = dict.fromkeys(name for name in (roles.row_id, group, roles.time) if name)
    return [name for name in names if name in present]


def _best(rankings: Iterable[pa.Table], group: str | None, k: int | None) -> pa.Table | None:
    """The best k of each group of several rankings, given in the order of their rows.

    They are joined when the new rows are as many as the kept ones, so that a row is looked at a
    few times, not once a batch.
    """
    best, waiting, rows = list[pa.Table](), list[pa.Table](), 0
    for ranking in rankings:
        waiting.append(ranking)
        rows += ranking.num_rows
        if k is not None and rows >= sum(table.num_rows for table in best):
            best, waiting, rows = [_joined([*best, *waiting], group, k)], [], 0
    rest = [*best, *waiting]
    return _joined(rest, group, k) if rest else None


def _joined(rankings: Sequence[pa.Table], group: str | None, k: int | None) -> pa.Table:
    if len(rankings) == 1:
        return rankings[0]
    table = pa.concat_tables(rankings, promote_options="permissive").combine_chunks()
    rows, ranks = best_rows(table, table[RANK_SCORE].to_numpy(), group=group, k=k)
    table = table.set_column(table.column_names.index(RANK), RANK, pa.array(ranks))
    return table.take(pa.array(rows))

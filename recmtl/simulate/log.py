"""Write a simulated log block by block, in flat memory, and measure the truth that it holds.

The log has the columns that a shop would have. Beside it, `Truth` says which tasks are related,
and which scores the true probabilities reach on the rows written.
"""

from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recmtl.atomic import new_file, write_json
from recmtl.errors import DataError
from recmtl.simulate.impressions import Block, draw_blocks
from recmtl.simulate.shop import Floats, Ints
from recmtl.simulate.world import World, draw_world

__all__ = ["RELATED", "Truth", "TruthScore", "chances_table", "log_table", "simulate", "truth_path"]

RELATED = (("click", "watch_time"), ("purchase", "dislike"))
BINS = 4096
FIRST_MS = 1_767_225_600_000  # 2026-01-01 00:00 UTC
DAY_MS = 86_400_000


@dataclass(frozen=True)
class Truth:
    """What was planted in a log, measured on the rows written.

    Attributes:
        rows: rows of the log.
        seed: the seed that drew it.
        related: pairs of tasks that depend on the same interest.
        rates: share of positive rows of each task, purchase among clicked rows; of watch_time the
            share of rows that have one.
        best: what no model can beat: the AUC of the true probabilities (purchase on clicked rows),
            and the R2 of the true mean of log watch seconds on clicked rows.
        correlation: of the two interests over the rows: near 0, and not 0, since a few users and
            items have many of the rows.
    """

    rows: int
    seed: int
    related: tuple[tuple[str, str], ...]
    rates: dict[str, float]
    best: dict[str, float]
    correlation: float


def simulate(
    path: str | Path,
    rows: int = 200_000,
    *,
    seed: int = 0,
    users: int = 12_000,
    items: int = 4_000,
    row_group_rows: int = 50_000,
    with_truth: bool = False,
) -> Truth:
    """Write a log of impressions, and beside it what was planted in it (`truth_path`).

    Equal arguments give equal rows, whatever `row_group_rows` is.

    Args:
        path: the Parquet file to write.
        rows: number of impressions.
        seed: fixes the shop and the rows.
        users: number of users.
        items: number of items.
        row_group_rows: rows of a row group.
        with_truth: also write `<log>.truth.parquet`, which holds for each impression both
            interests, the true probabilities and the true mean of log watch seconds.

    Raises:
        DataError: a size is below 1.
    """
    if min(rows, users, items, row_group_rows) < 1:
        raise DataError("simulate: rows, users, items and row_group_rows must be at least 1")
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    world = draw_world(seed, users=users, items=items)
    score = TruthScore()
    parts = [(target, log_table)]
    if with_truth:
        parts.append((target.with_suffix(".truth.parquet"), chances_table))
    with ExitStack() as stack:
        partials = [stack.enter_context(new_file(file)) for file, _ in parts]
        # Put in place before the log: who finds a log finds its truth.
        truth_file = stack.enter_context(new_file(truth_path(target)))
        writers = [stack.enter_context(GroupWriter(file, row_group_rows)) for file in partials]
        for block in draw_blocks(world, rows=rows, seed=seed):
            score.add(block)
            for writer, (_, table) in zip(writers, parts, strict=True):
                writer.add(table(world, block))
        truth = Truth(rows, seed, RELATED, score.rates(), score.best(), score.correlation())
        write_json(truth_file, asdict(truth))
    return truth


def truth_path(path: str | Path) -> Path:
    """The file in which `simulate` puts the planted truth of the log at `path`."""
    return Path(path).with_suffix(".truth.json")


def log_table(world: World, block: Block) -> pa.Table:
    """The columns of the log."""
    users, items = world.shop.users, world.shop.items
    user, item, context = block.user, block.item, block.context
    return pa.table(
        {
            "impression_id": block.row,
            "request_id": block.request,
            "time_ms": FIRST_MS + (context.day * DAY_MS).astype(np.int64),
            "user_id": users.identifier[user],
            "segment": named("segment", users.segment[user]),
            "age_band": users.age_band[user],
            "city": named("city", users.city[user]),
            "device": named("device", users.device[user]),
            "membership": named("member", users.membership[user]),
            "spend_30d": nullable(users.spend[user]),
            "tenure_days": users.tenure_days[user],
            "item_id": items.identifier[item],
            "category": named("category", items.category[item]),
            "brand": named("brand", items.brand[item]),
            "price": items.price[item],
            "rating": nullable(items.rating[item]),
            "discount": items.discount[item],
            "item_age_days": np.round(context.day - items.first_day[item], 2),
            "tags": lists(items.tags[item]),
            "hour": context.hour,
            "position": context.position,
            "session_depth": context.session_depth,
            "minutes_since_visit": nullable(context.minutes_since_visit),
            "history": lists(block.history, items.identifier),
            "click": block.click.astype(np.int8),
            "purchase": block.purchase.astype(np.int8),
            "watch_time": nullable(block.watch_s),
            "dislike": block.dislike.astype(np.int8),
        }
    )


def chances_table(world: World, block: Block) -> pa.Table:
    """The planted truth of each row. `world` is not needed: the block carries its chances."""
    chances = block.chances
    return pa.table(
        {
            "impression_id": block.row,
            "taste": chances.taste,
            "value": chances.value,
            "p_click": chances.click,
            "p_purchase_given_click": chances.purchase_given_click,
            "p_dislike": chances.dislike,
            "log_watch_time": chances.log_watch,
        }
    )


def named(word: str, codes: Ints) -> pa.Array:
    """Codes as strings, `<word>_<code>`."""
    names = pa.array([f"{word}_{code}" for code in range(int(codes.max()) + 1)])
    return names.take(pa.array(codes))


def nullable(values: Floats) -> pa.Array:
    """Values as an Arrow array, NaN as null."""
    return pa.array(values, from_pandas=True)


def lists(codes: Ints, identifiers: Ints | None = None) -> pa.Array:
    """Rows of codes, -1 = none, as lists of identifiers; without identifiers of `tag_<code>`."""
    filled = codes >= 0
    offsets = np.concatenate([[0], np.cumsum(filled.sum(axis=1))]).astype(np.int32)
    flat = codes[filled]
    values = named("tag", flat) if identifiers is None else pa.array(identifiers[flat])
    return pa.ListArray.from_arrays(pa.array(offsets), values)


class TruthScore:
    """Rates, and the AUC and R2 of the truth itself, accumulated block by block.

    Probabilities are counted in bins of equal width in the logit; a pair within a bin counts half.
    """

    def __init__(self) -> None:
        self._counts = {name: np.zeros((2, BINS)) for name in ("click", "purchase", "dislike")}
        self._watch = np.zeros(4)
        self._interests = np.zeros((3, 3))

    def add(self, block: Block) -> None:
        """Count the rows of one block."""
        chances, clicked = block.chances, block.click
        interests = np.stack([np.ones(len(clicked)), chances.taste, chances.value])
        self._interests += interests @ interests.T
        self._count("click", chances.click, block.click)
        self._count("purchase", chances.purchase_given_click[clicked], block.purchase[clicked])
        self._count("dislike", chances.dislike, block.dislike)
        actual = np.log(block.watch_s[clicked])
        miss = actual - chances.log_watch[clicked]
        self._watch += [len(actual), actual.sum(), (actual**2).sum(), (miss**2).sum()]

    def rates(self) -> dict[str, float]:
        """See `Truth.rates`."""
        rates = {name: float(c[1].sum() / max(c.sum(), 1.0)) for name, c in self._counts.items()}
        return rates | {"watch_time": rates["click"]}

    def best(self) -> dict[str, float]:
        """See `Truth.best`."""
        rows, total, squares, missed = self._watch
        spread = squares - total**2 / max(rows, 1.0)
        best = {f"{name}_auc": binned_auc(*counts) for name, counts in self._counts.items()}
        return best | {"watch_time_log_r2": float(1.0 - missed / max(spread, 1e-12))}

    def correlation(self) -> float:
        """Correlation of TASTE and VALUE over the rows."""
        means = self._interests[0] / self._interests[0, 0]
        spread = self._interests / self._interests[0, 0] - np.outer(means, means)
        return float(spread[1, 2] / np.sqrt(max(spread[1, 1] * spread[2, 2], 1e-24)))

    def _count(self, name: str, chance: Floats, label: NDArray[np.bool_]) -> None:
        logit = np.log(chance) - np.log1p(-chance)
        bins = np.clip((logit + 16.0) / 32.0 * BINS, 0, BINS - 1).astype(np.int64)
        for value in (0, 1):
            self._counts[name][value] += np.bincount(bins[label == value], minlength=BINS)


def binned_auc(negative: Floats, positive: Floats) -> float:
    """AUC from counts by bin, in order of score; 0.5 if one side has no row."""
    pairs = negative.sum() * positive.sum()
    below = np.cumsum(negative) - 0.5 * negative
    return float((positive * below).sum() / pairs) if pairs else 0.5


class GroupWriter:
    """Writes a Parquet file in row groups of a fixed size."""

    def __init__(self, target: Path, group_rows: int) -> None:
        self._target = target
        self._group_rows = group_rows
        self._waiting: list[pa.Table] = []
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> "GroupWriter":
        return self

    def add(self, table: pa.Table) -> None:
        """Append rows; full row groups are written at once."""
        self._waiting.append(table)
        while sum(part.num_rows for part in self._waiting) >= self._group_rows:
            joined = pa.concat_tables(self._waiting)
            self._write(joined.slice(0, self._group_rows))
            self._waiting = [joined.slice(self._group_rows)]

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            rest = pa.concat_tables(self._waiting)
            if rest.num_rows:
                self._write(rest)
        if self._writer is not None:
            self._writer.close()

    def _write(self, table: pa.Table) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._target, table.schema)
        self._writer.write_table(table, row_group_size=self._group_rows)

"""Blocks of impressions as Arrow tables: the log as a shop would have it, and its truth."""

import numpy as np
import pyarrow as pa

from recmtl.data.simulate.impressions import Block
from recmtl.data.simulate.shop import Floats, Ints
from recmtl.data.simulate.world import World

__all__ = ["chances_table", "log_table"]

FIRST_MS = 1_767_225_600_000  # 2026-01-01 00:00 UTC
DAY_MS = 86_400_000


def log_table(world: World, block: Block) -> pa.Table:
    """The columns of the log, as a shop would have them."""
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
            "spend_30d": known(users.spend[user]),
            "tenure_days": users.tenure_days[user],
            "item_id": items.identifier[item],
            "category": named("category", items.category[item]),
            "brand": named("brand", items.brand[item]),
            "price": items.price[item],
            "rating": known(items.rating[item]),
            "discount": items.discount[item],
            "item_age_days": np.round(context.day - items.first_day[item], 2),
            "tags": lists(items.tags[item]),
            "hour": context.hour,
            "position": context.position,
            "session_depth": context.session_depth,
            "minutes_since_visit": known(context.minutes_since_visit),
            "history": lists(block.history, items.identifier),
            "click": block.click.astype(np.int8),
            "purchase": block.purchase.astype(np.int8),
            "watch_time": known(block.watch_s),
            "dislike": block.dislike.astype(np.int8),
        }
    )


def chances_table(world: World, block: Block) -> pa.Table:
    """The planted truth of each row; `world` is not needed, the block carries its chances."""
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


def known(values: Floats) -> pa.Array:
    """NaN becomes null."""
    return pa.array(values, from_pandas=True)


def lists(codes: Ints, identifiers: Ints | None = None) -> pa.Array:
    """Rows of codes, -1 = none, as lists of identifiers (or of `tag_<code>`)."""
    there = codes >= 0
    offsets = np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int32)
    flat = codes[there]
    values = named("tag", flat) if identifiers is None else pa.array(identifiers[flat])
    return pa.ListArray.from_arrays(pa.array(offsets), values)

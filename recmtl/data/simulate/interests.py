"""The two planted interests, as sums of terms of what is known (and a little that is not) of a row.

TASTE moves click and watch time, VALUE moves purchase up and dislike down. The two read partly the
same columns, but through independent tables and orthogonal shapes, so they are uncorrelated: what
an expert learns for one pair of tasks says nothing about the other pair. Most of both is
interaction, which no linear model of the columns can express.
"""

from dataclasses import dataclass

import numpy as np

from recmtl.data.simulate.shop import Floats, Ints, Items, Shop, Tables

__all__ = ["Context", "taste_terms", "value_terms"]

NIGHT_HOUR, EVENING_HOUR = 1.0, 19.0  # a quarter of a day apart: the two waves are orthogonal


@dataclass(frozen=True)
class Context:
    """What is known of each impression besides its user and item."""

    day: Floats  # days since the start of the log
    hour: Floats  # 0 to 24
    position: Floats
    session_depth: Floats
    minutes_since_visit: Floats  # NaN = first visit


def taste_terms(shop: Shop, user: Ints, item: Ints, context: Context) -> Floats:
    """What attracts: a user's taste with an item's style, and fresh things at night."""
    users, items, tables = shop.users, shop.items, shop.tables
    style = item_style(items, tables)[item]
    taste = tables.taste_segment[users.segment[user]] + tables.taste_city[users.city[user]]
    liking = users.liking[user] * tables.taste_liking[items.category[item]]
    fresh = np.tanh(3.3 - np.log1p(context.day - items.first_day[item]))
    night = np.cos(2 * np.pi * (context.hour - NIGHT_HOUR) / 24.0)
    return np.stack(
        [
            taste + style,
            taste * style,
            liking.sum(axis=1),
            fresh * night,
            fresh * style,
            -np.sqrt(context.position),
        ],
        axis=1,
    )


def value_terms(shop: Shop, user: Ints, item: Ints, context: Context) -> Floats:
    """What is worth its money: means with quality, a price that fits the purse, evening deals."""
    users, items, tables = shop.users, shop.items, shop.tables
    purse = np.nan_to_num((np.log(users.spend[user]) - 3.7) / 0.9)
    price = (np.log(items.price[item]) - 3.0) / 0.85
    rating = np.nan_to_num((items.rating[item] - 3.8) / 0.7)
    pause = np.tanh(np.nan_to_num(np.log1p(context.minutes_since_visit) - 5.0))
    evening = np.cos(2 * np.pi * (context.hour - EVENING_HOUR) / 24.0)
    segment, age_band = users.segment[user], users.age_band[user]
    means = tables.value_segment[segment] + tables.value_age[age_band]
    quality = tables.value_category[items.category[item]] + tables.value_brand[items.brand[item]]
    gap = purse - price + 2.0 * items.discount[item]
    return np.stack(
        [
            means + quality,
            means * quality,
            np.exp(-(gap**2)),
            np.tanh(gap) * rating,
            evening * np.sign(items.discount[item] - 0.01),
            np.tanh(context.session_depth / 3.0 - 1.0) * pause,
        ],
        axis=1,
    )


def item_style(items: Items, tables: Tables) -> Floats:
    """Style of each item: category, mean of its tags, and an appeal that only its id tells."""
    there = items.tags >= 0
    tags = np.where(there, tables.taste_tag[items.tags], 0.0) / there.sum(axis=1, keepdims=True)
    style: Floats = tables.taste_category[items.category] + tags.sum(axis=1) + 0.5 * items.appeal
    return style

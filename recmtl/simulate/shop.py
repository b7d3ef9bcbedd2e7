"""Draw the shop behind the log: users, items, and the random tables behind the two interests."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CATEGORIES",
    "Floats",
    "Ints",
    "Items",
    "Shop",
    "Tables",
    "Users",
    "draw_codes",
    "draw_shop",
]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

SEGMENTS, AGE_BANDS, CITIES, DEVICES, MEMBERSHIPS = 8, 6, 30, 4, 3
CATEGORIES, BRANDS, TAGS = 24, 60, 30
RANK = 2
MAX_TAGS = 4


@dataclass(frozen=True)
class Users:
    """One entry a user: attribute codes, spending, and a liking that no column holds."""

    identifier: Ints
    segment: Ints
    age_band: Ints
    city: Ints
    device: Ints
    membership: Ints
    spend: Floats  # in the last 30 days, NaN = unknown
    tenure_days: Floats
    liking: Floats  # [users, RANK], in no column: only clicks and histories reveal it
    reach: Floats  # cumulative share of requests


@dataclass(frozen=True)
class Items:
    """One entry an item: attribute codes, money, rating, tags and a hidden appeal."""

    identifier: Ints
    category: Ints
    brand: Ints
    price: Floats
    rating: Floats  # 1 to 5, NaN = too few reviews
    discount: Floats  # 0 to 0.5, mostly 0
    first_day: Floats  # day on which it was first sold; 0 = start of the log
    tags: Ints  # [items, MAX_TAGS], -1 = none
    appeal: Floats
    reach: Floats  # cumulative share of impressions


@dataclass(frozen=True)
class Tables:
    """The random weights of the two interests, one row for each attribute code."""

    taste_segment: Floats
    taste_city: Floats
    taste_category: Floats
    taste_tag: Floats
    taste_liking: Floats  # [categories, RANK]
    value_segment: Floats
    value_age: Floats
    value_category: Floats
    value_brand: Floats


@dataclass(frozen=True)
class Shop:
    """Users, items and the tables of the two interests, all fixed before the first row."""

    users: Users
    items: Items
    tables: Tables


def draw_shop(random: np.random.Generator, *, users: int, items: int) -> Shop:
    """Draw a shop of `users` users and `items` items from one generator."""
    tables = draw_tables(random)
    return Shop(draw_users(random, users), draw_items(random, items), tables)


def zipf_reach(count: int, exponent: float) -> Floats:
    """Cumulative shares of `count` codes whose share falls as rank ** -exponent."""
    share: Floats = np.arange(1, count + 1, dtype=np.float64) ** -exponent
    return np.cumsum(share / share.sum())


def draw_codes(random: np.random.Generator, reach: Floats, size: int) -> Ints:
    """Draw `size` codes with the cumulative shares `reach`."""
    codes = np.searchsorted(reach, random.random(size), side="right").astype(np.int64)
    return np.minimum(codes, len(reach) - 1)


def draw_users(random: np.random.Generator, count: int) -> Users:
    """Draw users; spending rises with the membership and is unknown for one in ten."""
    membership = draw_codes(random, np.cumsum([0.6, 0.3, 0.1]), count)
    spend = np.exp(3.4 + 0.5 * membership + 0.8 * random.standard_normal(count))
    spend[random.random(count) < 0.1] = np.nan
    return Users(
        identifier=100_000 + random.permutation(count).astype(np.int64),
        segment=random.integers(0, SEGMENTS, count),
        age_band=random.integers(0, AGE_BANDS, count),
        city=draw_codes(random, zipf_reach(CITIES, 0.8), count),
        device=random.integers(0, DEVICES, count),
        membership=membership,
        spend=spend.round(2),
        tenure_days=np.floor(random.exponential(300.0, count)),
        liking=random.standard_normal((count, RANK)),
        reach=zipf_reach(count, 0.7),
    )


def draw_items(random: np.random.Generator, count: int) -> Items:
    """Draw items; the price level belongs to the category, one rating in seven is unknown."""
    category = random.integers(0, CATEGORIES, count)
    level = random.normal(0.0, 0.6, CATEGORIES)
    price = np.exp(3.0 + level[category] + 0.6 * random.standard_normal(count))
    rating = np.clip(np.round(3.8 + 0.7 * random.standard_normal(count), 1), 1.0, 5.0)
    rating[random.random(count) < 0.15] = np.nan
    discounted = random.random(count) < 0.45
    tags = random.integers(0, TAGS, (count, MAX_TAGS))
    tags[np.arange(MAX_TAGS) >= random.integers(1, MAX_TAGS + 1, count)[:, None]] = -1
    return Items(
        identifier=7_000_000 + 13 * random.permutation(count).astype(np.int64),
        category=category,
        brand=draw_codes(random, zipf_reach(BRANDS, 0.8), count),
        price=price.round(2),
        rating=rating,
        discount=np.where(discounted, np.round(random.uniform(0.05, 0.5, count), 2), 0.0),
        first_day=-random.exponential(40.0, count),
        tags=tags,
        appeal=random.standard_normal(count),
        reach=zipf_reach(count, 0.8),
    )


def draw_tables(random: np.random.Generator) -> Tables:
    """Draw the tables; in each, every column has mean 0 and standard deviation 1.

    The two interests read segment and category through orthogonal tables.
    """
    taste_segment = draw_table(random, SEGMENTS)
    taste_category = draw_table(random, CATEGORIES)
    return Tables(
        taste_segment=taste_segment,
        taste_city=draw_table(random, CITIES),
        taste_category=taste_category,
        taste_tag=draw_table(random, TAGS),
        taste_liking=draw_table(random, CATEGORIES, RANK),
        value_segment=draw_table(random, SEGMENTS, unlike=taste_segment),
        value_age=draw_table(random, AGE_BANDS),
        value_category=draw_table(random, CATEGORIES, unlike=taste_category),
        value_brand=draw_table(random, BRANDS),
    )


def draw_table(random: np.random.Generator, *shape: int, unlike: Floats | None = None) -> Floats:
    """Draw a table of `shape` with standardised columns, orthogonal to the table `unlike`."""
    values = random.standard_normal(shape)
    values -= values.mean(axis=0)
    if unlike is not None:
        values -= unlike * (values @ unlike) / (unlike @ unlike)
    values /= values.std(axis=0)
    return values

"""The two planted interests, and the links that turn them into probabilities.

TASTE moves click and watch time; VALUE moves purchase up and dislike down. Each is a sum of terms
of a row's columns, and of a little that no column holds. Both read some of the same columns, but
through independent tables and orthogonal shapes, so they are uncorrelated: what an expert learns
for one pair of tasks says nothing about the other pair. Most of both is interaction, which no
linear model of the columns can express. The links are calibrated, so that rates and best scores are
those stated here.
"""

from dataclasses import dataclass

import numpy as np

from recmtl.simulate.shop import Floats, Ints, Items, Shop, Tables, draw_codes, draw_shop

__all__ = [
    "DAYS",
    "Chances",
    "Context",
    "World",
    "chances_of",
    "draw_context",
    "draw_world",
    "taste_terms",
    "value_terms",
]

DAYS = 14
CALIBRATION_ROWS = 40_000
TARGET_AUC = 0.75
CLICK_RATE, PURCHASE_RATE, DISLIKE_RATE = 0.20, 0.12, 0.025
TYPICAL_WATCH_S = 25.0
NIGHT_HOUR, EVENING_HOUR = 1.0, 19.0  # a quarter of a day apart: the two waves are orthogonal
TASTE_WEIGHTS = np.array([0.50, 0.50, 0.25, 0.45, 0.35, 0.30])
VALUE_WEIGHTS = np.array([0.55, 0.50, 0.45, 0.40, 0.25, 0.20])


@dataclass(frozen=True)
class Context:
    """What the columns say about each impression besides its user and item."""

    day: Floats  # days since the start of the log
    hour: Floats  # 0 to 24
    position: Floats
    session_depth: Floats
    minutes_since_visit: Floats  # NaN = first visit


@dataclass(frozen=True)
class Chances:
    """The truth about rows: both interests, probabilities, and the mean of log watch seconds."""

    taste: Floats
    value: Floats
    click: Floats
    purchase_given_click: Floats
    dislike: Floats
    log_watch: Floats


@dataclass(frozen=True)
class World:
    """A shop and the calibrated links from its two interests to the labels."""

    shop: Shop
    centre: Floats  # [2, terms], mean of each term of TASTE and VALUE
    slope: Floats  # [2, terms], weight of each centred term; both interests have unit variance
    click: tuple[float, float]  # intercept and slope of the logit on TASTE
    purchase: tuple[float, float]  # on VALUE
    dislike: tuple[float, float]  # on VALUE, the slope is negative
    watch: tuple[float, float, float]  # mean, slope on TASTE and noise of log seconds


def draw_world(seed: int, *, users: int, items: int) -> World:
    """Draw a shop, and calibrate rates and true AUCs on impressions that no log holds."""
    random = np.random.default_rng([seed, 0])
    shop = draw_shop(random, users=users, items=items)
    rows = CALIBRATION_ROWS
    user = draw_codes(random, shop.users.reach, rows)
    item = draw_codes(random, shop.items.reach, rows)
    day, position = DAYS * random.random(rows), random.integers(0, 10, rows)
    context = draw_context(random, day, position=position)
    terms = interest_terms(shop, user, item, context)
    centre = terms.mean(axis=1)
    slope = np.stack([TASTE_WEIGHTS, VALUE_WEIGHTS]) / terms.std(axis=1)
    raw = np.einsum("fbt,ft->fb", terms - centre[:, None], slope)
    slope /= raw.std(axis=1)[:, None]
    taste, value = raw / raw.std(axis=1)[:, None]
    click = calibrate(taste, np.ones(rows), CLICK_RATE, 1.0)
    clicked = sigmoid(click[0] + click[1] * taste)
    spread = np.average((taste - np.average(taste, weights=clicked)) ** 2, weights=clicked)
    return World(
        shop=shop,
        centre=centre,
        slope=slope,
        click=click,
        purchase=calibrate(value, clicked, PURCHASE_RATE, 1.0),
        dislike=calibrate(value, np.ones(rows), DISLIKE_RATE, -1.0),
        watch=(float(np.log(TYPICAL_WATCH_S)), 0.8, 0.8 * float(np.sqrt(spread))),
    )


def draw_context(random: np.random.Generator, day: Floats, *, position: Ints) -> Context:
    """Draw the context of rows; one visit in five is a first visit."""
    rows = len(day)
    minutes = np.floor(np.exp(5.0 + 1.3 * random.standard_normal(rows)))
    minutes[random.random(rows) < 0.2] = np.nan
    return Context(
        day=day,
        hour=np.round(24.0 * (day % 1.0), 2),
        position=position.astype(np.float64),
        session_depth=random.geometric(0.2, rows).astype(np.float64) - 1.0,
        minutes_since_visit=minutes,
    )


def chances_of(world: World, user: Ints, item: Ints, context: Context) -> Chances:
    """The true probabilities of rows."""
    terms = interest_terms(world.shop, user, item, context)
    taste, value = np.einsum("fbt,ft->fb", terms - world.centre[:, None], world.slope)
    return Chances(
        taste=taste,
        value=value,
        click=sigmoid(world.click[0] + world.click[1] * taste),
        purchase_given_click=sigmoid(world.purchase[0] + world.purchase[1] * value),
        dislike=sigmoid(world.dislike[0] + world.dislike[1] * value),
        log_watch=world.watch[0] + world.watch[1] * taste,
    )


def interest_terms(shop: Shop, user: Ints, item: Ints, context: Context) -> Floats:
    """Unscaled terms of TASTE and VALUE, `[2, rows, terms]`; `user` and `item` are positions."""
    return np.stack([terms(shop, user, item, context) for terms in (taste_terms, value_terms)])


def taste_terms(shop: Shop, user: Ints, item: Ints, context: Context) -> Floats:
    """What attracts, `[rows, terms]`: taste that meets style, and fresh items at night."""
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
    """What is worth its price, `[rows, terms]`: quality for those with means, and good deals."""
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
    """Style of each item: its category, the mean of its tags, and a hidden appeal."""
    filled = items.tags >= 0
    tags = np.where(filled, tables.taste_tag[items.tags], 0.0) / filled.sum(axis=1, keepdims=True)
    style: Floats = tables.taste_category[items.category] + tags.sum(axis=1) + 0.5 * items.appeal
    return style


def calibrate(factor: Floats, weight: Floats, rate: float, sign: float) -> tuple[float, float]:
    """Intercept and slope of a logit with the weighted mean `rate` and the AUC `TARGET_AUC`."""
    low, high = 0.0, 6.0
    for _ in range(18):
        slope = (low + high) / 2
        intercept = intercept_for(sign * slope * factor, weight, rate)
        chance = sigmoid(intercept + sign * slope * factor)
        low, high = (slope, high) if expected_auc(chance, weight) < TARGET_AUC else (low, slope)
    return intercept, sign * slope


def intercept_for(logit: Floats, weight: Floats, rate: float) -> float:
    """The constant for which `sigmoid(constant + logit)` has the weighted mean `rate`."""
    low, high = -12.0, 12.0
    for _ in range(24):
        middle = (low + high) / 2
        above = np.average(sigmoid(middle + logit), weights=weight) > rate
        low, high = (low, middle) if above else (middle, high)
    return (low + high) / 2


def expected_auc(chance: Floats, weight: Floats) -> float:
    """AUC of true probabilities against labels drawn from them, in expectation."""
    order = np.argsort(chance)
    positive, negative = (weight * chance)[order], (weight * (1 - chance))[order]
    below = np.cumsum(negative) - 0.5 * negative
    return float((positive * below).sum() / (positive.sum() * negative.sum()))


def sigmoid(logit: Floats) -> Floats:
    """1 / (1 + exp(-logit)), without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * logit))

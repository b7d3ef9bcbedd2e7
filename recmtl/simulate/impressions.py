"""Draw impressions block by block: labels from the true probabilities, histories from clicks.

A block is a fixed number of requests with a random generator of its own, so that the rows do not
depend on the row groups of the file. Only the click history passes from block to block.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recmtl.simulate.shop import CATEGORIES, Floats, Ints, draw_codes
from recmtl.simulate.world import DAYS, Chances, Context, World, chances_of, draw_context

__all__ = ["Block", "draw_blocks"]

HISTORY = 20
REQUESTS_PER_BLOCK = 500


@dataclass(frozen=True)
class Block:
    """Consecutive impressions: users and items by position, context, history and labels."""

    row: Ints
    request: Ints
    user: Ints
    item: Ints
    context: Context
    history: Ints  # [rows, HISTORY] item positions, oldest first, -1 = none
    chances: Chances
    click: NDArray[np.bool_]
    purchase: NDArray[np.bool_]
    dislike: NDArray[np.bool_]
    watch_s: Floats  # NaN where not clicked


def draw_blocks(world: World, *, rows: int, seed: int) -> Iterator[Block]:
    """Draw `rows` impressions in blocks, in order of time over `DAYS` days."""
    history = first_histories(world, np.random.default_rng([seed, 1]))
    done, request, index = 0, 0, 0
    while done < rows:
        random = np.random.default_rng([seed, 2, index])
        block = draw_block(world, random, history, first=(done, request), rows=rows)
        append_clicks(history, block)
        yield block
        done, request, index = done + len(block.user), request + REQUESTS_PER_BLOCK, index + 1


def draw_block(
    world: World, random: np.random.Generator, history: Ints, *, first: tuple[int, int], rows: int
) -> Block:
    """Draw one block of a log of `rows` rows; `first` numbers its first row and request."""
    sizes = random.integers(8, 13, REQUESTS_PER_BLOCK)
    of_request = np.repeat(np.arange(REQUESTS_PER_BLOCK), sizes)[: rows - first[0]]
    start = np.cumsum(sizes) - sizes
    total = len(of_request)
    request_user = draw_codes(random, world.shop.users.reach, REQUESTS_PER_BLOCK)
    request_day = np.minimum((first[0] + start) / rows, 1.0 - 1e-9) * DAYS
    user = request_user[of_request]
    item = draw_codes(random, world.shop.items.reach, total)
    visit = draw_context(random, request_day, position=start)
    context = Context(**{name: part[of_request] for name, part in vars(visit).items()})
    context = replace(context, position=(np.arange(total) - start[of_request]).astype(np.float64))
    chances = chances_of(world, user, item, context)
    luck = random.random((3, total))
    click = luck[0] < chances.click
    watch = np.exp(chances.log_watch + world.watch[2] * random.standard_normal(total))
    return Block(
        row=first[0] + np.arange(total),
        request=first[1] + of_request,
        user=user,
        item=item,
        context=context,
        history=history[user],
        chances=chances,
        click=click,
        purchase=click & (luck[1] < chances.purchase_given_click),
        dislike=luck[2] < chances.dislike,
        watch_s=np.where(click, np.round(watch, 3), np.nan),
    )


def first_histories(world: World, random: np.random.Generator) -> Ints:
    """Clicks of each user before the log: popular items of the categories that the user likes."""
    users, items = world.shop.users, world.shop.items
    count = len(users.identifier)
    liking = users.liking @ world.shop.tables.taste_liking.T
    share = np.exp(0.9 * (liking - liking.max(axis=1, keepdims=True)))
    reach = np.cumsum(share / share.sum(axis=1, keepdims=True), axis=1)
    category = (random.random((count, HISTORY, 1)) > reach[:, None, :-1]).sum(axis=2)
    by_category = np.argsort(items.category, kind="stable")
    ends = np.searchsorted(items.category[by_category], np.arange(CATEGORIES + 1))
    starts, sizes = ends[:-1][category], np.diff(ends)[category]
    pick = starts + (sizes * random.random((count, HISTORY)) ** 3).astype(np.int64)
    history = np.where(sizes > 0, by_category[np.minimum(pick, len(by_category) - 1)], -1)
    length = random.integers(0, HISTORY + 1, count)
    history[np.arange(HISTORY) < HISTORY - length[:, None]] = -1
    return history


def append_clicks(history: Ints, block: Block) -> None:
    """Append a block's clicked items to the histories of their users, in place."""
    user, item = block.user[block.click], block.item[block.click]
    order = np.argsort(user, kind="stable")
    user, item = user[order], item[order]
    turn = np.arange(len(user)) - np.searchsorted(user, user)  # 0 for a user's first click
    for number in range(int(turn.max(initial=-1)) + 1):
        now = turn == number
        history[user[now]] = np.column_stack([history[user[now], 1:], item[now]])

"""Which statistics of the past a log might bear, as commented lines of a drafted schema."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from recmtl.data.statistics.periods import numbers_a_day

__all__ = ["statistics_draft"]

FEWEST_ROWS = 3.0
"""Rows a value, on average, from which the past of a value says something."""
MOST_ENTRIES = 4


def statistics_draft(
    rows_of: Mapping[str, float], tasks: Sequence[str], times: Any | None
) -> Iterator[str]:
    """Lines that a user may uncomment; none where no column repeats its values.

    Args:
        rows_of: by column of ids, rows a value on average.
        tasks: binary tasks.
        times: some values of the column of times, as an Arrow array; None in a log without time.

    >>> for line in statistics_draft({"user_id": 9.5}, ["click"], pa.array([20220425])):
    ...     print(line)
    # statistics:  # how often it happened to these before, an idea
    #   - name: user_id_past  # 9.5 rows a value
    #     key: "user_id"
    #     of: [click]
    #     grain: 1
    #     windows: [all, 7]
    """
    often = {name: rows for name, rows in rows_of.items() if rows >= FEWEST_ROWS}
    if not often or not tasks:
        return
    yield "# statistics:  # how often it happened to these before, an idea"
    # Columns with the fewest rows a value come first: an embedding knows least of those.
    for column in sorted(often, key=lambda name: often[name])[:MOST_ENTRIES]:
        name = re.sub(r"\W", "_", column, flags=re.ASCII).lstrip("0123456789")
        yield f"#   - name: {name}_past  # {often[column]:.1f} rows a value"
        yield f"#     key: {json.dumps(column)}"
        yield f"#     of: [{', '.join(tasks)}]"
        yield from _periods(times)


def _periods(times: Any | None) -> Iterator[str]:
    if times is None:
        return
    grain: int | None = None
    if pa.types.is_integer(times.type) or pa.types.is_floating(times.type):
        grain = numbers_a_day(pc.max(times).as_py() or 0)
    yield f"#     grain: {'1d' if grain is None else grain}"
    yield f"#     windows: [all, {'7d' if grain is None else 7 * grain}]"

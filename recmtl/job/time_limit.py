"""How long a job may take: a length of time as people write it, in seconds."""

import math
import re

from recmtl.errors import ConfigError

__all__ = ["seconds"]

_UNITS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0}
"""From the longest to the shortest, in which order they are written."""
_SPELLED = {
    **dict.fromkeys(("day", "days"), "d"),
    **dict.fromkeys(("hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("sec", "secs", "second", "seconds"), "s"),
}
_PART = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)")


def seconds(length: str | float) -> float:
    """The seconds of a length of time: `10m`, `1h30m`, `90 s`, `1.5 hours`; a bare number is one.

    >>> seconds("10m"), seconds("1h30m"), seconds("90"), seconds(2.5)
    (600.0, 5400.0, 90.0, 2.5)

    Raises:
        ConfigError: it is no length of time, or not longer than none.
    """
    total = _total(length) if isinstance(length, str) else float(length)
    if total is None or not math.isfinite(total) or total <= 0:
        raise ConfigError(
            f"time limit: {length!r} is no length of time; "
            "write seconds, or numbers with units such as 90s, 10m or 1h30m"
        )
    return total


def _total(text: str) -> float | None:
    """The seconds of a text; None if it is no length of time."""
    text, units, total = text.strip().lower(), list(_UNITS), 0.0
    place = 0
    while place < len(text) and (part := _PART.match(text, place)):
        number, word = part.groups()
        unit = _SPELLED.get(word, word)
        if not unit and number == text:
            unit = "s"
        if unit not in units:  # unknown, missing, or not shorter than the one before
            return None
        total += float(number) * _UNITS[unit]
        units = units[units.index(unit) + 1 :]
        place = part.end()
    return total if place and place == len(text) else None

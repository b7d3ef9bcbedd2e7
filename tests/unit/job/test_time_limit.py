"""A length of time as people write it becomes seconds, or a message that says how to write it."""

import pytest

from recmtl.errors import ConfigError
from recmtl.job.time_limit import seconds


@pytest.mark.parametrize(
    ("length", "expected"),
    [
        ("10m", 600),
        ("90", 90),
        ("90s", 90),
        (" 1H 30M ", 5400),
        ("1.5 hours", 5400),
        (".5m", 30),
        ("2 min 5 sec", 125),
        ("1d", 86_400),
        (120, 120),
        (0.25, 0.25),
    ],
)
def test_a_length_of_time_is_read_as_people_write_it(length: str | float, expected: float) -> None:
    assert seconds(length) == expected


@pytest.mark.parametrize(
    "length",
    [
        "",
        " ",
        "m",
        "10x",
        "10 20",
        "1h30",
        "30m1h",
        "5m5m",
        "-5m",
        "0",
        "0s",
        "1e400",
        "ten minutes",
        "10m!",
        0,
        -1,
        float("nan"),
        float("inf"),
    ],
)
def test_what_is_no_length_of_time_is_refused_with_the_remedy(length: str | float) -> None:
    with pytest.raises(ConfigError, match="write seconds, or numbers with units such as 90s"):
        seconds(length)

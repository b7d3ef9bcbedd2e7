"""What the schema says about statistics of the past: how often something happened to a key before.

An entry names a key, what happened (`of`) and windows of time; every number that it derives is a
numeric feature with a name of its own, `<entry>.<outcome>.rate.<window>`. How the numbers come
about is in `recmtl.data.statistics`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Literal

from pydantic import Field

from recmtl.errors import SchemaError
from recmtl.schema.condition import Condition, seconds_of
from recmtl.schema.features import EncodedFeature, Feature
from recmtl.schema.kinds.times import check_time_zone
from recmtl.schema.settings import BUCKETS, WEIGHT, settings

__all__ = ["DerivedFeature", "Outcome", "PastStatistics", "StatisticNumber"]

DAY = seconds_of("1d")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
ALL = "all"
FOLDS = Field(ge=2, le=1000)
LONGEST = 2**60


@dataclass(frozen=True)
class Outcome:
    """What an entry counts in each row: the label of a task, or a column or rule of its own.

    Attributes:
        name: stands in the names of the numbers.
        task: the task whose label it is; None if `column` says it.
        column: the column of numbers, or the rule on one; None if it is a task's label.
        is_event: whether it is 0 or 1; otherwise it is any number.
    """

    name: str
    task: str | None
    column: Condition | None
    is_event: bool


@dataclass(frozen=True)
class StatisticNumber:
    """One derived number.

    Attributes:
        name: of the numeric feature.
        kind: `rate` (of an event, or mean of a number), `count` of rows, or `last` (periods since).
        outcome: position of the outcome in the entry; None for numbers of the rows themselves.
        window: position of the window; None for `last`.
    """

    name: str
    kind: Literal["rate", "count", "last"]
    outcome: int | None = None
    window: int | None = None

    @property
    def is_logged(self) -> bool:
        """Whether the feature takes log1p of it."""
        return self.kind != "rate"


@settings(SchemaError)
class PastStatistics:
    """Statistics of the past by one key.

    A row of period p sees the rows of periods before p - `delay` only. Durations are a number and
    one of s, m, h, d, w; where roles.time holds plain numbers, they are whole numbers of its unit.

    Attributes:
        name: the entry; it begins the names of its numbers.
        key: a column, several columns that form one key, or a list column, whose elements are then
            keys: a row takes the mean of their rates, the sum of their counts, the least of `last`.
        of: tasks by name, or `{column: ...}`: a column of numbers, or a rule as in a label.
        windows: `all`, or how far back the rows may lie.
        values: `rate` of every outcome and window (a mean for numbers), `count` of rows in every
            window, `last`: periods since the last row, and since the last event of each outcome.
        smoothing: rows of the common rate in that window which are added to every rate.
        grain: length of a period.
        delay: time until a label is known, rounded up to whole periods.
        time_zone: whose days count, for times with a zone and a `grain` of whole days.
        hash_buckets: number of keys that are told apart; None keeps every key.
        freeze: `train_end` lets later rows see train rows only, as if nothing was added after.
        folds: parts of the train rows in a log without time, of which a row does not see its own.
    """

    name: str
    key: str | tuple[str, ...]
    of: tuple[str | Condition, ...] = ()
    windows: tuple[str | int, ...] = (ALL,)
    values: tuple[Literal["rate", "count", "last"], ...] = ("rate", "count")
    smoothing: Annotated[float, WEIGHT] = 20.0
    grain: str | int = "1d"
    delay: str | int = 0
    time_zone: str = "UTC"
    hash_buckets: Annotated[int, BUCKETS] | None = None
    freeze: Literal["train_end"] | None = None
    folds: Annotated[int, FOLDS] = 5

    def __post_init__(self) -> None:
        """Check what concerns this entry alone."""
        if not _NAME.fullmatch(self.name):
            raise ValueError("a name is letters, digits and _, and does not begin with a digit")
        if not self.keys or len(set(self.keys)) < len(self.keys):
            raise ValueError("key needs one or several different columns")
        if not self.values or not self.windows:
            raise ValueError("values and windows must not be empty")
        for many in (self.windows, self.values, self.of):
            if len(set(many)) < len(many):
                raise ValueError(f"{', '.join(map(str, many))}: name each once")
        if "rate" in self.values and not self.of:
            raise ValueError("a rate needs of: tasks, or {column: ...}")
        self._check_times()

    def _check_times(self) -> None:
        grain = self.grain_length
        if grain < 1:
            raise ValueError("grain must be above 0")
        for window in self.windows:
            if window != ALL and (self._length(window) < grain or self._length(window) % grain):
                raise ValueError(f"window {window} is not a multiple of the grain {self.grain}")
        if self._length(self.delay) < 0:
            raise ValueError("delay must not be negative")
        if self.time_zone == "UTC":
            return
        check_time_zone(self.time_zone)
        # The clocks of a zone run through one hour twice a year, the days of its calendar do not.
        if self.counts_numbers or grain % DAY:
            raise ValueError("time_zone is for a grain of whole days; drop it")

    def _length(self, duration: str | int) -> int:
        """A duration in seconds, or in the unit of a time of plain numbers."""
        if isinstance(duration, int):
            if duration and not self.counts_numbers:
                raise ValueError(f"{duration} needs a unit, such as {duration}d")
            if abs(duration) > LONGEST:
                raise ValueError(f"{duration} is longer than 2^60")
            return duration
        seconds = seconds_of(duration)
        if self.counts_numbers:
            raise ValueError(f"{duration} has a unit and the grain {self.grain} has none")
        return seconds

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The columns of the key."""
        return (self.key,) if isinstance(self.key, str) else self.key

    @property
    def counts_numbers(self) -> bool:
        """Whether periods are counted in the unit of a time of plain numbers."""
        return isinstance(self.grain, int)

    @cached_property
    def grain_length(self) -> int:
        """Length of a period in seconds, or in the unit of a time of plain numbers."""
        return self._length(self.grain)

    @cached_property
    def delay_periods(self) -> int:
        """The delay in periods, rounded up."""
        return -(-self._length(self.delay) // self.grain_length)

    def waits_for(self, window: str | int) -> bool:
        """Whether the delay is at least as long as a window in its unit."""
        if isinstance(window, int) != self.counts_numbers:
            return False
        length = window if isinstance(window, int) else seconds_of(window)
        return self.delay_periods * self.grain_length >= length

    @cached_property
    def window_periods(self) -> tuple[int | None, ...]:
        """Each window in periods, None for all time."""
        return tuple(
            None if window == ALL else self._length(window) // self.grain_length
            for window in self.windows
        )

    @property
    def needs_time(self) -> bool:
        """Whether this entry means nothing in a log without time."""
        timed = self.windows != (ALL,) or "last" in self.values
        return timed or self.freeze is not None or self.delay_periods > 0

    def numbers(self, outcomes: tuple[Outcome, ...]) -> Iterator[StatisticNumber]:
        """The numbers of each row, in the order of their features."""
        for kind in self.values:
            if kind == "last":
                yield StatisticNumber(f"{self.name}.last", kind)
            for w, window in enumerate(self.windows if kind == "count" else ()):
                yield StatisticNumber(f"{self.name}.count.{window}", kind, window=w)
            for i, outcome in enumerate(outcomes):
                start = f"{self.name}.{outcome.name}"
                if kind == "last" and outcome.is_event:
                    yield StatisticNumber(f"{start}.last", kind, outcome=i)
                for w, window in enumerate(self.windows if kind == "rate" else ()):
                    word = "rate" if outcome.is_event else "mean"
                    yield StatisticNumber(f"{start}.{word}.{window}", kind, outcome=i, window=w)


@dataclass(frozen=True)
class DerivedFeature:
    """A feature that no column of the log holds: it is computed before rows are encoded.

    Attributes:
        feature: what is encoded; its column has the feature's name and is computed.
        source: the feature from which it is derived, or the entry of the statistics of the past.
        columns: the columns of the log by which it is computed.
    """

    feature: EncodedFeature
    source: Feature | PastStatistics
    columns: tuple[str, ...]

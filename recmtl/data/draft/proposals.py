"""What a draft only proposes, as commented lines: tasks, histories, times, lists in cells."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from recmtl.data.draft.placing import AFTERWARDS, OUTCOMES, Draft, name_words
from recmtl.data.draft.profile import ColumnProfile
from recmtl.data.statistics.periods import UNITS
from recmtl.schema import TextFiles
from recmtl.schema.yaml_text import quoted

__all__ = ["files_lines", "history_lines", "position_lines", "task_lines", "time_lines"]

MOST_TASKS, MOST_BESIDE = 8, 3
"""Proposed tasks where the draft has none, and beside others."""
RATINGS = name_words("rating rated stars score grade")
FEWEST_CLASSES, MOST_CLASSES = 3, 20
"""Whole numbers that are classes in an order."""
COUNTS = name_words("count counts cnt num number times")
WATCHED = name_words("watch watched play played dwell")
DURATIONS = name_words("duration length")
PLACES = name_words("slot position pos place rank")
MOST_PLACES = 1000
DAY = 86_400
FIRST_YEAR, LAST_YEAR = 10_957 * DAY, 47_482 * DAY
"""Seconds from 1970 to the years 2000 and 2100, between which numbers are taken for times."""
LISTED = re.compile(r"\[.*\]|[^|]+(\|[^|]+)+")
"""Cells that hold a list: `[3, 5]`, `Action|Comedy`."""


def task_lines(draft: Draft, columns: Sequence[ColumnProfile]) -> Iterator[str]:
    """Tasks that columns may be the label of: answers among the features, numbers known later."""
    proposed = [lines for lines in (list(_task(draft, column)) for column in columns) if lines]
    most = MOST_BESIDE if draft.tasks else MOST_TASKS
    for lines in proposed[:most]:
        yield from lines
    if len(proposed) > most:
        yield f"  # {len(proposed) - most} more columns hold two values, or may be outcomes"


def _task(draft: Draft, column: ColumnProfile) -> Iterator[str]:
    name, words = re.sub(r"\W", "_", column.name, flags=re.ASCII), name_words(column.name)
    label, is_feature = quoted(column.name), column.name in draft.features
    name = f"task_{name}" if name[:1].isdigit() else name
    if is_feature and column.event == 1:
        share = f"{len(column.positive) / column.rows:.2%} are 1"
        why = f"? {share}; if it is an outcome, take it out of features"
        yield f"  # {name}: {{kind: binary, label: {label}}}  # {why}"
    elif is_feature and words & RATINGS and column.shape in ("int", "float"):
        rule = f"{{column: {label}, at_least: {column.facts.median}}}"
        yield f"  # {name}: {{kind: binary, label: {rule}}}  # ? then take it out of features"
        if column.shape == "int" and FEWEST_CLASSES <= column.distinct <= MOST_CLASSES:
            why = f"or its {column.distinct} values in their order"
            yield f"  # {name}: {{kind: multiclass, label: {label}, head: ordinal}}  # {why}"
    elif is_feature and column.shape == "int" and _counts_outcomes(column, words):
        why = f"? {column.facts}: a count; if it is an outcome, take it out of features"
        yield f"  # {name}: {{kind: regression, label: {label}, head: negative_binomial}}  # {why}"
    elif column.name in draft.ignore and words & AFTERWARDS and column.facts.bars:
        why = f"? {column.facts}"
        log = ", transform: log1p" if not column.facts.low.startswith("-") else ""
        gaps = ", missing: ignore" if column.missing else ""
        yield f"  # {name}: {{kind: regression, label: {label}{log}{gaps}}}  # {why}"
        for duration in _durations(draft) if words & WATCHED else ():
            head = f"head: {{kind: d2q, duration: {quoted(duration)}}}"
            why = "or how far up among rows of like duration"
            yield f"  # {name}: {{kind: regression, label: {label}, {head}{gaps}}}  # {why}"


def _counts_outcomes(column: ColumnProfile, words: frozenset[str]) -> bool:
    """Whether whole numbers from 0 are named like the count of something that came afterwards."""
    is_count = words & COUNTS and words & (OUTCOMES | AFTERWARDS)
    return bool(is_count) and column.distinct > 2 and not column.facts.low.startswith("-")


def _durations(draft: Draft) -> list[str]:
    """The first numeric feature that is named like a duration, if there is one."""
    numbers = (name for name, (text, _) in draft.features.items() if "kind: numeric" in text)
    return [name for name in numbers if name_words(name) & DURATIONS][:1]


def position_lines(draft: Draft, columns: Sequence[ColumnProfile]) -> Iterator[str]:
    """The places at which rows were shown, if a feature of small numbers is named like them."""
    for column in columns:
        is_small = column.shape == "int" and 2 <= column.distinct <= MOST_PLACES
        is_whole = is_small and not column.facts.low.startswith("-")
        if column.name in draft.features and is_whole and name_words(column.name) & PLACES:
            why = "? the place of the row on a page that serving does not know yet;"
            why += " then take it out of features"
            role = f"position: {quoted(column.name)}"
            yield f"  # {role}  # {why}" if draft.roles else f"# roles: {{{role}}}  # {why}"


def history_lines(column: str, draft: Draft, columns: Sequence[ColumnProfile]) -> Iterator[str]:
    """How a list of ids of a categorical feature may be read against the candidate instead."""
    table = re.search(r"table: (.*)\}$", draft.features[column][0])
    if table is None:
        return
    lengths = {profile.name: profile.facts.length for profile in columns}
    times = [
        profile.name
        for profile in columns
        if profile.shape == "list"
        and name_words(profile.name) & name_words("time ts timestamp times")
        and lengths[profile.name] == lengths[column]
    ]
    ages = f", times: {quoted(times[0])}" if times else ""
    yield (
        f"  # {quoted(column)}: {{kind: list, pooling: attention, target: {table[1]}{ages}}}"
        "  # instead, if these are past events: read against the candidate"
    )


def time_lines(draft: Draft, columns: Sequence[ColumnProfile]) -> Iterator[str]:
    """Parts of the calendar that tell the rows of a time apart, and its age at the row's time."""
    role = draft.roles.get("time", ("", ""))[0]
    read = {column.name: _instants(column) for column in draft.times}
    until = read.get(role)
    if until is not None and until.unit:
        # Numbers that lie where those of the row's time lie are times, too, whatever their name.
        numbers = [c for c in columns if c.name in draft.features and c.shape in ("int", "float")]
        read |= {column.name: _instants(column) for column in numbers}
    for name, time in read.items():
        if time is None or (
            until is not None and time.unit != until.unit and name in draft.features
        ):
            continue
        parts = ", ".join(_telling_parts(time.values))
        options = [f"parts: [{parts}]"] + [f"unit: {time.unit}"] * bool(time.unit)
        why = "the calendar, if it matters"
        if name != role:
            why = "? if it is known before the outcome; then take it out of ignore"
            if until is not None and (time.unit, time.zoned) == (until.unit, until.zoned):
                options.append(f"until: {quoted(role)}")
        if name in draft.features:
            why = f"instead, if these numbers are times as those of {role} are"
        if parts or len(options) > 1 + bool(time.unit):
            yield f"  # {quoted(name)}: {{kind: datetime, {', '.join(options)}}}  # {why}"


class _Instants(NamedTuple):
    """The distinct times of a column, and the unit of its plain numbers (empty: it has none)."""

    values: Any
    unit: str = ""
    zoned: bool = False


def _instants(column: ColumnProfile) -> _Instants | None:
    """The times of a column; None of one whose values are no times that parts can be told of."""
    values = column.values
    is_time = pa.types.is_timestamp(values.type) or pa.types.is_date(values.type)
    if is_time or column.shape == "text":
        zoned = pa.types.is_timestamp(values.type) and values.type.tz is not None
        try:
            return _Instants(values.cast(pa.timestamp("ms"), safe=False), zoned=zoned)
        except pa.ArrowException:
            return None
    if column.shape not in ("int", "float") or column.are_days:
        return None
    ends = [float(value) for value in pc.min_max(values).as_py().values()]
    for unit, scale in UNITS.items():
        if all(FIRST_YEAR * scale <= value < LAST_YEAR * scale for value in ends):
            whole = pc.floor(values.cast(pa.float64(), safe=False)).cast(pa.int64())
            return _Instants(
                whole.cast(pa.timestamp(unit)).cast(pa.timestamp("ms"), safe=False), unit
            )
    return None


def _telling_parts(instants: Any) -> Iterator[str]:
    """The parts that differ between times, those of a longer cycle only if it is seen twice."""
    ends = pc.min_max(instants.cast(pa.int64())).as_py()
    days = (ends["max"] - ends["min"]) / (DAY * UNITS["ms"])
    for part, function, cycle in (
        ("hour", pc.hour, 1),
        ("weekday", pc.day_of_week, 7),
        ("month", pc.month, 365),
    ):
        if days >= 2 * cycle and len(pc.unique(function(instants))) > 1:
            yield part


def files_lines(declared: TextFiles | None, columns: Sequence[ColumnProfile]) -> Iterator[str]:
    """The section `files` of a log of text; lists in cells as a proposal."""
    lists = [column for column in columns if _holds_lists(column)]
    if declared is not None:
        yield "files:"
        if declared.separator is not None:
            yield f"  separator: {json.dumps(declared.separator)}"
        yield from _declared(declared)
    elif lists:
        yield "# files:"
    if lists:
        entries = [f"{{column: {quoted(c.name)}, separator: {_inside(c)}}}" for c in lists]
        yield f"  # lists: [{', '.join(entries)}]  # ? cells look like lists"


def _declared(declared: TextFiles) -> Iterator[str]:
    if declared.columns:
        yield f"  columns: [{', '.join(quoted(name) for name in declared.columns)}]"
    for name in ("quote", "encoding", "decimal", "missing"):
        value = getattr(declared, name)
        if value != getattr(TextFiles(), name):
            value = list(value) if isinstance(value, tuple) else value
            yield f"  {name}: {json.dumps(value)}"
    if declared.lists:
        lists = [{"column": cells.column, "separator": cells.separator} for cells in declared.lists]
        yield f"  lists: {json.dumps(lists)}"
    if declared.pairs is not None:
        pairs = {name: value for name, value in vars(declared.pairs).items() if value is not None}
        yield f"  pairs: {json.dumps(pairs)}  # the rest of a row: a name and a value each"


def _holds_lists(column: ColumnProfile) -> bool:
    if column.shape != "text" or not column.distinct:
        return False
    texts = column.texts()[:1000]
    return sum(LISTED.fullmatch(text) is not None for text in texts) > len(texts) / 2


def _inside(column: ColumnProfile) -> str:
    return '","' if column.texts()[0].startswith("[") else '"|"'

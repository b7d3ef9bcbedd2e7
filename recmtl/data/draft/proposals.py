"""What a draft only proposes, as commented lines: tasks, histories, lists in cells."""

import json
import re
from collections.abc import Iterator, Sequence

from recmtl.data.draft.placing import AFTERWARDS, Draft, name_words
from recmtl.data.draft.profile import ColumnProfile
from recmtl.schema import TextFiles
from recmtl.schema.yaml_text import quoted

__all__ = ["files_lines", "history_lines", "task_lines"]

MOST_TASKS, MOST_BESIDE = 8, 3
"""Proposed tasks where the draft has none, and beside others."""
RATINGS = name_words("rating rated stars score grade")
LISTED = re.compile(r"\[.*\]|[^|]+(\|[^|]+)+")
"""Cells that hold a list: `[3, 5]`, `Action|Comedy`."""


def task_lines(draft: Draft, columns: Sequence[ColumnProfile]) -> Iterator[str]:
    """Tasks that columns may be the label of: answers among the features, numbers known later."""
    lines = [line for column in columns for line in _task(draft, column)]
    most = MOST_BESIDE if draft.tasks else MOST_TASKS
    yield from lines[:most]
    if len(lines) > most:
        yield f"  # {len(lines) - most} more columns hold two values, or may be outcomes"


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
    elif column.name in draft.ignore and words & AFTERWARDS and column.facts.bars:
        why = f"? {column.facts}"
        log = ", transform: log1p" if not column.facts.low.startswith("-") else ""
        gaps = ", missing: ignore" if column.missing else ""
        yield f"  # {name}: {{kind: regression, label: {label}{log}{gaps}}}  # {why}"


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

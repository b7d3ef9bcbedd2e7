"""A short page about a log: what its columns hold, and what the drafted schema makes of them."""

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from recmtl.atomic import write_text
from recmtl.data.describe import ColumnProfile, LogDescription
from recmtl.report.page import Html, page, paragraph, section, table

__all__ = ["profile_page", "write_profile_page"]

HEIGHTS = "▁▂▃▄▅▆▇█"
SHAPES = {
    "bool": "true or false",
    "int": "whole numbers",
    "float": "numbers",
    "text": "text",
    "time": "times",
    "list": "lists",
    "other": "something else",
}
ROLES = ("group", "time", "row_id", "sample_weight")
NAMED_VALUES = 3


def write_profile_page(path: str | Path, described: LogDescription) -> None:
    """Write `profile_page`; `path` holds either the whole new file or what it held before."""
    write_text(Path(path), profile_page(described))


def profile_page(described: LogDescription) -> str:
    """The HTML of the profile of a log: tasks and roles first, features, what is ignored."""
    columns = described.columns
    parts = {column.name: described.parts.get(column.name, ("ignored", "")) for column in columns}
    of_part = {
        title: [column for column in columns if parts[column.name][0] in names]
        for title, names in (
            ("Tasks", ("task",)),
            ("Roles", ROLES),
            ("Features", ("feature",)),
            ("Not used", ("ignored",)),
        )
    }
    return page(
        f"Profile of {described.data}",
        [
            Html(f"<h1>{escape(described.data)}</h1>"),
            paragraph(_summary(described)),
            *(
                section(title, _table(title, inside, described))
                for title, inside in of_part.items()
                if inside
            ),
            section(
                "The drafted schema",
                paragraph("A draft to read and correct: a question mark is a question to you."),
                Html(f'<pre class="scroll">{escape(described.text)}</pre>'),
            ),
        ],
    )


def _summary(described: LogDescription) -> str:
    rows = f"{described.rows:,} rows"
    if described.sampled < described.rows:
        rows += f", of which the first {described.sampled:,} are described"
    files = "one file" if described.files == 1 else f"{described.files:,} files"
    whole = sum(column.missing == 0 for column in described.columns)
    without = f"{whole:,} of them without a gap"
    return f"{rows} in {files}; {len(described.columns):,} columns, {without}."


def _table(title: str, columns: Sequence[ColumnProfile], described: LogDescription) -> Html:
    head = ["column", "holds", "missing", "distinct", "values", "shape", "remark"]
    kinds = ["", "text", "", "", "text", "text", "text"]
    rows = [
        [
            column.name,
            SHAPES[column.shape],
            f"{column.missing / column.rows:.1%}" if column.missing else "none",
            f"{column.distinct:,}",
            "; ".join(_values(column, is_task=title == "Tasks")),
            _bars(column.facts.bars) if column.distinct > 2 else "",
            _why(column.name, described),
        ]
        for column in columns
    ]
    filled = [i for i in range(len(head)) if any(row[i] for row in rows)]
    return table(
        [head[i] for i in filled],
        [[row[i] for i in filled] for row in rows],
        kinds=[[kinds[i] for i in filled]] * len(rows),
    )


def _values(column: ColumnProfile, *, is_task: bool) -> Iterator[str]:
    """Rate of a task; range and median of a number; the most frequent values of few or of text."""
    facts = column.facts
    if column.event is not None and (is_task or column.shape != "text"):
        yield f"{len(column.positive) / column.rows:.2%} are {column.event}"
        return
    if facts.low or facts.length is not None:
        yield str(facts)
    if column.shape == "text" or (facts.common and column.distinct <= NAMED_VALUES):
        common = facts.common[:NAMED_VALUES]
        yield ", ".join(f"{value} {share:.1%}" for value, share in common)


def _bars(counts: Sequence[int]) -> str:
    """A histogram in one line of text.

    >>> _bars([0, 5, 10])
    '▁▄█'
    """
    most = max(counts, default=0)
    return "".join(HEIGHTS[(len(HEIGHTS) - 1) * count // most] for count in counts) if most else ""


def _why(name: str, described: LogDescription) -> str:
    """Why a column has its part; of a feature only what is doubtful: the rest stands beside it."""
    part, why = described.parts.get(name, ("ignored", "cannot be read"))
    if part == "feature":
        return why.partition(";")[0].partition(":")[0] if why.startswith("?") else ""
    return f"{part}: {why}" if part in ROLES else why

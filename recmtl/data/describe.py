"""Draft a schema from the columns of a log, with the reason beside every line.

The rules are simple on purpose: they read names and count values (`ColumnProfile`). What may be an
outcome, or another thing than its name says, has a question mark; a person who knows which columns
are known before the outcome has to read the draft and correct it.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from recmtl.data.draft.check import checked_lines
from recmtl.data.draft.leaking import set_leaks_aside
from recmtl.data.draft.placing import draft_of
from recmtl.data.draft.profile import ColumnProfile, profile
from recmtl.data.draft.proposals import files_lines
from recmtl.data.draft.sample import Sample
from recmtl.data.draft.wishes import Wishes, apply_wishes
from recmtl.data.formats.file_format import file_format, without_endings
from recmtl.data.formats.text_layout import seen_layout
from recmtl.data.reader import Log, open_log
from recmtl.masking import mask
from recmtl.paths import is_url
from recmtl.schema import TextFiles
from recmtl.schema.names import MOST_CHARACTERS
from recmtl.schema.yaml_text import quoted

__all__ = ["ColumnProfile", "LogDescription", "column_profiles", "describe", "described"]

NOTHING = Wishes()


@dataclass(frozen=True)
class LogDescription:
    """What `described` saw of a log.

    Attributes:
        text: the drafted schema.
        data: what was described, without secrets.
        rows: of the log.
        sampled: rows that were looked at.
        files: number of files.
        columns: a profile of every column that can be read.
        parts: by column its part in the draft (`feature`, `task`, `time`, ..., `ignored`) and why.
    """

    text: str
    data: str
    rows: int
    sampled: int
    files: int
    columns: tuple[ColumnProfile, ...]
    parts: Mapping[str, tuple[str, str]]


def describe(
    path: str, *, name: str = "", wishes: Wishes = NOTHING, layout: TextFiles | None = None
) -> str:
    """A commented schema for the file, folder or glob at `path`; see `described`."""
    return described(path, name=name, wishes=wishes, layout=layout).text


def described(
    path: str, *, name: str = "", wishes: Wishes = NOTHING, layout: TextFiles | None = None
) -> LogDescription:
    """A log's columns and a commented schema for it.

    `load_schema` reads its text if at least one task and one feature were found; if none was, the
    text says so. `prepare` takes it as it stands, as far as the sampled rows say.

    Args:
        path: the data: see `recmtl.data.reader.open_log`.
        name: of the schema; that of the data if empty.
        wishes: what is known already: tasks, group, time.
        layout: of text files, as far as they do not show it: names of columns, say.

    Raises:
        DataError: the data cannot be read, or has no column that is wished.
    """
    log = open_log(path, layout=layout)
    sample = Sample(log)
    profiles = list(_profiles(sample))
    draft = draft_of(profiles)
    apply_wishes(draft, profiles, wishes)
    set_leaks_aside(draft, sample)
    draft.ignore |= sample.unreadable
    data = mask(" ".join(path.split()))
    is_text = file_format(log.files[0].path, is_text=layout is not None) == "text"
    files = list(files_lines(_declared(log, layout), profiles)) if is_text else []
    text = [
        f"# Drafted from {sample.rows:,} of {log.rows:,} rows of {data}.",
        "# Read every line: a column that is known only after the outcome must not be a feature.",
        "# A question mark is a question to you.",
        "version: 1",
        f"name: {quoted(_schema_name(name or path))}",
        *files,
        *checked_lines(draft, sample, profiles),
    ]
    return LogDescription(
        text="\n".join(text) + "\n",
        data=data,
        rows=log.rows,
        sampled=sample.rows,
        files=len(log.files),
        columns=tuple(profiles),
        parts=draft.parts(),
    )


def _declared(log: Log, layout: TextFiles | None) -> TextFiles | None:
    """What the schema should say of text files like those of a log."""
    return seen_layout(log.files[0].path, layout).to_declare()


def column_profiles(log: Log) -> Iterator[ColumnProfile]:
    """A profile of every column of the log, from its first rows (about 200,000)."""
    return _profiles(Sample(log))


def _profiles(sample: Sample) -> Iterator[ColumnProfile]:
    names = sample.column_names()
    types = sample.logical_types(names)
    batches = [batch.columns for batch in sample.batches(names)]
    for i, name in enumerate(names):
        yield profile(name, types[name], [batch.column(i) for batch in batches])


def _schema_name(path: str) -> str:
    place = path.partition("?")[0] if is_url(path) else path  # a query may hold a token
    name = without_endings(place.rstrip("/").split("/")[-1])
    words = re.findall(r"[A-Za-z0-9]+", name)
    return "_".join(words)[:MOST_CHARACTERS] or "log"

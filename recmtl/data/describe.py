"""Draft a schema from the columns of a log, with the reason beside every line.

The rules are simple on purpose: they read names and count values (`ColumnProfile`). What may be an
outcome, or another thing than its name says, has a question mark; a person who knows which columns
are known before the outcome has to read the draft and correct it.
"""

import re
from collections.abc import Iterator

from recmtl.data.draft.check import checked_lines
from recmtl.data.draft.placing import draft_of
from recmtl.data.draft.profile import ColumnProfile, profile
from recmtl.data.draft.sample import Sample
from recmtl.data.draft.wishes import Wishes, apply_wishes
from recmtl.data.reader import Log, open_log
from recmtl.masking import mask
from recmtl.paths import is_url
from recmtl.schema.names import MOST_CHARACTERS
from recmtl.schema.yaml_text import quoted

__all__ = ["ColumnProfile", "column_profiles", "describe"]

NOTHING = Wishes()


def describe(path: str, *, name: str = "", wishes: Wishes = NOTHING) -> str:
    """A commented schema for the Parquet file, folder or glob at `path`.

    `load_schema` reads it if at least one task and one feature were found; if none was, the text
    says so. `prepare` takes it as it stands, as far as the sampled rows say.

    Args:
        path: the data.
        name: of the schema; that of the data if empty.
        wishes: what is known already: tasks, group, time.

    Raises:
        DataError: the data cannot be read, or has no column that is wished.
    """
    log = open_log(path)
    sample = Sample(log)
    profiles = list(_profiles(sample))
    draft = draft_of(profiles)
    apply_wishes(draft, profiles, wishes)
    draft.ignore |= sample.unreadable
    head = [
        f"# Drafted from {sample.rows:,} of {log.rows:,} rows of {mask(' '.join(path.split()))}.",
        "# Read every line: a column that is known only after the outcome must not be a feature.",
        "# A question mark is a question to you.",
    ]
    named = f"name: {quoted(_schema_name(name or path))}"
    return "\n".join([*head, "version: 1", named, *checked_lines(draft, sample)]) + "\n"


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
    name = re.sub(r"\.parquet$", "", place.rstrip("/")).split("/")[-1]
    words = re.findall(r"[A-Za-z0-9]+", name)
    return "_".join(words)[:MOST_CHARACTERS] or "log"

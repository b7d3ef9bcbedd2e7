"""The rules by which a column becomes a feature, a task or a role: its name, its values."""

import math
import re
from collections.abc import Iterable

import pyarrow.compute as pc

from recmtl.data.draft.profile import ColumnProfile
from recmtl.data.split import PARTS
from recmtl.schema.yaml_text import quoted

__all__ = ["Draft", "draft_of", "name_words"]


def name_words(text: str) -> frozenset[str]:
    """The words of a name, and the name itself in lower case."""
    spaced = _spaced(text)
    return frozenset(word for word in [*re.split(r"[^a-z0-9]+", spaced), spaced] if word)


def _spaced(text: str) -> str:
    """A name in lower case, with `_` between its words."""
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", text).lower())


OUTCOMES = name_words(
    "click clicked like liked dislike purchase purchased buy bought order ordered pay paid "
    "conversion convert converted install label target follow share comment favorite favourite "
    "cart hate forward finish finished view viewed skip subscribe enter download apply churn "
    "success income outcome result response death died survived survival default fraud disease "
    "diagnosis refund cancel canceled cancelled rating rated stars won breach later next future"
)
AFTERWARDS = name_words("watch watched play played dwell stay revenue spent gmv")
TIMES = name_words("time ts timestamp datetime date hour")
LENGTHS = name_words("duration length elapsed age zone")
"""Beside a time's name: how long something took, not when it was."""
DAYS = name_words("date day dt ds datum")
GROUPS = name_words("request session search query")
PEOPLE = name_words("user uid userid member customer visitor")
ROWS = name_words("row impression event index exposure")
WEIGHTS = frozenset({"sample_weight", "instance_weight", "row_weight", "example_weight"})
SHORT_WEIGHTS = frozenset({"w", "weight"})
"""Of a row perhaps, of a body or a parcel perhaps."""
IDS = name_words("id no key uid userid")
CODES = IDS | name_words(
    "code recode zip item category categorical cat type city country region province state device "
    "model brand shop store seller author channel music genre domain site bucket hash"
)
CODED = re.compile(r"[cC]?\d+(_\d+)?")
"""Names of fields by their numbers: Ali-CCP's 205 and 150_14, Criteo's C4."""
WORDS = 3
"""Mean number of words from which text is read by its words."""
FEW = 50
"""Distinct values up to which whole numbers are taken for codes."""


class Draft:
    """The parts of the schema, filled column by column; a reason stands beside every entry."""

    def __init__(self) -> None:
        self.features: dict[str, tuple[str, str]] = {}
        self.tasks: dict[str, tuple[ColumnProfile, str]] = {}
        self.kinds: dict[str, str] = {}  # of tasks that are not binary, or were wished
        self.names: dict[str, str] = {}  # of tasks that were wished, by column
        self.roles: dict[str, tuple[str, str]] = {}
        self.ignore: dict[str, str] = {}
        self.split: tuple[str, str] | None = None
        self.lists: list[ColumnProfile] = []
        self.categorical: list[ColumnProfile] = []
        self.times: list[ColumnProfile] = []
        self.time: ColumnProfile | None = None

    def parts(self) -> dict[str, tuple[str, str]]:
        """By column its part in the schema, and why."""
        parts = {name: ("ignored", why) for name, why in self.ignore.items()}
        parts |= {name: ("feature", why) for name, (_, why) in self.features.items()}
        parts |= {name: (role, why) for role, (name, why) in self.roles.items()}
        return parts | {name: ("task", why) for name, (_, why) in self.tasks.items()}


def draft_of(columns: Iterable[ColumnProfile]) -> Draft:
    """Every column in the part of the schema that its name and values suggest."""
    draft = Draft()
    for column in columns:
        _place(column, draft)
    _place_times(draft)
    for column in draft.lists:
        _place_list(column, draft)
    return draft


def _place(column: ColumnProfile, draft: Draft) -> None:
    """Put one column into the part of the schema that its name and values suggest."""
    words = name_words(column.name)
    if column.shape == "other":
        draft.ignore[column.name] = "neither a value nor a list of values"
    elif column.distinct == 0 or (column.distinct == 1 and not column.missing):
        draft.ignore[column.name] = "constant"
    elif column.event is not None and words & OUTCOMES:
        share = len(column.positive) / column.rows
        draft.tasks[column.name] = (column, f"two values, named like an outcome, {share:.2%} are 1")
    elif words & AFTERWARDS and column.shape in ("int", "float"):
        draft.ignore[column.name] = "may be known only afterwards; perhaps a regression task"
    elif column.vector:
        absent = f"{column.missing / column.rows:.1%} missing, " if column.missing else ""
        why = f"{absent}lists of {column.vector} fractions each: a vector of content"
        draft.features[column.name] = ("{kind: vector}", why)
    elif column.shape == "list":
        draft.lists.append(column)
    elif column.shape == "text" and set(column.values.to_pylist()) <= set(PARTS):
        values = ", ".join(column.values.to_pylist())
        if column.distinct == len(PARTS) and not column.missing:
            split = f"{{by: column, column: {quoted(column.name)}}}"
            draft.split = (split, f"holds {values}")
        else:
            draft.ignore[column.name] = f"holds {values} and not all of {', '.join(PARTS)}"
    elif not _place_role(column, words, draft):
        _place_feature(column, words, draft)


def _place_role(column: ColumnProfile, words: frozenset[str], draft: Draft) -> bool:
    """Give the column a role, or ignore it; False if it may be a feature."""
    is_named = words & TIMES and not words & LENGTHS
    is_time = column.shape == "time" or (is_named and column.distinct > FEW)
    if is_time or (words & DAYS and column.are_days):
        draft.times.append(column)
        return True
    if _spaced(column.name) in WEIGHTS | SHORT_WEIGHTS:
        if _may_weigh(column):
            why = "named like a weight of the row"
            doubt = "? " if _spaced(column.name) in SHORT_WEIGHTS else ""
            draft.roles["sample_weight"] = (column.name, f"{doubt}{why}")
            return True
        return False
    if column.unique and column.shape != "float" and words & (ROWS | IDS):
        if "row_id" in draft.roles:
            draft.ignore[column.name] = "different in every row"
        else:
            draft.roles["row_id"] = (column.name, "different in every row, named like an id")
        return True
    if words & GROUPS and words & IDS:
        why = f"named like the request whose rows compete; {_groups(column)}"
        draft.roles["group"] = (column.name, why)
        return True
    return False


def _may_weigh(column: ColumnProfile) -> bool:
    """Whether no value is missing, infinite or negative, and not all of them are 0."""
    if column.shape not in ("int", "float") or column.missing:
        return False
    values = [float(value) for value in column.values.to_pylist()]
    return all(0 <= value < float("inf") for value in values) and max(values) > 0


def _place_times(draft: Draft) -> None:
    """The finest time without gaps becomes `roles.time`; the others are ignored."""
    orderly = [c for c in draft.times if c.missing == 0 and c.shape != "text"]
    finest = max(orderly, key=lambda column: column.distinct, default=None)
    for column in draft.times:
        if column is finest:
            draft.time = column
            why = f"named or typed like a time{_facts(column)}"
            draft.roles["time"] = (column.name, why)
        elif column.shape == "text":
            draft.ignore[column.name] = "a time as text; store it as a date to split by it"
        else:
            draft.ignore[column.name] = "another time" if finest else "a time with gaps"


def _place_feature(column: ColumnProfile, words: frozenset[str], draft: Draft) -> None:
    name = column.name
    missing = f", {column.missing / column.rows:.1%} missing" if column.missing else ""
    why = f"{_doubt(column, words)}{{}}{column.distinct:,} distinct values{missing}"
    if column.words >= WORDS and column.distinct > FEW:
        draft.features[name] = ("{kind: text}", why.format(f"{column.words:.1f} words each, "))
    elif column.shape == "text" and column.unique:
        draft.ignore[name] = "text that is different in every row"
    elif column.shape == "float":
        why = why.format("fractions, ") + _facts(column)
        draft.features[name] = ("{kind: numeric}", why)
    elif column.shape == "int" and _are_amounts(column, words):
        why = why.format("whole numbers, ") + _facts(column)
        draft.features[name] = ("{kind: numeric}", why)
    else:
        min_count = f", min_count: {least_count(column.rows)}" if column.distinct > FEW else ""
        common = f"; {column.facts.most_common}" if column.facts.most_common else ""
        draft.features[name] = (f"{{kind: categorical{min_count}}}", why.format("") + common)
        draft.categorical.append(column)
        if words & PEOPLE and (words & IDS or name.lower() in PEOPLE):
            person = f"named like a user, whose rows compete; {_groups(column)}"
            draft.roles.setdefault("group", (name, person))


def _facts(column: ColumnProfile) -> str:
    return f"; {column.facts}" if str(column.facts) else ""


def _groups(column: ColumnProfile) -> str:
    mean = (column.rows - column.missing) / max(column.distinct, 1)
    return f"{column.distinct:,} of them, {mean:.1f} rows each"


def least_count(rows: int) -> int:
    """The least count of an id in a log of so many rows: a fifth of their root, from 2 to 50.

    Measured on validation rows of two logs of 95,000 and 99,000 rows (docs/research/sources.md): 50
    is .025 of mean AUC better than 5 on one, no worse than 2 on the other (5 to 10 is best there).
    In a small log, few ids would be left of so high a count.

    >>> [least_count(rows) for rows in (80, 1_000, 10_000, 10**6)]
    [2, 6, 20, 50]
    """
    return min(50, max(2, round(math.sqrt(rows) / 5)))


def _doubt(column: ColumnProfile, words: frozenset[str]) -> str:
    """A question, where the column may be an outcome or the weight of the row."""
    if "weight" in words or words & SHORT_WEIGHTS:
        return "? named like a weight; sample_weight if it is the row's: "
    if words & OUTCOMES:
        return "? named like an outcome; known before it? "
    return "? yes or no; an outcome would be a task: " if column.is_answer else ""


def _are_amounts(column: ColumnProfile, words: frozenset[str]) -> bool:
    """Whether whole numbers are amounts, not codes or ids."""
    is_coded = words & CODES or CODED.fullmatch(column.name)
    return column.distinct > FEW and not is_coded and not column.are_large


def _place_list(column: ColumnProfile, draft: Draft) -> None:
    """Add a list, which shares the vocabulary of the categorical column with most of its values."""
    best, share = None, 0.5
    for other in draft.categorical:
        if other.distinct > 2 and _comparable(other, column):
            values = column.values.cast(other.values.type, safe=False)
            shared = pc.sum(pc.is_in(values, value_set=other.values)).as_py() or 0
            if shared / max(column.distinct, 1) > share:
                best, share = other.name, shared / column.distinct
    doubt = _doubt(column, name_words(column.name))
    if best is None:
        why = f"{doubt}{column.distinct:,} distinct values in lists{_facts(column)}"
        least = least_count(column.rows)
        draft.features[column.name] = (f"{{kind: list, min_count: {least}}}", why)
    else:
        why = f"{doubt}{share:.0%} of its values are values of {best}{_facts(column)}"
        draft.features[column.name] = (f"{{kind: list, table: {quoted(best)}}}", why)


def _comparable(a: ColumnProfile, b: ColumnProfile) -> bool:
    kinds = (str(a.values.type), str(b.values.type))
    return any(all(word in kind for kind in kinds) for word in ("int", "string"))

"""Days added to a log: encoded as an earlier log was, so that a network's table rows stay theirs.

Nothing is fitted again: values that the earlier log did not know share the unknown row. How many
they have become, by feature, is the drift that says when to fit anew.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from recmtl.data.log import EncodedLog
from recmtl.data.unknown import unknown_shares
from recmtl.errors import DataError
from recmtl.schema import Schema, dump_schema

__all__ = [
    "DRIFT_LIMIT",
    "drift_warnings",
    "refuse_another_schema",
    "refuse_other_classes",
    "vocabulary_drift",
]

DRIFT_LIMIT = 0.1
"""How much larger the share of unknown values may be before a warning says so."""


def refuse_another_schema(schema: Schema, earlier: EncodedLog) -> None:
    """Raise a DataError unless the earlier log was prepared with this very schema."""
    if dump_schema(schema) != dump_schema(earlier.schema):
        raise DataError(
            f"{earlier.folder}: was prepared with another schema; give the same one, or prepare "
            "without an earlier log"
        )


def refuse_other_classes(classes: Mapping[str, tuple[Any, ...]], earlier: EncodedLog) -> None:
    """Raise a DataError if a multiclass label has other classes than in the earlier log."""
    for task, known in earlier.label_statistics.items():
        if tuple(known.classes) != tuple(classes[task]):
            raise DataError(
                f"{earlier.folder}: task {task!r} had the classes {list(known.classes)}, not "
                f"{list(classes[task])}; prepare both logs together"
            )


def vocabulary_drift(
    manifest: Mapping[str, Any], earlier: EncodedLog
) -> dict[str, dict[str, float]]:
    """By feature, the share of unknown values: `before`, on earlier validation rows, and `now`.

    New values are usual on rows after those that were fitted, hence the validation rows.
    """
    before = unknown_shares(earlier.encoder(), earlier.split("validation").ids)
    unknown, values = ([*manifest[name].values()] for name in ("unknown", "values"))
    now = {name: _sum(unknown, name) / max(1, _sum(values, name)) for name in before}
    return {name: {"before": before[name], "now": now[name]} for name in now}


def _sum(parts: list[Mapping[str, int]], name: str) -> int:
    return sum(part[name] for part in parts)


def drift_warnings(drift: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """One line for each feature whose unknown values have become far more."""
    for name, shares in drift.items():
        if shares["now"] > shares["before"] + DRIFT_LIMIT:
            yield (
                f"feature {name!r}: {shares['now']:.1%} of the values are unknown, "
                f"{shares['before']:.1%} when its vocabulary was fitted; fit anew"
            )

"""Sources of knowledge: the fields of an encoded log, named by what kind of thing they tell.

| source | fields |
|---|---|
| `ids` | categorical features, lists that are pooled, parts and ages of times |
| `numbers` | numeric features |
| `counts` | lengths of pooled lists, `<list>.count` |
| `values` | exact values of numbers, `<number>.value` |
| `crosses` | combinations of the values of several columns |
| `statistics` | statistics of the past |
| `histories` | lists that are read against the candidate, their lengths, ages of their events |
| `vectors` | vectors of content |
| `texts` | n-grams of texts, `<text>.ngrams` |
| `trees` | what trees of each task say, `<task>.tree` |

A network hears some of the sources. The first two are what every network hears; each of the others
is worth its cost on some logs and not on others.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

from recmtl.data.encoding import Encoding
from recmtl.schema import Cross, Feature, ListOf, Numeric, PastStatistics, Schema, Text, Vector

__all__ = ["OPTIONAL", "PLAIN", "SOURCES", "Sources", "part_of_schema", "sources_of"]

PLAIN = ("ids", "numbers")
"""What every network hears."""
OPTIONAL = ("counts", "values", "crosses", "statistics", "histories", "vectors", "texts", "trees")
"""What a network may hear beside it, in the order in which it is tried."""
SOURCES = (*PLAIN, *OPTIONAL)

Sources = Mapping[str, tuple[str, ...]]
"""Source -> names of its fields, in the order of `SOURCES`; sources without a field are absent."""


def sources_of(schema: Schema, encoding: Encoding) -> Sources:
    """The sources of an encoding; a field that the schema does not know is one of `trees`."""
    by_field = dict(_sources_by_field(schema))
    fields: dict[str, tuple[str, ...]] = {}
    for source in SOURCES:
        of_source = (name for name in encoding.fields if by_field.get(name, "trees") == source)
        fields[source] = tuple(of_source)
    return {source: names for source, names in fields.items() if names}


def _sources_by_field(schema: Schema) -> Iterator[tuple[str, str]]:
    for feature in schema.features:
        yield feature.name, _source(feature)
    for derived in schema.derived:
        base = derived.source
        if isinstance(base, PastStatistics):
            yield derived.feature.name, "statistics"
        elif isinstance(base, Numeric):
            yield derived.feature.name, "values"
        else:  # nothing but the history itself tells how long it is
            source = _source(base)
            is_pooled = isinstance(base, ListOf) and source == "ids"
            yield derived.feature.name, "counts" if is_pooled else source


def _source(feature: Feature) -> str:
    if isinstance(feature, Numeric):
        return "numbers"
    if isinstance(feature, Vector):
        return "vectors"
    if isinstance(feature, Cross | Text):
        return "crosses" if isinstance(feature, Cross) else "texts"
    is_read = isinstance(feature, ListOf) and feature.pooling == "attention"
    return "histories" if is_read else "ids"


def part_of_schema(schema: Schema, heard: Collection[str]) -> Schema:
    """The schema of a log that has these sources alone, as if the others had not been asked for.

    `ids` are always among them, since other features may share their vocabularies, and so are
    durations that heads read. The source `trees` is no part of a schema.
    """
    durations = {task.head.duration for task in schema.tasks if task.head is not None}
    kept = [
        feature
        for feature in schema.features
        if _source(feature) in ("ids", *heard) or feature.name in durations
    ]
    features = tuple(_plain(feature, heard) for feature in kept)
    entries = schema.statistics if "statistics" in heard else ()
    return replace(schema, features=features, statistics=entries)


def _plain(feature: Feature, heard: Collection[str]) -> Feature:
    """The feature without what is derived of it for sources that are not heard."""
    if isinstance(feature, Numeric):
        return feature if "values" in heard else replace(feature, values=None)
    if isinstance(feature, ListOf) and "counts" not in heard and _source(feature) == "ids":
        return replace(feature, count=False)
    return feature

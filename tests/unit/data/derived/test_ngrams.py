"""Texts: which n-grams they have, by a plain loop, and what is the same however they come."""

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recmtl.data.columns.sources import part_of_schema, sources_of
from recmtl.data.derived.ngrams import ngram_lists
from recmtl.data.describe import described
from recmtl.data.prepare import prepare
from recmtl.errors import DataError, SchemaError, SourceLocation
from recmtl.schema import ListOf, Schema, Text, parse_schema
from tests.unit.engines.pieces import Pieces, differing_files

HERE = SourceLocation("here")
SCHEMA = """
version: 1
name: shop
features:
  user: {kind: categorical}
  title: {kind: text, max_length: 12, hash_buckets: 500}
tasks: {click: {kind: binary, label: clicked}}
split: {by: random, validation: 0.2, test: 0.2}
"""
TITLES = ("Red shoes for men", "Blue SHOES!", "", None, "red", "A very long title " * 9)


def schema_of(text: str) -> Schema:
    return parse_schema(text, source="shop.yaml")


def grams(texts: Any, **options: Any) -> list[list[int] | None]:
    lists: list[list[int] | None]
    lists = ngram_lists(pa.array(texts), Text("t", **options), HERE).to_pylist()
    return lists


def plain_grams(text: str, words: int, characters: tuple[int, ...]) -> list[tuple[Any, ...]]:
    """The n-grams of a text as strings, in the order in which they are kept."""
    clean = unicodedata.normalize("NFKC", text).lower()
    kept = "".join(c if unicodedata.category(c)[0] in "LMN" else " " for c in clean)
    parts = kept.split()
    made: list[tuple[Any, ...]] = []
    for size in range(1, words + 1):
        made += [("w", size, *parts[i : i + size]) for i in range(len(parts) - size + 1)]
    for size in characters:
        for word in parts:
            ends = f" {word} " if size > 1 else word
            made += [("c", size, ends[i : i + size]) for i in range(len(ends) - size + 1)]
    return made


@given(
    st.lists(st.text("aB é-ßz9,", max_size=12), min_size=1, max_size=6),
    st.integers(0, 3),
    st.lists(st.integers(1, 4), max_size=2, unique=True),
)
def test_two_ngrams_are_one_value_exactly_if_they_are_the_same_ngram(
    texts: list[str], words: int, characters: list[int]
) -> None:
    if not words and not characters:
        words = 1
    got = grams(texts, words=words, characters=characters)
    want = [plain_grams(text, words, tuple(characters)) for text in texts]
    assert [len(values or ()) for values in got] == [len(values) for values in want]
    pairs = [
        pair
        for values, names in zip(got, want, strict=True)
        for pair in zip(values or (), names, strict=True)
    ]
    by_hash = dict(pairs)
    by_name = {name: value for value, name in pairs}
    assert len(by_hash) == len(by_name)
    assert all(by_hash[value] == name for value, name in pairs)


def test_case_punctuation_and_forms_of_unicode_are_no_difference() -> None:
    one, other, composed, split = grams(["Red  Shoes!", "red shoes", "café", "cafe\u0301"])
    assert one == other and composed == split
    assert grams(["shoes red"]) != [one]


def test_a_text_without_letters_is_an_empty_list_and_a_missing_one_none() -> None:
    assert grams(["", " ?! ", None]) == [[], [], None]
    assert ngram_lists(pa.nulls(2), Text("t"), HERE).to_pylist() == [None, None]
    assert grams(["a"], words=0, characters=[5]) == [[]]


def test_one_text_has_the_ngrams_that_it_has_among_others_in_any_form() -> None:
    together = grams(TITLES)
    alone = [None if title is None else grams([title])[0] for title in TITLES]
    assert alone == together
    encoded, large = pa.array(TITLES).dictionary_encode(), pa.array(TITLES, pa.large_string())
    assert ngram_lists(encoded, Text("t"), HERE).to_pylist() == together
    assert ngram_lists(large[2:], Text("t"), HERE).to_pylist() == together[2:]


def test_what_is_no_text_is_refused_by_its_column() -> None:
    with pytest.raises(DataError, match="column 't': holds int64, not text"):
        grams([1, 2])
    with pytest.raises(SchemaError, match="words: 0 and no characters leave nothing"):
        Text("t", words=0, characters=())


def test_a_log_holds_the_first_ngrams_in_equal_bytes_however_it_is_prepared(tmp_path: Path) -> None:
    rows = 90
    table = pa.table(
        {
            "user": np.arange(rows) % 7,
            "title": [TITLES[row % len(TITLES)] for row in range(rows)],
            "clicked": np.arange(rows) % 2,
        }
    )
    pq.write_table(table, tmp_path / "log.parquet", row_group_size=17)
    log = prepare(tmp_path / "log.parquet", schema_of(SCHEMA), tmp_path / "whole")
    prepare(tmp_path / "log.parquet", schema_of(SCHEMA), tmp_path / "pieces", engine=Pieces(3))
    assert not differing_files(tmp_path / "whole", tmp_path / "pieces")
    (field,) = log.encoding.lists
    assert (field.name, field.length, field.pooling) == ("title.ngrams", 12, "mean")
    assert log.encoding.fields == ("user", "title.ngrams")
    ids = log.split("train").ids
    lengths = (np.asarray(ids)[:, field.columns] != 0).sum(1)
    whole = [len(values or ()) for values in grams(TITLES)]
    assert lengths.tolist() == [min(12, whole[row % 6]) for row in log.split("train").row]
    assert sources_of(log.schema, log.encoding)["texts"] == ("title.ngrams",)
    assert [f.name for f in part_of_schema(log.schema, ["ids"]).features] == ["user"]
    part = log.encoder().part(["title"])
    assert part.input_columns == ("title",) and part.encoding.fields == ("title.ngrams",)


def test_a_draft_reads_titles_by_their_words(tmp_path: Path) -> None:
    dice, words = np.random.default_rng(1), ["red", "blue", "shoe", "shirt", "men", "kids", "wool"]
    titles = [" ".join(dice.choice(words, 4)) for _ in range(300)]
    others = {"brand": dice.choice(words, 300), "click": dice.integers(0, 2, 300)}
    table = pa.table({"title": titles, **others})
    pq.write_table(table, tmp_path / "log.parquet")
    text = described(str(tmp_path / "log.parquet")).text
    assert "  title: {kind: text}  # 4.0 words each, " in text
    assert "  brand: {kind: categorical}" in text


def test_a_schema_with_texts_is_written_and_read_alike() -> None:
    schema = schema_of(SCHEMA)
    assert parse_schema(schema.dump(), source="again") == schema
    ngrams = schema.feature("title.ngrams")
    assert isinstance(ngrams, ListOf) and ngrams.hash_buckets == 500
    with pytest.raises(SchemaError, match=r"derives 'title.ngrams', which .*; rename this one"):
        schema_of(SCHEMA.replace("  user:", "  title.ngrams:"))


@pytest.mark.parametrize("text", ["word " * 3000, "x" * 5000])
def test_a_long_text_is_read_up_to_1000_characters(text: str) -> None:
    (long,), (short,) = grams([text]), grams([text[:1000]])
    assert long == short


def test_a_pattern_of_words_is_that_of_unicode() -> None:
    assert grams(["Größe 42"], characters=[]) == grams(["größe-42"], characters=[])
    assert len(grams(["日本 語"], characters=[])[0] or ()) == 3

"""Texts of a few words -> hashes of their n-grams, the same for one text as for a million.

    "Red Shoes!"  ->  words      red, shoes, red shoes
                      characters ␣re, red, ed␣, ␣sh, sho, ...

Texts are normalised (NFKC), in lower case; words are runs of letters, marks and digits. N-grams of
characters lie within a word, whose two ends they see. Each n-gram is the int64 of a polynomial in
its characters modulo 2^64, which the vocabulary of a list hashes into buckets.
"""

import unicodedata
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.data.columns.canonical import AnyArray, kind_of
from recmtl.data.columns.keys import category_keys
from recmtl.data.columns.logical_type import value_type_name
from recmtl.errors import SourceLocation
from recmtl.schema import Text

__all__ = ["ngram_lists"]

Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]
SPACE = 32
MOST_CHARACTERS = 1000
"""Of a text that are read."""
CHARACTER, WORD = np.uint64(0x100000001B3), np.uint64(0x9E3779B97F4A7C15)
KIND = np.uint64(0xBF58476D1CE4E5B9)
"""Bases of the polynomials in characters and in words, and the factor that tells kinds apart."""


def ngram_lists(column: AnyArray, feature: Text, place: SourceLocation) -> AnyArray:
    """A canonical column of texts as lists of int64, first of words, then of characters.

    Raises:
        DataError: the column holds no texts.

    >>> lists = ngram_lists(pa.array(["Red shoes", "red", None]), Text("t"), SourceLocation())
    >>> len(lists[0]), lists[1].as_py()[0] == lists[0].as_py()[0], lists[2].as_py()
    (11, True, None)
    """
    if kind_of(column) not in ("text", "null"):
        fault = f"holds {value_type_name(column.type)}, not text"
        remedy = "declare another kind, or store text"
        raise place.error(fault, remedy, column=feature.column)
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), pa.large_list(pa.int64()))
    keys = category_keys(column, feature.column, place)
    codes = pa.array(keys.codes, mask=keys.codes < 0)
    return _of_distinct(keys.values, feature).take(codes)


def _of_distinct(texts: AnyArray, feature: Text) -> AnyArray:
    """The n-grams of texts without nulls."""
    characters, rows = _characters(texts)
    grams = [*_word_grams(characters, rows, feature.words)]
    kinds = [*range(1, len(grams) + 1), *(-size for size in feature.characters)]
    grams += [_character_grams(characters, rows, size) for size in feature.characters]
    tags = np.array(kinds, np.int64).view(np.uint64)
    hashes = [of * KIND + tag for tag, (_, of) in zip(tags, grams, strict=True)]
    row = np.concatenate([at for at, _ in grams])
    order = np.argsort(row, kind="stable")
    offsets = np.append(0, np.cumsum(np.bincount(row, minlength=len(texts))))
    values = np.concatenate(hashes)[order].view(np.int64)
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(values))


def _characters(texts: AnyArray) -> tuple[Hashes, Places]:
    """The characters of all texts, one or more spaces between words, and the text of each."""
    # Arrow's own normalisation leaves composed letters apart (version 25).
    composed = [unicodedata.normalize("NFKC", text).lower() for text in texts.to_pylist()]
    spaced = [f" {text[:MOST_CHARACTERS]} " for text in composed]
    codes = np.frombuffer("".join(spaced).encode("utf-32-le", "surrogatepass"), np.uint32)
    distinct, place = np.unique(codes, return_inverse=True)
    in_words = [unicodedata.category(chr(code))[0] in "LMN" for code in distinct.tolist()]
    letters = np.where(in_words, distinct, SPACE).astype(np.uint64)
    return letters[place], np.repeat(np.arange(len(spaced)), [len(text) for text in spaced])


def _word_grams(characters: Hashes, rows: Places, longest: int) -> Iterator[tuple[Places, Hashes]]:
    """The text and the hash of each run of 1, 2, ... words."""
    is_letter = characters != SPACE
    letters = np.flatnonzero(is_letter)
    firsts = np.flatnonzero(~is_letter[letters - 1])  # a text begins with a space
    row, words = rows[letters[firsts]], np.zeros(0, np.uint64)
    if len(letters):
        within = letters - np.repeat(letters[firsts], np.diff(np.append(firsts, len(letters))))
        powers = np.cumprod(np.full(int(within.max()) + 1, CHARACTER))
        terms = (characters[letters] + np.uint64(1)) * powers[within]
        words = np.add.reduceat(terms, firsts)
    runs = words
    for size in range(1, longest + 1):
        runs = runs if size == 1 else runs[:-1] * WORD + words[size - 1 :]
        same = row[: len(runs)] == row[size - 1 :]
        yield row[: len(runs)][same], runs[same]
        if len(runs) < 2:
            return


def _character_grams(characters: Hashes, rows: Places, size: int) -> tuple[Places, Hashes]:
    """The text and the hash of each run of characters within a word and the spaces around it."""
    count = max(len(characters) - size + 1, 0)
    hashes = np.zeros(count, np.uint64)
    for place in range(size):
        hashes = hashes * CHARACTER + (characters[place : place + count] + np.uint64(1))
    spaces = np.append(0, np.cumsum(characters == SPACE))
    every = spaces[size : size + count] - spaces[:count]
    inner = spaces[max(size - 1, 1) :][:count] - spaces[1 : 1 + count]
    within = (inner == 0) & (every < size)
    return rows[:count][within], hashes[within]

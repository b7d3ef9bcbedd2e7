"""Features of texts of a few words."""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from recmtl.errors import SchemaError
from recmtl.schema.kinds.lists import ListOf
from recmtl.schema.kinds.single import Dim
from recmtl.schema.settings import BUCKETS, settings

__all__ = ["Text"]


@settings(SchemaError)
class Text:
    """A text of a few words, a title or a query: a list of its n-grams, hashed and pooled.

    Words are compared in lower case, without punctuation (`recmtl.data.derived.ngrams`). The list
    is a feature `<text>.ngrams` with embedding rows of its own.

    Attributes:
        name: the feature.
        column: the column that holds texts.
        words: the longest run of words that is an n-gram: 2 for words and pairs; 0 for none.
        characters: lengths of the runs of characters within a word that are n-grams; empty for
            none. They find misspelt and inflected words.
        max_length: n-grams of a text that are kept, those of words first.
        pooling: `mean`, `sum` or `max` over the embeddings of the n-grams.
        hash_buckets: embedding rows into which n-grams are hashed.
        dim: as in `Categorical`, of an n-gram.
    """

    name: str = ""
    column: str = ""
    words: Annotated[int, Field(ge=0, le=5)] = 2
    characters: tuple[Annotated[int, Field(ge=1, le=20)], ...] = (3,)
    max_length: Annotated[int, Field(ge=1, le=10_000)] = 64
    pooling: Literal["mean", "sum", "max"] = "mean"
    hash_buckets: Annotated[int, BUCKETS] = 32_768
    dim: Dim = None

    def __post_init__(self) -> None:
        """Refuse a text without n-grams, and lengths that come twice."""
        object.__setattr__(self, "column", self.column or self.name)
        if not self.words and not self.characters:
            raise ValueError("words: 0 and no characters leave nothing; write words: 1")
        if len(set(self.characters)) < len(self.characters):
            raise ValueError("characters names a length twice; name each once")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return (self.column,)

    def derived(self) -> Iterator[tuple[ListOf, tuple[str, ...]]]:
        """The list of its n-grams, with the column by which it is computed."""
        name = f"{self.name}.ngrams"
        ngrams = ListOf(
            name,
            name,
            max_length=self.max_length,
            pooling=self.pooling,
            keep="first",
            count=False,
            hash_buckets=self.hash_buckets,
            dim=self.dim,
        )
        yield ngrams, (self.column,)

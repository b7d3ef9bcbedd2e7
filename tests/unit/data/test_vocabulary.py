"""Values are counted batch by batch, and few counts wait to be added up."""

import numpy as np
import pyarrow as pa

from recmtl.data.columns.keys import category_keys
from recmtl.data.columns.vocabulary import PARTS, VocabularyFit
from recmtl.errors import SourceLocation

BATCHES = 3 * PARTS + 7


def test_counts_of_many_small_batches_are_those_of_the_whole() -> None:
    dice, fit = np.random.default_rng(0), VocabularyFit("x", min_count=1, buckets=None)
    column, most = dice.integers(0, 9, size=BATCHES * 5), 0
    for batch in np.split(column, BATCHES):
        fit.add(category_keys(pa.array(batch), "x", SourceLocation()), "x", SourceLocation())
        most = max(most, len(fit._counted))
    values, counts = np.unique(column, return_counts=True)
    assert fit.counts() == dict(zip(values.tolist(), counts.tolist(), strict=True))
    assert most <= PARTS

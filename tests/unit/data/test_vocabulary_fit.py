"""Values are counted batch by batch, and few counts wait to be added up."""

import numpy as np
import pyarrow as pa

from recmtl.data.keys import category_keys
from recmtl.data.places import Place
from recmtl.data.vocabulary import PARTS, VocabularyFit

BATCHES = 3 * PARTS + 7


def test_counts_of_many_small_batches_are_those_of_the_whole() -> None:
    dice, fit = np.random.default_rng(0), VocabularyFit("x", min_count=1, buckets=None)
    column, most = dice.integers(0, 9, size=BATCHES * 5), 0
    for batch in np.split(column, BATCHES):
        fit.add(category_keys(pa.array(batch), "x", Place()), "x", Place())
        most = max(most, len(fit._counted))
    values, counts = np.unique(column, return_counts=True)
    assert fit.counts() == dict(zip(values.tolist(), counts.tolist(), strict=True))
    assert most <= PARTS

"""What bundles score on the raw rows behind a part of an encoded log, as they would in service."""

from collections.abc import Callable, Mapping

import numpy as np
import pyarrow as pa

from recmtl.data.encoded_log import EncodedLog
from recmtl.data.reader import open_log
from recmtl.errors import DataError
from recmtl.serve.bundle import Bundle
from recmtl.serve.scoring.scorer import Scorer
from recmtl.train.problem import Part

__all__ = ["Scores", "scores_of_part"]

ROWS_AT_A_TIME = 20_000

Scores = dict[str, np.ndarray]
"""Scored column -> values `[R]`."""


def scores_of_part(
    bundles: Mapping[str, Bundle],
    log: EncodedLog,
    data: str,
    *,
    part: Part = "test",
    alive: Callable[[float], None] = lambda seconds: None,
) -> dict[str, Scores]:
    """What each bundle scores on the raw rows of a part, in the order of the encoded log.

    Args:
        bundles: by name; all of them score a batch of rows while it is in memory.
        log: the encoded log, which says which rows the part has.
        data: the raw log that was prepared.
        part: of the log.
        alive: called after every batch.

    Raises:
        DataError: `data` is not the log that was prepared, or lacks what a bundle needs.
    """
    scorers = {name: Scorer(bundle, record=False) for name, bundle in bundles.items()}
    numbers = np.asarray(log.split(part).row)
    order = np.argsort(numbers, kind="stable")
    in_order = numbers[order]
    scores = {n: np.empty((len(numbers), len(s.columns))) for n, s in scorers.items()}
    columns = dict.fromkeys(name for s in scorers.values() for name in s.input_columns)
    raw = open_log(data, log.schema.tables, layout=log.schema.files)
    prepared = log.manifest["data"]
    sizes = zip(prepared["rows"], prepared["sizes"], strict=True)
    if [(file.rows, file.size) for file in raw.files] != list(sizes):
        raise DataError(f"{data}: is not the log that was prepared; give that one")
    for batch in raw.batches(list(columns), rows=ROWS_AT_A_TIME, as_stored=True):
        low, high = np.searchsorted(in_order, [batch.first, batch.first + batch.rows])
        if low < high:
            table = pa.table(batch.columns).take(pa.array(in_order[low:high] - batch.first))
            for name, scorer in scorers.items():
                scores[name][order[low:high]] = scorer.scores(table)
        alive(0.0)
    return {
        name: dict(zip(scorers[name].columns, values.T, strict=True))
        for name, values in scores.items()
    }

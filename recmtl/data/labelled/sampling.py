"""Negatives that are sampled: most rows without an event teach little and cost as much as others.

A row that is negative for every task of `sample` is kept with the largest of their shares, every
other row for sure. A hash of the row's number in the log decides, so that the order of reading, the
number of processes and the engine do not matter. A row that is kept counts with the inverse of the
probability that it is (Horvitz and Thompson 1952): losses, metrics, calibration and moments of
numbers then estimate those of the whole log. Statistics of the past count every row.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.data.columns.funnel import funnel_path, joint_labels
from recmtl.data.columns.keys import stable_hash
from recmtl.data.counted_log import CountedBatch
from recmtl.data.labelled.reading import written_label
from recmtl.data.split import PARTS
from recmtl.schema import Schema

__all__ = ["NegativeSample", "sample_facts"]

SALT = 1 << 40
"""Added to the seed: no split by rows is drawn by the same hash."""


class NegativeSample:
    """Keeps rows of a log by their labels.

    Args:
        schema: names the tasks and their shares.
    """

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._shares = {sample.name: sample.negatives for sample in schema.sample}
        self._seed = schema.sample[0].seed if schema.sample else 0

    def kept(
        self, batch: CountedBatch, parts: npt.NDArray[np.uint8]
    ) -> tuple[CountedBatch, npt.NDArray[np.uint8]]:
        """The rows of a batch that are kept, with their weights, and their parts.

        Args:
            batch: rows of the log, with the columns of the labels.
            parts: uint8 [rows], the part of each row.

        Raises:
            DataError: a label is not what its task says.
        """
        if not self._shares:
            return batch, parts
        chance = self._chances(batch)
        hashed = stable_hash(pa.array(batch.row), self._seed + SALT)
        kept = (hashed >> np.uint64(11)).astype(np.float64) / 2.0**53 < chance
        # The rarest count 1 and the others less, so that weights stay as small as they were.
        weight = min(self._shares.values()) / chance[kept]
        sampled = replace(
            batch,
            columns=batch.columns.filter(pa.array(kept)),
            unmatched={name: rows[kept] for name, rows in batch.unmatched.items()},
            row=batch.row[kept],
            weight=weight if batch.weight is None else weight * batch.weight[kept],
        )
        return sampled, parts[kept]

    def _chances(self, batch: CountedBatch) -> npt.NDArray[np.float64]:
        """With which probability each row is kept, float64 [rows]."""
        tasks, chance = self._schema.tasks, np.zeros(batch.rows)
        for name, share in self._shares.items():
            path = funnel_path(tasks, self._schema.task(name))
            labels = [written_label(event, tasks, batch.columns, batch.place) for event in path]
            label = joint_labels(np.stack(labels, axis=1), path, path[-1])
            chance = np.maximum(chance, np.where(label == 0, share, 1.0))
        return chance


def sample_facts(schema: Schema, left_out: Sequence[int]) -> dict[str, Any]:
    """What a manifest says of a sample; nothing of a log without.

    Args:
        schema: names the tasks.
        left_out: rows of each part that are not in the sample.
    """
    if not schema.sample:
        return {}
    shares = {sample.name: sample.negatives for sample in schema.sample}
    return {"sample": {"negatives": shares, "left_out": dict(zip(PARTS, left_out, strict=True))}}

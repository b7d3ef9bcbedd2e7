"""The values of vocabularies, and how often each was seen, as one Arrow file."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from recmtl.data.columns.vocabulary import Vocabulary
from recmtl.errors import DataError

__all__ = ["read_values", "write_values"]

_INTS, _TEXTS = pa.large_list(pa.int64()), pa.large_list(pa.large_string())
_SCHEMA = pa.schema([("name", pa.string()), ("ints", _INTS), ("texts", _TEXTS), ("counts", _INTS)])


def write_values(path: Path, vocabularies: Iterable[Vocabulary]) -> None:
    """Write one record batch a vocabulary: its values, in the column of their type, and counts."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
        for vocabulary in vocabularies:
            values, counts = _one_list(vocabulary.values), pa.nulls(1, _INTS)
            if vocabulary.counts is not None:
                counts = _one_list(pa.array(vocabulary.counts, pa.int64()))
            is_int = vocabulary.type == "int64"
            columns = [
                pa.array([vocabulary.name]),
                values if is_int else pa.nulls(1, _INTS),
                pa.nulls(1, _TEXTS) if is_int else values,
                counts,
            ]
            writer.write_batch(pa.record_batch(columns, schema=_SCHEMA))


def _one_list(values: Any) -> Any:
    return pa.LargeListArray.from_arrays([0, len(values)], values)


def read_values(path: Path) -> dict[str, dict[str, Any]]:
    """By name of the vocabulary its `values` and `counts`, as `Vocabulary` takes them.

    Counts are None in files of earlier releases.

    Raises:
        DataError: there is not one count a value.
    """
    read: dict[str, dict[str, Any]] = {}
    with pa.OSFile(str(path), "rb") as source:
        reader = pa.ipc.open_file(source)
        for i in range(reader.num_record_batches):
            batch = reader.get_batch(i)
            name = batch["name"][0].as_py()
            lists = batch["ints"] if batch["ints"].null_count == 0 else batch["texts"]
            values, counts = lists.flatten(), None
            if "counts" in batch.schema.names and batch["counts"].null_count == 0:
                counts = batch["counts"].flatten().to_numpy(zero_copy_only=False).astype(np.int64)
                if len(counts) != len(values) or counts.min(initial=0) < 0:
                    fault = f"{path}: {len(counts)} counts of the {len(values)} values of {name!r}"
                    raise DataError(f"{fault}; prepare the data again")
            read[name] = {"values": values, "counts": counts}
    return read

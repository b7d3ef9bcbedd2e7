"""The values of vocabularies, how often and when last each was seen, as one Arrow file."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.data.columns.vocabulary import Vocabulary
from recmtl.errors import DataError

__all__ = ["read_values", "write_values"]

_INTS, _TEXTS = pa.large_list(pa.int64()), pa.large_list(pa.large_string())
_FACTS = ("counts", "seen")
"""What a file may hold of each value, in whole numbers."""
_NAMED = [("name", pa.string()), ("ints", _INTS), ("texts", _TEXTS)]
_SCHEMA = pa.schema([*_NAMED, *((name, _INTS) for name in _FACTS)])


def write_values(path: Path, vocabularies: Iterable[Vocabulary]) -> None:
    """Write one record batch a vocabulary: its values, in the column of their type, and facts."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
        for vocabulary in vocabularies:
            values = _one_list(vocabulary.values)
            facts = [getattr(vocabulary, name) for name in _FACTS]
            is_int = vocabulary.type == "int64"
            columns = [
                pa.array([vocabulary.name]),
                values if is_int else pa.nulls(1, _INTS),
                pa.nulls(1, _TEXTS) if is_int else values,
                *(
                    pa.nulls(1, _INTS) if fact is None else _one_list(pa.array(fact, pa.int64()))
                    for fact in facts
                ),
            ]
            writer.write_batch(pa.record_batch(columns, schema=_SCHEMA))


def _one_list(values: Any) -> Any:
    return pa.LargeListArray.from_arrays([0, len(values)], values)


def read_values(path: Path) -> dict[str, dict[str, Any]]:
    """By name of the vocabulary its `values`, `counts` and `seen`, as `Vocabulary` takes them.

    Counts are None in files of earlier releases, and `seen` where nothing has grown.

    Raises:
        DataError: there is not one count, or not one time, a value.
    """
    read: dict[str, dict[str, Any]] = {}
    with pa.OSFile(str(path), "rb") as source:
        reader = pa.ipc.open_file(source)
        for i in range(reader.num_record_batches):
            batch = reader.get_batch(i)
            name = batch["name"][0].as_py()
            lists = batch["ints"] if batch["ints"].null_count == 0 else batch["texts"]
            values = lists.flatten()
            read[name] = {"values": values}
            for fact in _FACTS:
                numbers = _whole_numbers(batch, fact)
                if numbers is None:
                    read[name][fact] = None
                    continue
                is_negative = fact == "counts" and numbers.min(initial=0) < 0
                if len(numbers) != len(values) or is_negative:
                    fault = f"{path}: {len(numbers)} {fact} of the {len(values)} values of {name!r}"
                    raise DataError(f"{fault}; prepare the data again")
                read[name][fact] = numbers
    return read


def _whole_numbers(batch: pa.RecordBatch, name: str) -> npt.NDArray[np.int64] | None:
    """The list of a vocabulary in a column; None where there is none."""
    if name not in batch.schema.names or batch[name].null_count:
        return None
    numbers: npt.NDArray[np.int64] = batch[name].flatten().to_numpy(zero_copy_only=False)
    return numbers.astype(np.int64)

"""Parquet -> encoded log: split, fit on train rows, encode; all or nothing.

The data is streamed two to five times, row group by row group: for weights, for the split and for
statistics of the past where they need it, to check and fit, and to encode. Rows of weight 0 are
left out from the start. The result is built beside `out` and moved there when it is complete.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from recmtl.atomic import new_folder, write_json
from recmtl.data.columns.gaps import (
    Gap,
    GapCount,
    gap_warnings,
    join_gaps,
    label_gaps,
    refuse_empty_splits,
)
from recmtl.data.columns.keys import group_keys, stable_hash
from recmtl.data.columns.labels import LabelFit, Labels
from recmtl.data.counted_log import CountedBatch, CountedLog
from recmtl.data.encoded_log import (
    NO_GROUP,
    ArrayWriter,
    EncodedLog,
    refuse_full_disk,
    row_bytes,
    write_faults_as_data_error,
)
from recmtl.data.leaks import leak_warnings
from recmtl.data.reader import Log, open_log
from recmtl.data.row_encoder import EncoderFit, RowEncoder
from recmtl.data.split import PARTS, Assign, plan_split
from recmtl.data.statistics.past import count_past, refuse_number_names
from recmtl.data.vocabulary_drift import (
    PartCounts,
    drift_warnings,
    refuse_another_schema,
    refuse_other_classes,
    vocabulary_drift,
)
from recmtl.errors import DataError, SourceLocation
from recmtl.paths import FileContent
from recmtl.schema import Schema, dump_schema, refuse_contradictions, refuse_same_columns

__all__ = ["Progress", "check_rows", "prepare"]

FORMAT = 1
WEIGHTS = "weights: 0 is absent, mean 1 on train rows"
"""In the fingerprint of weighted logs: those of release 0.1 held other weights."""
Progress = Callable[[str, int, int], None]


def prepare(
    data: str | Path,
    schema: Schema,
    out: str | Path,
    *,
    like: EncodedLog | None = None,
    progress: Progress | None = None,
    admit: Callable[[Mapping[str, Any]], None] | None = None,
) -> EncodedLog:
    """Encode a log.

    Args:
        data: file, folder or glob, see `recmtl.data.reader.open_log`.
        schema: what its columns mean.
        out: folder to write; if it holds the same data and schema already, it is reused.
        like: an earlier log of the same schema, whose encoder is used as it is: added days. The
            manifest then has `drift`, see `recmtl.data.vocabulary_drift.vocabulary_drift`.
        progress: called with (stage, rows done, rows in all) after every batch.
        admit: called before anything is written with what decides the result: the fingerprint as
            `data`, and the parts of it as `inputs`, `schema` and `like`; it may raise.

    Returns:
        The log; `manifest["warnings"]` says what is doubtful, for the caller to tell.

    Raises:
        SchemaError: the schema contradicts itself.
        DataError: the data is not what the schema says, or it changed while it was read; nothing
            is left behind.
    """
    refuse_contradictions(schema)
    out, formulas = Path(out), schema.formulas
    types = {} if like is None else like.compared_types()
    log = open_log(data, schema.tables, fitted=types, layout=schema.files, formulas=formulas)
    log.logical_types(schema.columns())
    refuse_number_names(schema, log)
    if like is not None:
        refuse_another_schema(schema, like)
    contents = log.content()
    prints = _fingerprints(log, contents, schema, like)
    if admit is not None:
        admit(_facts(prints, contents, schema, like))
    if _holds(out, prints["fingerprint"]):
        return EncodedLog.open(out)
    with write_faults_as_data_error(out), new_folder(out) as partial:
        _build(log, schema, partial, prints, like=like, progress=progress or _no_progress)
        _refuse_changed(contents, log.content())
    return EncodedLog.open(out)


def check_rows(log: Log, schema: Schema) -> None:
    """Raise what `prepare` would raise for these rows and this schema before it writes anything.

    Raises:
        DataError: the data is not what the schema says.
    """
    log.logical_types(schema.columns())
    counted = CountedLog(log, schema.roles.sample_weight)
    fitted = _fit(counted, schema, None, _no_progress)
    counter = PartCounts(schema, fitted.encoder)
    for _ in _encoded_parts(counted, schema, fitted, counter):
        pass
    _checked_gaps(counter.by_part(), log)


def _checked_gaps(counts: Mapping[str, Any], log: Log) -> list[GapCount]:
    """What of a log does not count; refuses a split in which nothing is left."""
    gaps = [GapCount.from_json(count) for count in counts["counts"]]
    refuse_empty_splits(gaps, counts["labelled"], log.data)
    return gaps


def _fingerprints(
    log: Log, contents: Mapping[str, FileContent], schema: Schema, like: EncodedLog | None
) -> dict[str, str]:
    text = hashlib.blake2b(dump_schema(schema, stored=True).encode(), digest_size=16).hexdigest()
    # Partition values are data that stands in folder names, so they count like bytes of a file.
    parts = [content.hash for content in contents.values()]
    values = [{name: v.as_py() for name, v in file.partition.items()} for file in log.files]
    parts += [json.dumps(partition, sort_keys=True, default=str) for partition in values]
    parts += [] if like is None else [f"like {like.fingerprint}"]
    parts += [] if schema.roles.sample_weight is None else [WEIGHTS]
    whole = hashlib.blake2b("\n".join([str(FORMAT), text, *parts]).encode(), digest_size=16)
    return {"fingerprint": whole.hexdigest(), "schema_fingerprint": text}


def _facts(
    prints: Mapping[str, str],
    contents: Mapping[str, FileContent],
    schema: Schema,
    like: EncodedLog | None,
) -> dict[str, Any]:
    return {
        "data": prints["fingerprint"],
        "inputs": {name: str(content) for name, content in contents.items()},
        # Every scalar as it is written: a date would be no JSON.
        "schema": yaml.load(dump_schema(schema, stored=True), Loader=yaml.BaseLoader),
        "like": None if like is None else like.fingerprint,
    }


def _refuse_changed(before: Mapping[str, FileContent], after: Mapping[str, FileContent]) -> None:
    changed = [name for name, content in before.items() if after.get(name) != content]
    if changed:
        raise DataError(
            f"{changed[0]}: changed while it was read; run again when nothing writes to the data"
        )


def _holds(out: Path, fingerprint: str) -> bool:
    """Whether `out` is this very log; raises if it holds something that may not be replaced."""
    if not out.exists():
        return False
    if out.is_dir() and (out / "manifest.json").is_file():
        return EncodedLog.open(out).manifest.get("fingerprint") == fingerprint
    if out.is_dir() and not any(out.iterdir()):
        return False
    raise DataError(f"{out}: exists and is not an encoded log; choose another folder")


def _no_progress(stage: str, done: int, total: int) -> None:
    """The progress of a caller that wants none."""


@dataclass(frozen=True)
class _Fitted:
    """What the first streams found.

    Attributes:
        assign: gives each row its part.
        encoder: of the features.
        labels: of the tasks.
        rows: of each part.
        mean_weight: of the train rows.
    """

    assign: Assign
    encoder: RowEncoder
    labels: Labels
    rows: list[int]
    mean_weight: float


def _build(
    log: Log,
    schema: Schema,
    folder: Path,
    prints: dict[str, str],
    *,
    like: EncodedLog | None,
    progress: Progress,
) -> None:
    """Fit, encode and describe the log in a folder."""
    counted = CountedLog(log, schema.roles.sample_weight)
    fitted = _fit(counted, schema, like, progress)
    refuse_full_disk(folder, counted.rows * row_bytes(_widths(schema, fitted.encoder)))
    (folder / "schema.yaml").write_text(dump_schema(schema), encoding="utf-8")
    (folder / "encoding.json").write_text(fitted.encoder.encoding.to_json(), encoding="utf-8")
    fitted.encoder.save(folder / "encoder")
    counts = _encode(counted, schema, fitted, folder, progress)
    gaps = _checked_gaps(counts, log)
    manifest: dict[str, Any] = {
        "version": FORMAT,
        **prints,
        "data": {
            "files": [str(file.path) for file in log.files],
            "rows": [file.rows for file in log.files],
            "sizes": [file.size for file in log.files],
        },
        "rows": dict(zip(PARTS, fitted.rows, strict=True)),
        "tasks": {name: label.to_json() for name, label in fitted.labels.statistics.items()},
        **counts,
        "warnings": [*_rare_labels(counts["positives"]), *gap_warnings(gaps)],
        **_weight_facts(counted, fitted),
    }
    if fitted.encoder.past is not None:
        manifest["statistics"] = fitted.encoder.past.summary()
    if like is not None:
        manifest["like"], manifest["drift"] = like.fingerprint, vocabulary_drift(manifest, like)
        manifest["warnings"] += drift_warnings(manifest["drift"])
    _write_manifest(folder, manifest)
    train = EncodedLog.open(folder).split("train")
    manifest["warnings"] += leak_warnings(schema, fitted.encoder.encoding, train)
    _write_manifest(folder, manifest)


def _widths(schema: Schema, encoder: RowEncoder) -> dict[str, int]:
    """How many columns the arrays of an encoded log have."""
    encoding = encoder.encoding
    return {
        "ids": encoding.id_columns,
        "numeric": len(encoding.numeric),
        "labels": len(schema.tasks),
    }


def _weight_facts(log: CountedLog, fitted: _Fitted) -> dict[str, Any]:
    """What the manifest says of weights; nothing of a log without."""
    if log.column is None:
        return {}
    mean = log.in_units_of_the_column(fitted.mean_weight)
    return {"weights": {"column": log.column, "rows_of_weight_0": log.left_out, "train_mean": mean}}


def _write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    write_json(folder / "manifest.json", manifest, allow_nan=True)


def _rare_labels(positives: dict[str, dict[str, int]]) -> Iterator[str]:
    for part in PARTS[1:]:
        for task, count in positives[part].items():
            if count == 0:
                yield f"{part} has no positive row of task {task!r}: no AUC can be given"


def _fit(log: CountedLog, schema: Schema, like: EncodedLog | None, progress: Progress) -> _Fitted:
    """Check and fit in one stream, after those that the split needs.

    The encoder of added days is the earlier one: of them only the labels are checked and counted.
    """
    assign = plan_split(schema, log)
    earlier = None if like is None else like.encoder()
    past = None
    if schema.statistics:
        state = None if earlier is None else earlier.past
        past = count_past(log, schema, assign, earlier=state, progress=progress)
    encoder_fit = EncoderFit(schema, log.logical_types(schema.columns()), past=past)
    label_fit = LabelFit(schema, log.data)
    counts, train_weight = np.zeros(len(PARTS), np.int64), 0.0
    for batch in log.batches(schema.columns()):
        parts, weight = assign(batch), batch.weight
        if past is not None and like is None:
            batch = past.with_numbers(batch, parts)
        counts += np.bincount(parts, minlength=len(PARTS))
        train = parts == 0
        if like is None:
            encoder_fit.add(batch.columns, train, batch.place, weight=weight)
        label_fit.add(batch.columns, train, batch.place, row=batch.row, weight=weight)
        train_weight += np.count_nonzero(train) if weight is None else weight[train].sum()
        progress("fit", batch.first + batch.rows, log.rows)
    for part, count in zip(PARTS, counts, strict=True):
        if count == 0:
            zero = f" ({log.left_out} rows have weight 0)" if log.left_out else ""
            remedy = f"correct {log.column} or split" if log.left_out else "correct split"
            raise DataError(f"{log.data}: no row falls into {part}{zero}; {remedy} in the schema")
    labels = label_fit.finish()
    classes = {name: label.classes for name, label in labels.statistics.items()}
    if like is None:
        refuse_same_columns(schema, classes, SourceLocation(log.data))
    else:
        refuse_other_classes(classes, like)
    encoder = encoder_fit.finish() if earlier is None else earlier
    encoder.past = past
    return _Fitted(assign, encoder, labels, counts.tolist(), float(train_weight / counts[0]))


def _encode(
    log: CountedLog, schema: Schema, fitted: _Fitted, folder: Path, progress: Progress
) -> dict[str, Any]:
    """Write every row to its part.

    Returns:
        `unknown`, by part and feature how many values have the unknown row (unseen, rarer than
        `min_count`, or missing), of how many `values`; `positives`, by part and binary task;
        `labelled`, by part and task; and `counts`, what else does not count (`GapCount`).
    """
    widths = _widths(schema, fitted.encoder)
    counts = PartCounts(schema, fitted.encoder)
    with ExitStack() as stack:
        writers = [
            stack.enter_context(ArrayWriter(folder / part, rows, widths=widths))
            for part, rows in zip(PARTS, fitted.rows, strict=True)
        ]
        for done, of_parts in _encoded_parts(log, schema, fitted, counts):
            for i, arrays in of_parts.items():
                writers[i].append(arrays)
            progress("encode", done, log.rows)
    return counts.by_part()


def _encoded_parts(
    log: CountedLog, schema: Schema, fitted: _Fitted, counts: PartCounts
) -> Iterator[tuple[int, dict[int, dict[str, npt.NDArray[Any]]]]]:
    """Of each batch the number of rows done with it, and its arrays by part; `counts` sees all."""
    for batch in log.batches(schema.columns()):
        parts = fitted.assign(batch)
        if fitted.encoder.past is not None:
            batch = fitted.encoder.past.with_numbers(batch, parts)
        arrays = _encoded_arrays(schema, fitted, batch)
        counts.add_gaps(_gaps(schema, batch, arrays), parts)
        of_parts = {}
        for i in np.unique(parts).tolist():
            rows = np.flatnonzero(parts == i)
            of_parts[i] = {name: array[rows] for name, array in arrays.items()}
            counts.add(i, of_parts[i])
        yield batch.first + batch.rows, of_parts


def _encoded_arrays(
    schema: Schema, fitted: _Fitted, batch: CountedBatch
) -> dict[str, npt.NDArray[Any]]:
    """The arrays of `LogSplit` for one batch."""
    columns = dict(zip(batch.columns.schema.names, batch.columns.columns, strict=True))
    weight = batch.weight
    encoded = fitted.encoder.encode_canonical(columns, batch.rows, batch.place)
    return {
        "ids": encoded.ids,
        "numeric": encoded.numeric,
        "labels": fitted.labels.encode(batch.columns, batch.place),
        "weight": np.ones(batch.rows) if weight is None else weight / fitted.mean_weight,
        "group": _groups(schema, batch),
        "row": batch.row,
    }


def _gaps(
    schema: Schema, batch: CountedBatch, arrays: Mapping[str, npt.NDArray[Any]]
) -> Iterator[Gap]:
    """The rows of a batch that do not count for a task, a group or a side table."""
    yield from label_gaps(schema, batch.columns, arrays["labels"], batch.place)
    ungrouped, split = dict[str, npt.NDArray[np.bool_]](), schema.split
    if schema.roles.group is not None:
        ungrouped[schema.roles.group] = arrays["group"] == NO_GROUP
    if split.by == "group" and split.column is not None and split.column not in ungrouped:
        groups = batch.columns.column(split.column)
        ungrouped[split.column] = group_keys(groups, split.column, batch.place).codes < 0
    yield from join_gaps(schema, batch.rows, unmatched=batch.unmatched, ungrouped=ungrouped)


def _groups(schema: Schema, batch: CountedBatch) -> npt.NDArray[np.int64]:
    """A code for each row, equal within a group; `NO_GROUP` where it has none."""
    column = schema.roles.group
    if column is None:
        return np.zeros(batch.rows, np.int64)
    keys = group_keys(batch.columns.column(column), column, batch.place)
    codes = stable_hash(keys.values).view(np.int64)
    codes[codes == NO_GROUP] = 0
    return np.append(codes, NO_GROUP)[keys.codes]

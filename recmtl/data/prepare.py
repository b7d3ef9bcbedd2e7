"""Parquet -> encoded log: split, fit on train rows, encode; all or nothing.

The data is streamed two to five times, row group by row group: for weights, for the split and for
statistics of the past where they need it, to check and fit, and to encode. Rows of weight 0 are
left out from the start. The result is built beside `out` and moved there when it is complete.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from recmtl.atomic import new_folder, write_json
from recmtl.data.columns.gaps import (
    GapCount,
    gap_warnings,
    refuse_empty_splits,
)
from recmtl.data.columns.numeric import SAMPLE
from recmtl.data.counted_log import CountedLog, Progress
from recmtl.data.encoded_log import (
    EncodedLog,
    refuse_full_disk,
    row_bytes,
    write_faults_as_data_error,
)
from recmtl.data.labelled.sampling import sample_facts
from recmtl.data.labelled.windows import late_facts
from recmtl.data.leaks import leak_warnings
from recmtl.data.passes.encode import array_widths, encode, make_arrays
from recmtl.data.passes.fit import Fitted, fit
from recmtl.data.passes.resume import forget, is_begun, read_fit, write_fit
from recmtl.data.reader import Log, open_log
from recmtl.data.split import PARTS
from recmtl.data.statistics.past import refuse_number_names
from recmtl.data.vocabulary_drift import (
    drift_warnings,
    refuse_another_schema,
    vocabulary_drift,
)
from recmtl.engines.folds import RowEngine
from recmtl.errors import DataError
from recmtl.paths import FileContent
from recmtl.schema import Numeric, Schema, dump_schema, refuse_contradictions

__all__ = ["Progress", "check_rows", "prepare"]

FORMAT = 1
WEIGHTS = "weights: 0 is absent, mean 1 on train rows"
"""In the fingerprint of weighted logs: those of release 0.1 held other weights."""
QUANTILES = f"quantiles: of the {SAMPLE} train rows with the smallest hashes"
"""In that of logs with more rows than are sampled: release 0.1 drew by a generator, batch by batch,
which an engine cannot."""


def prepare(
    data: str | Path,
    schema: Schema,
    out: str | Path,
    *,
    like: EncodedLog | None = None,
    progress: Progress | None = None,
    admit: Callable[[Mapping[str, Any]], None] | None = None,
    engine: RowEngine | None = None,
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
        engine: runs the passes over the rows; None for this process. The log is the same. What it
            has finished is kept if the job is killed or fails after the fit: the same call goes on.

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
    goes_on = partial(_goes_on, prints["fingerprint"], engine)
    with write_faults_as_data_error(out), new_folder(out, goes_on=goes_on) as unfinished:
        _build(log, schema, unfinished, prints, like=like, progress=progress, engine=engine)
        _refuse_changed(contents, log.content())
    return EncodedLog.open(out)


def check_rows(log: Log, schema: Schema) -> None:
    """Raise what `prepare` would raise for these rows and this schema before it writes anything.

    Raises:
        DataError: the data is not what the schema says.
    """
    log.logical_types(schema.columns())
    counted = CountedLog(log, schema.roles.sample_weight)
    _checked_gaps(encode(counted, schema, fit(counted, schema, None)), log)


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
    numbers = [f for f in schema.encoded_features if isinstance(f, Numeric)]
    if log.rows > SAMPLE and any(number.encoding != "standard" for number in numbers):
        parts.append(QUANTILES)
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


def _build(
    log: Log,
    schema: Schema,
    folder: Path,
    prints: dict[str, str],
    *,
    like: EncodedLog | None,
    progress: Progress | None,
    engine: RowEngine | None,
) -> None:
    """Fit, encode and describe the log in a folder."""
    counted = CountedLog(log, schema.roles.sample_weight, engine=engine, progress=progress)
    if is_begun(folder, prints["fingerprint"]):
        fitted = read_fit(folder, counted, schema, like)
    else:
        fitted = fit(counted, schema, like)
        _begin(folder, schema, fitted, counted.rows)
        if engine is not None:
            write_fit(folder, prints["fingerprint"], fitted)
    counts = encode(counted, schema, fitted, folder, is_resumable=engine is not None)
    forget(folder)
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
        **late_facts(fitted.labels.schema),
        **sample_facts(schema, fitted.left_out),
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


def _begin(folder: Path, schema: Schema, fitted: Fitted, rows: int) -> None:
    """Write all of a log but its rows and its manifest."""
    refuse_full_disk(folder, rows * row_bytes(array_widths(schema, fitted.encoder)))
    (folder / "schema.yaml").write_text(dump_schema(schema), encoding="utf-8")
    (folder / "encoding.json").write_text(fitted.encoder.encoding.to_json(), encoding="utf-8")
    fitted.encoder.save(folder / "encoder")
    make_arrays(schema, fitted, folder)


def _goes_on(fingerprint: str, engine: RowEngine | None, folder: Path) -> bool:
    """Whether an unfinished log can be gone on with: on an engine, from the fit on."""
    return engine is not None and is_begun(folder, fingerprint)


def _weight_facts(log: CountedLog, fitted: Fitted) -> dict[str, Any]:
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

"""The bundle: one folder that holds all that scoring needs, and proves that it is intact.

    manifest.json   format, version, columns, size and SHA-256 of every other file
    encoder/        the schema and the vocabularies
    model/          network.json, weights.safetensors, routes.json
    golden/         a few raw rows and the scores that they must get
    metrics.json    what was measured
    README.md       the model card

Nothing in it is unpickled. Loading checks the files, then scores the golden rows.
"""

import importlib.metadata
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from safetensors import SafetensorError

from recmtl.data.encoder import Encoder
from recmtl.errors import BundleError, RecmtlError
from recmtl.model import Model, load_model, save_model
from recmtl.serve.card import model_card
from recmtl.serve.chunks import FixedShapeModel
from recmtl.serve.location import local_folder
from recmtl.serve.manifest import MANIFEST, verify_manifest, write_manifest

__all__ = ["Bundle", "load_bundle", "save_bundle"]

GOLDEN = Path("golden") / "rows.arrow"
GOLDEN_ROWS = 64
SCORE_PREFIX = "expected:"
UNREADABLE = (OSError, RecmtlError, SafetensorError, ValueError, KeyError, TypeError, RuntimeError)


@dataclass(frozen=True)
class Bundle:
    """A verified bundle in memory; `fingerprint` is the SHA-256 of its manifest.

    `golden` holds a few raw rows (the input columns), good as an example of the input.
    """

    folder: Path
    fingerprint: str
    encoder: Encoder
    model: Model
    metrics: dict[str, Any]
    golden: pa.Table


def save_bundle(
    folder: str | Path,
    *,
    model: Model,
    encoder: Encoder,
    rows: pa.Table,
    metrics: Mapping[str, Any],
    notes: str = "",
) -> Path:
    """Write a bundle atomically: it is complete at `folder`, or nothing is there.

    Args:
        folder: where it goes; a bundle that is there already is replaced, anything else refused.
        model: what `recmtl.model.save_model` writes.
        encoder: the fitted preprocessing.
        rows: raw input rows, side tables joined, from which up to 64 become the golden batch:
            the first ones, and for every column one in which it is missing, if there is one.
        metrics: JSON-ready facts, usually the content of results.json.
        notes: Markdown that the model card carries after its own text.

    Raises:
        BundleError: the folder holds something else, or the disk is full.
    """
    folder = Path(folder)
    _check_replaceable(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        partial.chmod(0o755)
        golden = _golden_rows(rows.select(list(encoder.input_columns)))
        _write_parts(partial, model, encoder, golden)
        _write_json(partial / "metrics.json", metrics)
        card = model_card(encoder.schema, encoder.input_columns, model.columns, metrics, notes)
        (partial / "README.md").write_text(card, encoding="utf-8")
        facts = {"recmtl": _recmtl_version(), "columns": list(model.columns)}
        write_manifest(partial, facts | {"input_columns": list(encoder.input_columns)})
        _replace(partial, folder)
    except OSError as error:
        raise BundleError(f"{folder}: cannot write the bundle: {error.strerror}") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def load_bundle(path_or_uri: str | Path) -> Bundle:
    """Load and verify a bundle from a folder or an MLflow URI.

    Raises:
        BundleError: the files are not those of the manifest, cannot be read, or the golden rows
            do not get their scores.
    """
    folder = local_folder(path_or_uri)
    manifest, fingerprint = verify_manifest(folder)
    try:
        encoder = Encoder.load(folder / "encoder")
        model = load_model(folder / "model")
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        with pa.OSFile(str(folder / GOLDEN)) as file:
            golden = pa.ipc.open_file(file).read_all()
    except BundleError:
        raise
    except UNREADABLE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BundleError(f"{folder}: cannot be read ({reason}); save the bundle again") from error
    if list(model.columns) != manifest.get("columns"):
        raise BundleError(f"{folder}: the model's columns are not those of its {MANIFEST}")
    _check_golden(folder, model, encoder, golden)
    inputs = golden.select(list(encoder.input_columns))
    return Bundle(folder, fingerprint, encoder, model, metrics, inputs)


def _golden_rows(rows: pa.Table) -> pa.Table:
    """Choose the golden rows; text is stored as text, however the reader has packed it."""
    missing = [pc.index(column.is_null(), True).as_py() for column in rows.columns]
    chosen = list(dict.fromkeys([*(row for row in missing if row >= 0), *range(GOLDEN_ROWS)]))
    golden = rows.take(sorted(row for row in chosen[:GOLDEN_ROWS] if row < rows.num_rows))
    plain = [
        column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
        for column in golden.columns
    ]
    return pa.table(plain, names=golden.column_names)


def _write_parts(partial: Path, model: Model, encoder: Encoder, golden: pa.Table) -> None:
    for name in ("encoder", "model", "golden"):
        (partial / name).mkdir()
    encoder.save(partial / "encoder")
    save_model(model, partial / "model")
    # The scores come from what was written, so that a faulty save cannot pass.
    scores = _golden_scores(
        load_model(partial / "model"), Encoder.load(partial / "encoder"), golden
    )
    for column, values in zip(model.columns, scores.T, strict=True):
        golden = golden.append_column(SCORE_PREFIX + column, pa.array(values))
    with pa.ipc.new_file(str(partial / GOLDEN), golden.schema) as writer:
        writer.write_table(golden)


def _golden_scores(
    model: Model, encoder: Encoder, rows: pa.Table
) -> np.ndarray[Any, np.dtype[np.float32]]:
    encoded = encoder.encode(rows)
    return FixedShapeModel(model, threads=1).scores(encoded.ids, encoded.numeric)


def _check_golden(folder: Path, model: Model, encoder: Encoder, golden: pa.Table) -> None:
    scores = _golden_scores(model, encoder, golden.select(list(encoder.input_columns)))
    for column, values in zip(model.columns, scores.T, strict=True):
        expected = golden[SCORE_PREFIX + column].to_numpy()
        # Another processor may sum in another order; that moves a float32 by a few units.
        if not np.allclose(values, expected, rtol=1e-5, atol=1e-6, equal_nan=True):
            gap = float(np.max(np.abs(values - expected)))
            raise BundleError(
                f"{folder}: column {column!r} of the golden rows differs by {gap:.3g} from the "
                "scores at saving; this recmtl or torch computes something else: use the versions "
                "of the training environment"
            )


def _check_replaceable(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise BundleError(f"{folder}: is a file; choose another folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise BundleError(f"{folder}: holds something that is no bundle; choose another folder")


def _replace(partial: Path, folder: Path) -> None:
    """Put `partial` where `folder` is; a folder with content cannot be replaced in one step."""
    if not folder.exists():
        os.replace(partial, folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}-old-", dir=folder.parent))
    os.replace(folder, old)
    os.replace(partial, folder)
    shutil.rmtree(old)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _recmtl_version() -> str:
    try:
        return importlib.metadata.version("recmtl")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"

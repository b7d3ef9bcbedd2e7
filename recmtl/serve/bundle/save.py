"""Writes a bundle: encoder, network, calibrators, golden rows, model card, and then the manifest.

The golden rows get their scores from what was written, read back from the disk, so that a faulty
save cannot pass.
"""

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recmtl.atomic import new_folder
from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import BundleError, ConfigError, DataError
from recmtl.model import BlendedModel, TabularModel, save_blend
from recmtl.serve.arguments import as_column_list, as_instance, as_path
from recmtl.serve.bundle.bundle import (
    CALIBRATORS,
    FORESTS,
    GOLDEN,
    METRICS,
    RAW_PREFIX,
    REQUEST,
    SCORE_PREFIX,
    UNKNOWN,
    network_scores,
    read_bundle,
    user_features,
)
from recmtl.serve.bundle.card import model_card
from recmtl.serve.bundle.manifest import MANIFEST, write_manifest
from recmtl.serve.bundle.onnx_export import (
    NETWORK_FILE,
    REQUEST_NETWORK_FILE,
    missing_package,
    write_network,
)
from recmtl.serve.bundle.reference import REFERENCE, Reference
from recmtl.serve.calibration.calibrators import Calibrators
from recmtl.serve.faults import write_faults
from recmtl.serve.frames import require_columns

if TYPE_CHECKING:
    from recmtl.forest.forests import Forests  # it imports LightGBM

__all__ = ["check_serving", "save_bundle"]

GOLDEN_ROWS = 64


def save_bundle(
    folder: str | Path,
    *,
    model: TabularModel,
    encoder: RowEncoder,
    rows: pa.Table,
    metrics: Mapping[str, Any],
    notes: str = "",
    unknown: Mapping[str, float] | None = None,
    calibrators: Calibrators | None = None,
    user: Sequence[str] = (),
    onnx: bool = False,
    forests: "Forests | None" = None,
    lineage: Sequence[Mapping[str, Any]] = (),
    reference: Reference | None = None,
) -> Path:
    """Write a bundle atomically: it is complete at `folder`, or nothing is there.

    Args:
        folder: where it goes. A bundle that is there already is replaced; anything else is refused.
        model: the network, or a blend of several, in evaluation mode.
        encoder: the fitted preprocessing.
        rows: raw input rows, side tables joined. Up to 64 of them become the golden rows: the
            first ones and, for every column that has a missing value, one row in which it is
            missing.
        metrics: JSON-ready facts, usually the content of results.json.
        notes: Markdown that the model card carries after its own text.
        unknown: share of values without a known id, by feature, on rows like those to be scored;
            see `recmtl.data.vocabulary_drift.unknown_shares`.
        calibrators: of the model's probabilities, see `recmtl.serve.calibration.fit`.
        user: input columns that a request gives once, for `Ranker.rank_request`.
        onnx: whether the network is added as ONNX too, for `Scorer.load(..., engine="auto")`.
        forests: whose logits the network hears, see `recmtl.forest.grown`.
        lineage: JSON of every update since the network was trained from scratch, the newest last.
        reference: what later days are compared with.

    Raises:
        BundleError: the folder holds something else, the disk is full, or the network gives scores
            that are no finite numbers.
        DataError: `user` names a column that is not an input column, or `rows` lacks one or is
            empty.
        ConfigError: an argument is of another type, `user` names all input columns, `metrics` is
            not JSON, or ONNX is asked for and not installed.
    """
    folder = Path(as_path("folder", folder))
    as_instance("model", model, TabularModel)
    as_instance("encoder", encoder, RowEncoder)
    if calibrators is not None:
        as_instance("calibrators", calibrators, Calibrators)
    as_instance("rows", rows, pa.Table)
    as_instance("notes", notes, str)
    user = as_column_list("user", user)
    check_serving(encoder, user=user, onnx=onnx)
    rows = _input_rows(rows, encoder)
    with write_faults(folder, kind=BundleError):
        _check_replaceable(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with new_folder(folder) as partial:
            _write_json(partial / METRICS, metrics)
            _write_compared(partial, unknown, reference)
            if user:
                _write_json(partial / REQUEST, {"user": user})
            _write_parts(partial, model, encoder, calibrators)
            if forests is not None:
                (partial / FORESTS).mkdir()
                forests.save(partial / FORESTS)
            if onnx:
                _write_onnx(partial, model, user_features(encoder, user))
            _write_golden(partial, rows)
            card = model_card(encoder.schema, encoder.input_columns, model.columns, metrics, notes)
            (partial / "README.md").write_text(card, encoding="utf-8")
            columns = {"columns": model.columns, "input_columns": encoder.input_columns}
            facts: dict[str, Any] = {name: list(names) for name, names in columns.items()}
            if lineage:
                facts["lineage"] = [dict(update) for update in lineage]
            write_manifest(partial, {"recmtl": _recmtl_version(), **facts})
    return folder


def _write_compared(
    partial: Path, unknown: Mapping[str, float] | None, reference: Reference | None
) -> None:
    """Write what later rows are compared with."""
    if unknown is not None:
        _write_json(partial / UNKNOWN, unknown)
    if reference is not None:
        _write_json(partial / REFERENCE, reference.to_json())


def check_serving(encoder: RowEncoder, *, user: Sequence[str], onnx: bool) -> None:
    """Refuse what `save_bundle` would refuse, before anything is trained; same errors as there."""
    user_features(encoder, user)
    missing = missing_package() if onnx else None
    if missing is not None:
        raise ConfigError(f"{missing} is not installed: pip install 'recmtl[onnx]'")


def _input_rows(rows: pa.Table, encoder: RowEncoder) -> pa.Table:
    """The input columns of the rows from which the golden ones are chosen."""
    require_columns(encoder.input_columns, rows.column_names, source="rows")
    if not rows.num_rows:
        raise DataError("rows: holds no row; give at least one, whose scores prove the bundle")
    return rows.select(list(encoder.input_columns))


def _check_replaceable(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise BundleError(f"{folder}: is a file; choose another folder")
    if folder.is_dir() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise BundleError(f"{folder}: holds something that is no bundle; choose another folder")


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    try:
        text = json.dumps(content, indent=2, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path.name}: cannot be written as JSON ({error})") from None
    path.write_text(text + "\n", encoding="utf-8")


def _write_parts(
    partial: Path, model: TabularModel, encoder: RowEncoder, calibrators: Calibrators | None
) -> None:
    for name in ("encoder", "model", "golden"):
        (partial / name).mkdir()
    encoder.save(partial / "encoder")
    save_blend(model, partial)
    if calibrators is not None and calibrators.columns:
        calibrators.save(partial / CALIBRATORS)


def _write_onnx(partial: Path, model: TabularModel, user: tuple[str, ...]) -> None:
    write_network(model, partial / NETWORK_FILE, {})
    if user and not isinstance(model, BlendedModel):
        write_network(model, partial / REQUEST_NETWORK_FILE, {}, user=user)


def _write_golden(partial: Path, rows: pa.Table) -> None:
    """Choose the golden rows and score them with the parts that were just written."""
    bundle, golden = read_bundle(partial, ""), _golden_rows(rows)
    scores, ids = network_scores(bundle, golden)
    saved_scores = {SCORE_PREFIX: bundle.calibrated(scores, ids)}
    if not all(np.isfinite(values).all() for values in (scores, *saved_scores.values())):
        fault = "the network's scores of the golden rows are not all finite numbers"
        raise BundleError(f"{fault}; train it again at a lower learning rate")
    if bundle.calibrators is not None:
        saved_scores[RAW_PREFIX] = scores
    for prefix, columns in saved_scores.items():
        for name, column in zip(bundle.model.columns, columns.T, strict=True):
            golden = golden.append_column(prefix + name, pa.array(column))
    with pa.ipc.new_file(str(partial / GOLDEN), golden.schema) as writer:
        writer.write_table(golden)


def _golden_rows(rows: pa.Table) -> pa.Table:
    """Choose the golden rows; text is stored as text even if it came dictionary-encoded."""
    missing = [pc.index(column.is_null(), True).as_py() for column in rows.columns]
    chosen = list(dict.fromkeys([*(row for row in missing if row >= 0), *range(GOLDEN_ROWS)]))
    golden = rows.take(sorted(row for row in chosen[:GOLDEN_ROWS] if row < rows.num_rows))
    plain = [
        column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
        for column in golden.columns
    ]
    return pa.table(plain, names=golden.column_names)


def _recmtl_version() -> str:
    try:
        return importlib.metadata.version("recmtl")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"

"""The bundle: one folder that holds all that scoring needs, and proves that it is intact.

    manifest.json   format, version, columns, size and SHA-256 of every other file
    encoder/        the schema and the vocabularies
    model/          network.json, weights.safetensors; network.onnx, if asked for
    calibrators.json  maps of the probabilities, if they are calibrated
    golden/         a few raw rows and the scores that they must get
    metrics.json    what was measured
    unknown.json    share of values without a known id, by feature, to notice drift by
    request.json    the input columns that a request gives once, if that was said; with ONNX there
                    is model/request.onnx then, which computes their part of the network once
    README.md       the model card

Nothing in it is unpickled. Loading checks the files, then scores the golden rows.
"""

import importlib.metadata
import importlib.util
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recmtl.atomic import new_folder
from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import BundleError, ConfigError
from recmtl.model import Model, load_model, save_model
from recmtl.serve.arguments import names, of_kind, path_like, require
from recmtl.serve.bundle.card import model_card
from recmtl.serve.bundle.manifest import (
    MANIFEST,
    local_folder,
    verify_manifest,
    write_manifest,
)
from recmtl.serve.calibration.calibration import Calibrators
from recmtl.serve.scoring.fixed_shape import FixedShapeModel

__all__ = ["Bundle", "check_serving", "load_bundle", "save_bundle", "user_features"]

GOLDEN = Path("golden") / "rows.arrow"
GOLDEN_ROWS = 64
VOCABULARIES = Path("encoder") / "vocabularies.arrow"
UNKNOWN = "unknown.json"
CALIBRATORS = "calibrators.json"
REQUEST = "request.json"
SCORE_PREFIX = "expected:"
RAW_PREFIX = "uncalibrated:"

Scores: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Bundle:
    """A verified bundle in memory; `fingerprint` is the SHA-256 of its manifest.

    `golden` holds a few raw rows (the input columns), good as an example of the input. `unknown` is
    what `save_bundle` was given, None in bundles without it; `calibrators` too. `user` holds the
    names of the features that a request's user brings, in the order of the schema.
    """

    folder: Path
    fingerprint: str
    encoder: RowEncoder
    model: Model
    metrics: dict[str, Any]
    golden: pa.Table
    unknown: dict[str, float] | None = None
    calibrators: Calibrators | None = None
    user: tuple[str, ...] = ()

    def calibrated(self, scores: Scores, ids: npt.NDArray[np.int32]) -> Scores:
        """The network's scores `[R, C]` as they are served; `ids` `[R, I]` are its encoded ids."""
        return scores if self.calibrators is None else self.calibrators.apply(scores, ids)


def save_bundle(
    folder: str | Path,
    *,
    model: Model,
    encoder: RowEncoder,
    rows: pa.Table,
    metrics: Mapping[str, Any],
    notes: str = "",
    unknown: Mapping[str, float] | None = None,
    calibrators: Calibrators | None = None,
    user: Sequence[str] = (),
    onnx: bool = False,
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
        unknown: share of values without a known id, by feature, on rows like those to be scored;
            see `recmtl.data.vocabulary_drift.unknown_shares`.
        calibrators: of the model's probabilities, see `recmtl.serve.calibration.fit`.
        user: input columns that a request gives once, for `Ranker.rank_request`.
        onnx: whether the network is added as ONNX too, for `Scorer.load(..., engine="auto")`.

    Raises:
        BundleError: the folder holds something else, or the disk is full.
        DataError: `user` names what is no input column.
        ConfigError: `user` names all of them, or ONNX is asked for and not installed.
    """
    folder = Path(path_like("folder", folder))
    for name, value, kind in (("model", model, Model), ("encoder", encoder, RowEncoder)):
        of_kind(name, value, kind)
    if calibrators is not None:
        of_kind("calibrators", calibrators, Calibrators)
    of_kind("rows", rows, pa.Table)
    of_kind("notes", notes, str)
    user = names("user", user)
    check_serving(encoder, user=user, onnx=onnx)
    _check_replaceable(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with new_folder(folder) as partial:
            _write_json(partial / "metrics.json", metrics)
            if unknown is not None:
                _write_json(partial / UNKNOWN, unknown)
            golden = _golden_rows(rows.select(list(encoder.input_columns)))
            _write_parts(partial, model, encoder, calibrators)
            if user:
                _write_json(partial / REQUEST, {"user": list(user)})
            if onnx:
                _write_onnx(partial, model, user_features(encoder, user))
            _write_golden(_read(partial, ""), golden)
            card = model_card(encoder.schema, encoder.input_columns, model.columns, metrics, notes)
            (partial / "README.md").write_text(card, encoding="utf-8")
            facts = {"recmtl": _recmtl_version(), "columns": list(model.columns)}
            write_manifest(partial, facts | {"input_columns": list(encoder.input_columns)})
    except OSError as error:
        raise BundleError(f"{folder}: cannot write the bundle: {error.strerror}") from None
    return folder


def load_bundle(path_or_uri: str | Path) -> Bundle:
    """Load and verify a bundle from a folder or an MLflow URI.

    Raises:
        BundleError: the files are not those of the manifest, cannot be read, or the golden rows
            do not get their scores.
    """
    folder = local_folder(path_like("bundle", path_or_uri))
    manifest, fingerprint = verify_manifest(folder)
    try:
        bundle = _read(folder, fingerprint)
        _check_columns(bundle, manifest)
        golden = _arrow(folder / GOLDEN)
        _check_golden(bundle, golden)
    except BundleError:
        raise
    except Exception as error:  # files that fit a manifest of bad intent can fail anywhere
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise BundleError(f"{folder}: cannot be read ({reason}); save the bundle again") from error
    return replace(bundle, golden=golden.select(list(bundle.encoder.input_columns)))


def _read(folder: Path, fingerprint: str) -> Bundle:
    # Arrow trusts offsets unless told to look at them.
    _arrow(folder / VOCABULARIES)
    encoder = RowEncoder.load(folder / "encoder")
    model = load_model(folder / "model")
    metrics = _read_json(folder / "metrics.json")
    unknown = _read_json(folder / UNKNOWN) if (folder / UNKNOWN).is_file() else None
    calibrators = None
    if (folder / CALIBRATORS).is_file():
        heads = model.heads.specs
        calibrators = Calibrators.load(folder / CALIBRATORS, heads=heads, encoding=encoder.encoding)
    user: tuple[str, ...] = ()
    if (folder / REQUEST).is_file():
        user = user_features(encoder, _read_json(folder / REQUEST)["user"])
    found = Bundle(folder, fingerprint, encoder, model, metrics, pa.table({}), unknown)
    return replace(found, calibrators=calibrators, user=user)


def user_features(encoder: RowEncoder, columns: Sequence[str]) -> tuple[str, ...]:
    """Names of the features that read the columns which a request gives once.

    Raises:
        DataError: a column is no input column.
        ConfigError: no feature is left to the candidates.
    """
    require(columns, encoder.input_columns, source="user")
    features = encoder.part(columns).encoding.fields
    if columns and len(features) == len(encoder.encoding.fields):
        raise ConfigError("user: all features are the user's; leave some to the candidates")
    return features


def _read_json(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise BundleError(f"{path}: holds no JSON object; save the bundle again")
    return content


def _arrow(path: Path) -> pa.Table:
    with pa.OSFile(str(path)) as file:
        table = pa.ipc.open_file(file).read_all()
    table.validate(full=True)
    return table


def _check_columns(bundle: Bundle, manifest: dict[str, Any]) -> None:
    encoder, model = bundle.encoder, bundle.model
    if list(model.columns) != manifest["columns"]:
        raise BundleError(f"{bundle.folder}: the model's columns are not those of its {MANIFEST}")
    same = list(encoder.input_columns) == manifest["input_columns"]
    if not same or model.encoder.encoding != encoder.encoding:
        raise BundleError(
            f"{bundle.folder}: encoder and model are not of one bundle; save the bundle again"
        )


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


def _write_parts(
    partial: Path, model: Model, encoder: RowEncoder, calibrators: Calibrators | None
) -> None:
    for name in ("encoder", "model", "golden"):
        (partial / name).mkdir()
    encoder.save(partial / "encoder")
    save_model(model, partial / "model")
    if calibrators is not None and calibrators.columns:
        calibrators.save(partial / CALIBRATORS)


def _write_onnx(partial: Path, model: Model, user: tuple[str, ...]) -> None:
    from recmtl.serve.scoring.onnx import FILE, REQUEST_FILE, write_network

    write_network(model, partial / FILE, {})
    if user:
        write_network(model, partial / REQUEST_FILE, {}, user=user)


def check_serving(encoder: RowEncoder, *, user: Sequence[str], onnx: bool) -> None:
    """Refuse what `save_bundle` would refuse, before anything is trained; see there."""
    user_features(encoder, user)
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if onnx and missing:
        raise ConfigError(f"{missing[0]} is not installed: pip install 'recmtl[onnx]'")


def _write_golden(bundle: Bundle, golden: pa.Table) -> None:
    """Score the rows by what was written, so that a faulty save cannot pass."""
    scores, ids = _network_scores(bundle, golden)
    expected = {SCORE_PREFIX: bundle.calibrated(scores, ids)}
    if bundle.calibrators is not None:
        expected[RAW_PREFIX] = scores
    for prefix, values in expected.items():
        for column, one in zip(bundle.model.columns, values.T, strict=True):
            golden = golden.append_column(prefix + column, pa.array(one))
    with pa.ipc.new_file(str(bundle.folder / GOLDEN), golden.schema) as writer:
        writer.write_table(golden)


def _network_scores(bundle: Bundle, rows: pa.Table) -> tuple[Scores, npt.NDArray[np.int32]]:
    encoded = bundle.encoder.encode(rows)
    model = FixedShapeModel(bundle.model, threads=1)
    return model.scores(encoded.ids, encoded.numeric), encoded.ids


def _check_golden(bundle: Bundle, golden: pa.Table) -> None:
    """Compare the network with its own scores, and the maps on those with the final scores.

    In one step, a steep calibration map would magnify what another processor rounds otherwise.
    """
    inputs = golden.select(list(bundle.encoder.input_columns))
    scores, ids = _network_scores(bundle, inputs)
    if bundle.calibrators is None:
        _compare(bundle, SCORE_PREFIX, scores, golden)
        return
    expected = _compare(bundle, RAW_PREFIX, scores, golden)
    _compare(bundle, SCORE_PREFIX, bundle.calibrated(expected, ids), golden)


def _compare(bundle: Bundle, prefix: str, scores: Scores, golden: pa.Table) -> Scores:
    """Refuse scores that are not the golden ones under a prefix; returns those."""
    columns = bundle.model.columns
    expected: Scores = np.stack([golden[prefix + name].to_numpy() for name in columns], 1)
    for column, values, wanted in zip(columns, scores.T, expected.T, strict=True):
        # Another processor may sum in another order; that moves a float32 by a few units.
        if not np.allclose(values, wanted, rtol=1e-5, atol=1e-6, equal_nan=True):
            gap = float(np.max(np.abs(values - wanted)))
            raise BundleError(
                f"{bundle.folder}: column {column!r} of the golden rows differs by {gap:.3g} from "
                "the scores at saving; this recmtl or torch computes something else: use the "
                "versions of the training environment"
            )
    return expected


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


def _recmtl_version() -> str:
    try:
        return importlib.metadata.version("recmtl")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"

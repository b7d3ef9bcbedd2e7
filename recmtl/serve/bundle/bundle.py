"""A bundle in memory, and the one way to load it.

Loading goes through four steps: find the folder, verify its files against the manifest, read
encoder, network and calibrators from them, and check that the golden rows get their scores.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recmtl.data.columns.logical_type import LogicalType, logical_type
from recmtl.data.encoding import Encoding
from recmtl.data.row_encoder import RowEncoder
from recmtl.errors import BundleError, ConfigError, first_line
from recmtl.model import BlendedModel, TabularModel, load_blend
from recmtl.paths import is_url
from recmtl.schema import SideTable
from recmtl.serve.arguments import as_mapping, as_path
from recmtl.serve.bundle.arrow_file import read_arrow
from recmtl.serve.bundle.manifest import MANIFEST, Manifest, local_folder, verify_manifest
from recmtl.serve.bundle.reference import REFERENCE, Reference
from recmtl.serve.calibration.calibrators import Calibrators
from recmtl.serve.fixed_shape import FixedShapeModel
from recmtl.serve.frames import require_columns

if TYPE_CHECKING:
    from recmtl.forest.forests import Forests  # it imports LightGBM

__all__ = [
    "CALIBRATORS",
    "FORESTS",
    "GOLDEN",
    "METRICS",
    "RAW_PREFIX",
    "REQUEST",
    "SCORE_PREFIX",
    "UNKNOWN",
    "Bundle",
    "load_bundle",
    "network_scores",
    "read_bundle",
    "user_features",
]

GOLDEN = Path("golden") / "rows.arrow"
ENCODER = "encoder"
FORESTS = "forests"
METRICS = "metrics.json"
UNKNOWN = "unknown.json"
CALIBRATORS = "calibrators.json"
REQUEST = "request.json"
SCORE_PREFIX = "expected:"
MOST_GOLDEN_ROWS = 4096
RAW_PREFIX = "uncalibrated:"

Scores: TypeAlias = npt.NDArray[np.float32]
Rows: TypeAlias = tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]
"""Encoded ids `[R, I]` and numbers `[R, N]`."""


@dataclass(frozen=True)
class Bundle:
    """A verified bundle in memory.

    Attributes:
        folder: where it was loaded from.
        fingerprint: SHA-256 of its manifest.
        encoder: raw rows to ids and numbers.
        model: ids and numbers to scores, before calibration; a `BlendedModel` if several members
            make them.
        forests: whose logits the model hears beside the encoded rows; None if it hears none.
        metrics: what `save_bundle` was given, usually the content of results.json.
        golden: a few raw rows with the input columns, which serve as an example of the input.
        unknown: share of values without a known id, by feature; None if the bundle has none.
        calibrators: maps of the probabilities; None if they are not calibrated.
        user: names of the features that a request's user brings, in the order of the schema.
        side_tables: where side tables lie, by the path that the schema states.
        lineage: of a bundle that was updated, each update since it was trained from scratch.
        reference: what a day is compared with; None in bundles of 0.1.
    """

    folder: Path
    fingerprint: str
    encoder: RowEncoder
    model: TabularModel
    metrics: dict[str, Any]
    golden: pa.Table
    unknown: dict[str, float] | None = None
    calibrators: Calibrators | None = None
    user: tuple[str, ...] = ()
    side_tables: Mapping[str, str] = field(default_factory=dict)
    forests: "Forests | None" = None
    lineage: tuple[Mapping[str, Any], ...] = ()
    reference: Reference | None = None

    def __repr__(self) -> str:
        tasks = ", ".join(task.name for task in self.encoder.schema.tasks)
        return f"Bundle {self.folder}: tasks {tasks}, fingerprint {self.fingerprint[:12]}"

    def network_input(self, ids: npt.NDArray[np.int32], numeric: npt.NDArray[np.float32]) -> Rows:
        """What the model reads of encoded rows: each row's depends on that row alone.

        Where the model hears trees, their numbers come after those of the features, and the model
        may leave out columns that the trees alone read. A blend of which a forest is a member gets
        the logits as they are after all others.
        """
        if self.forests is None:
            return ids, numeric
        logits = self.forests.logits(ids, numeric)
        encoded = self.forests.encoded(logits)
        numeric = self.encoder.encoding.with_numbers(numeric, encoded)
        if (heard := self._heard_columns) is not None:
            ids, numeric = ids[:, heard[0]], numeric[:, heard[1]]
        if isinstance(self.model, BlendedModel) and self.model.fields:
            numeric = np.concatenate([numeric, logits.astype(np.float32)], 1)
        return ids, numeric

    @cached_property
    def encoding(self) -> Encoding:
        """Of the encoder's columns, then those of the trees."""
        encoding = self.encoder.encoding
        trees = () if self.forests is None else self.forests.fields
        return replace(encoding, numeric=(*encoding.numeric, *trees))

    @cached_property
    def _heard_columns(self) -> tuple[list[int], list[int]] | None:
        heard = self.model.encoder.encoding
        return None if heard == self.encoding else self.encoding.columns_of(heard)

    @property
    def input_types(self) -> dict[str, LogicalType]:
        """The fitted type of every input column; of a bundle of 0.1 that of its golden rows."""
        golden = {field.name: logical_type(field.type) for field in self.golden.schema}
        return {name: self.encoder.types.get(name, golden[name]) for name in golden}

    def tables(self) -> tuple[SideTable, ...]:
        """The side tables of the schema, where the caller of `load_bundle` said that they lie.

        Raises:
            BundleError: the schema states a path that leaves the folder of the log, and the caller
                said nothing of it: a bundle may not choose what is read.
        """
        tables = self.encoder.schema.tables
        for path in (table.path for table in tables):
            plain = (
                not is_url(path) and not Path(path).is_absolute() and ".." not in Path(path).parts
            )
            if path not in self.side_tables and not plain:
                raise BundleError(
                    f"{self.folder}: its side table {path!r} lies outside of the log's folder; if "
                    f"it may be read, say where it is: side_tables={{{path!r}: ...}} or "
                    "--side-table"
                )
        return tuple(replace(t, path=self.side_tables.get(t.path, t.path)) for t in tables)

    def calibrated(self, scores: Scores, ids: npt.NDArray[np.int32]) -> Scores:
        """The network's scores `[R, C]` as they are served; `ids` `[R, I]` are its encoded ids."""
        return scores if self.calibrators is None else self.calibrators.apply(scores, ids)


def load_bundle(
    path_or_uri: str | Path, *, side_tables: Mapping[str, str | Path] | None = None
) -> Bundle:
    """Load and verify a bundle from a folder or an MLflow URI.

    Args:
        path_or_uri: a folder, `models:/name@alias`, `runs:/id/path` or another MLflow URI.
        side_tables: where side tables lie, by the path that the bundle's schema states; needed for
            those that do not lie in the folder of the log.

    Raises:
        ConfigError: `side_tables` names a table that the schema does not.
        BundleError: a file is not the one that the manifest lists or cannot be read, or the
            golden rows do not get their scores.
    """
    folder = local_folder(path_or_uri)
    manifest = verify_manifest(folder)
    try:
        bundle = read_bundle(folder, manifest.fingerprint)
        _check_parts(bundle, manifest)
        golden = read_arrow(folder / GOLDEN)
        _check_golden(bundle, golden)
    except BundleError:
        raise
    except Exception as error:  # a forged bundle with a matching manifest can fail anywhere
        reason = first_line(error)[:200]
        raise BundleError(f"{folder}: cannot be read ({reason}); save the bundle again") from error
    golden = golden.select(list(bundle.encoder.input_columns))
    tables, lineage = _side_tables(bundle, side_tables or {}), tuple(manifest.lineage)
    return replace(bundle, golden=golden, side_tables=tables, lineage=lineage)


def _side_tables(bundle: Bundle, places: Mapping[str, str | Path]) -> dict[str, str]:
    stated = [table.path for table in bundle.encoder.schema.tables]
    for path in as_mapping("side_tables", places):
        if path not in stated:
            names = ", ".join(map(repr, stated)) or "none"
            raise ConfigError(f"side_tables: the schema has no table {path!r}; it has {names}")
    return {path: str(as_path("side_tables", place)) for path, place in places.items()}


def read_bundle(folder: Path, fingerprint: str) -> Bundle:
    """Read the parts of a bundle, neither verified nor with its golden rows."""
    for path in sorted((folder / ENCODER).rglob("*.arrow")):
        read_arrow(path)  # the encoder reads them without checking what they state
    encoder = RowEncoder.load(folder / ENCODER)
    forests = _read_forests(folder, encoder)
    model = load_blend(folder, fields=0 if forests is None else len(forests.fields))
    calibrators, user = None, tuple[str, ...]()
    if (folder / CALIBRATORS).is_file():
        heads = model.heads.specs
        calibrators = Calibrators.load(folder / CALIBRATORS, heads=heads, encoding=encoder.encoding)
    if (folder / REQUEST).is_file():
        columns = _read_json(folder / REQUEST)["user"]
        for column in columns:
            if column not in encoder.input_columns:
                fault = f"cannot be read (user: has no column {column!r})"
                raise BundleError(f"{folder}: {fault}; save the bundle again")
        user = _user_fields(encoder, columns)
    return Bundle(
        folder=folder,
        fingerprint=fingerprint,
        encoder=encoder,
        model=model,
        metrics=_read_json(folder / METRICS),
        golden=pa.table({}),
        unknown=_read_json(folder / UNKNOWN) if (folder / UNKNOWN).is_file() else None,
        calibrators=calibrators,
        user=user,
        forests=forests,
        reference=_read_reference(folder / REFERENCE),
    )


def _read_reference(path: Path) -> Reference | None:
    if not path.is_file():
        return None
    try:
        return Reference.from_json(_read_json(path))
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise BundleError(f"{path}: cannot be read ({fault}); save the bundle again") from fault


def _read_forests(folder: Path, encoder: RowEncoder) -> "Forests | None":
    if not (folder / FORESTS).is_dir():
        return None
    # Here, since LightGBM is slow to load, and most bundles have no trees.
    from recmtl.forest.forests import Forests

    return Forests.load(folder / FORESTS, encoder.encoding)


def user_features(encoder: RowEncoder, columns: Sequence[str]) -> tuple[str, ...]:
    """The features that read the columns which a request gives once.

    Raises:
        DataError: a column is not an input column.
        ConfigError: no feature is left to the candidates.
    """
    require_columns(columns, encoder.input_columns, source="user")
    return _user_fields(encoder, columns)


def _user_fields(encoder: RowEncoder, columns: Sequence[str]) -> tuple[str, ...]:
    """The features that read input columns; some have to be left to the candidates."""
    features = encoder.part(columns).encoding.fields
    if columns and len(features) == len(encoder.encoding.fields):
        raise ConfigError("user: all features are the user's; leave some to the candidates")
    return features


def network_scores(bundle: Bundle, rows: pa.Table) -> tuple[Scores, npt.NDArray[np.int32]]:
    """The network's scores of raw rows `[R, C]`, before calibration, and the encoded ids `[R, I]`.

    On one thread and in the scorer's chunks, so that saving and loading compare like with like.
    """
    encoded = bundle.encoder.encode(rows)
    model = FixedShapeModel(bundle.model, threads=1, network_input=bundle.network_input)
    return model.scores(encoded.ids, encoded.numeric), encoded.ids


def _read_json(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise BundleError(f"{path}: holds no JSON object; save the bundle again")
    return content


def _check_parts(bundle: Bundle, manifest: Manifest) -> None:
    encoder, model = bundle.encoder, bundle.model
    if list(model.columns) != manifest.columns:
        raise BundleError(f"{bundle.folder}: the model's columns are not those of its {MANIFEST}")
    same_inputs = list(encoder.input_columns) == manifest.input_columns
    heard = model.encoder.encoding
    is_part = bundle.forests is not None and bundle.encoding.part(heard.fields) == heard
    if not same_inputs or not (is_part or heard == bundle.encoding):
        raise BundleError(
            f"{bundle.folder}: encoder and model are not of one bundle; save the bundle again"
        )


def _check_golden(bundle: Bundle, golden: pa.Table) -> None:
    """Compare the network with its own scores, and the maps on those with the final scores.

    In one step, a steep calibration map would magnify the rounding of another processor.
    """
    if not 1 <= golden.num_rows <= MOST_GOLDEN_ROWS:
        fault = f"has {golden.num_rows:,} golden rows, whose scores are to prove it"
        raise BundleError(f"{bundle.folder}: {fault}; save the bundle again")
    inputs = golden.select(list(bundle.encoder.input_columns))
    scores, ids = network_scores(bundle, inputs)
    if bundle.calibrators is None:
        _compare(bundle, SCORE_PREFIX, scores, golden)
        return
    saved_scores = _compare(bundle, RAW_PREFIX, scores, golden)
    _compare(bundle, SCORE_PREFIX, bundle.calibrated(saved_scores, ids), golden)


def _compare(bundle: Bundle, prefix: str, scores: Scores, golden: pa.Table) -> Scores:
    """Refuse scores that differ from the golden ones under a prefix; returns the golden ones."""
    columns = bundle.model.columns
    saved_scores: Scores = np.stack([golden[prefix + name].to_numpy() for name in columns], 1)
    if not np.isfinite(saved_scores).all():
        fault = "its golden rows have scores that are no numbers, and prove nothing"
        raise BundleError(f"{bundle.folder}: {fault}; train and save it again")
    for column, now, saved in zip(columns, scores.T, saved_scores.T, strict=True):
        # Another processor may sum in another order; that moves a float32 by a few units.
        if not np.allclose(now, saved, rtol=1e-5, atol=1e-6, equal_nan=False):
            gap = float(np.max(np.abs(now - saved)))
            raise BundleError(
                f"{bundle.folder}: column {column!r} of the golden rows differs by {gap:.3g} from "
                "the scores at saving; this recmtl or torch computes something else: use the "
                "versions of the training environment"
            )
    return saved_scores

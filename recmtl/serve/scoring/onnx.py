"""Runs a bundle's network in ONNX Runtime, once its scores have been compared with torch's.

ONNX Runtime answers small requests several times sooner than torch. It sums in another order, so
scores differ in the last bits: they are equal to float32 rounding, never bit for bit. The package
is optional (`pip install 'recmtl[onnx]'`) and imported only when it is used.
"""

import importlib.util
import json
import tempfile
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from recmtl.errors import BundleError
from recmtl.model import BlendedModel, TabularModel
from recmtl.serve.bundle.bundle import Bundle
from recmtl.serve.bundle.onnx_export import (
    COLUMNS_KEY,
    NETWORK_FILE,
    OUTPUT,
    REQUEST_NETWORK_FILE,
    export,
    optional_package,
)

__all__ = [
    "Engine",
    "OnnxNetwork",
    "equal_to_rounding",
    "request_network",
    "small_batch_network",
]

Engine = Literal["torch", "onnx", "auto"]
ROUNDING = 1e-5
PROOF_ROWS = 256
PROOF_USERS = 4


def small_batch_network(bundle: Bundle, engine: Engine) -> "OnnxNetwork | None":
    """What scores small batches in place of torch, or None where torch does.

    Args:
        bundle: a loaded bundle.
        engine: `torch`; `onnx`, exported now if the bundle was saved without it; or `auto`, which
            is ONNX Runtime where it is installed, in the bundle, and equal to float32 rounding.

    Raises:
        ConfigError: `onnx` where ONNX Runtime is not installed.
        BundleError: `onnx` where its scores differ from the network's.
    """
    return _network(bundle, engine, NETWORK_FILE, ())


def request_network(bundle: Bundle, engine: Engine, user: Collection[str]) -> "OnnxNetwork | None":
    """What scores the candidates of a request, or None where `small_batch_network` does.

    Args:
        bundle: a loaded bundle.
        engine: as in `small_batch_network`.
        user: names of the features that the user brings, some but not all.
    """
    return _network(bundle, engine, REQUEST_NETWORK_FILE, user)


class OnnxNetwork:
    """A network in ONNX Runtime; safe to call from several threads, one core a call.

    Args:
        path: what `recmtl.serve.bundle.onnx_export` wrote.
        columns: names of the scored columns, in order.

    Raises:
        ConfigError: ONNX Runtime is not installed.
        BundleError: the file cannot be read, or was exported from a network with other columns.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        runtime = optional_package("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = runtime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
            self._inputs = [tensor.name for tensor in self._session.get_inputs()]
            properties = self._session.get_modelmeta().custom_metadata_map
        except Exception as error:  # the runtime's errors have no common class
            reason = str(error).splitlines()[0][:200]
            raise BundleError(f"{path}: no ONNX network ({reason}); export it again") from None
        if json.loads(properties.get(COLUMNS_KEY, "[]")) != list(columns):
            raise BundleError(f"{path}: scores other columns than the bundle; export it again")
        self.columns = tuple(columns)

    def scores(self, *columns: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Map ids `[R, I]` and numeric `[R, N]` to scores `[R, C]`; R is at least 1.

        A network for requests takes ids and numbers of the user `[1, ..]` before those of the
        candidates.
        """
        inputs = dict(zip(self._inputs, columns, strict=True))
        scores: npt.NDArray[np.float32] = self._session.run([OUTPUT], inputs)[0]
        return scores

    def gap(self, bundle: Bundle, user: Collection[str] = ()) -> float:
        """The largest difference to the bundle's network; 0 if all scores are equal to rounding.

        Compared on the golden rows and on random ones with unknown ids and missing numbers. With
        the features `user` of a network for requests, some of these rows take turns as the user.
        """
        encoded = bundle.encoder.encode(bundle.golden)
        ids, numeric = _random_rows(bundle, PROOF_ROWS)
        ids, numeric = bundle.network_input(
            np.concatenate([encoded.ids, ids]), np.concatenate([encoded.numeric, numeric])
        )
        if not user:
            return _gap(bundle.model, self.scores(ids, numeric), ids, numeric)
        encoding = bundle.model.encoder.encoding
        user_ids, user_numeric = encoding.columns_of(encoding.part(user))
        others = encoding.part(set(encoding.fields) - set(user))
        other_ids, other_numeric = encoding.columns_of(others)
        gaps = []
        for row in range(0, len(ids), len(ids) // PROOF_USERS):
            ids[:, user_ids], numeric[:, user_numeric] = (
                ids[row, user_ids],
                numeric[row, user_numeric],
            )
            scores = self.scores(
                ids[:1, user_ids],
                numeric[:1, user_numeric],
                ids[:, other_ids],
                numeric[:, other_numeric],
            )
            gaps.append(_gap(bundle.model, scores, ids, numeric))
        return max(gaps)


def equal_to_rounding(scores: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]) -> bool:
    """Whether scores `[R, C]` differ by float32 rounding only.

    Rounding is 1e-5 of the score plus 1e-6 of the largest score of its column: a small score may
    be what is left of a difference of large ones.

    >>> expected = np.array([[0.5], [0.25]], np.float32)
    >>> equal_to_rounding(expected * np.float32(1.000001), expected)
    True
    >>> equal_to_rounding(expected + np.float32(0.001), expected)
    False
    """
    finite = np.where(np.isfinite(expected), np.abs(expected), 0.0)
    allowed = ROUNDING * (finite + 0.1 * np.max(finite, axis=0, initial=0.1))
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        near = np.abs(scores - expected) <= allowed
    return bool(np.all(near | (scores == expected) | (np.isnan(scores) & np.isnan(expected))))


def _network(
    bundle: Bundle, engine: Engine, file: Path, user: Collection[str]
) -> OnnxNetwork | None:
    if engine == "torch" or (user and isinstance(bundle.model, BlendedModel)):
        return None  # the user's part of a blend is not computed apart: whole rows are scored
    is_there = (bundle.folder / file).is_file() and set(user) in (set(), set(bundle.user))
    if engine == "auto" and not (is_there and importlib.util.find_spec("onnxruntime")):
        return None
    optional_package("onnxruntime")
    with tempfile.TemporaryDirectory(prefix="recmtl-") as folder:
        path = bundle.folder / file
        if not is_there:
            columns = bundle.encoder.schema.columns_of(user)
            path = export(bundle, Path(folder) / NETWORK_FILE.name, user=columns)
        network = OnnxNetwork(path, bundle.model.columns)
    gap = network.gap(bundle, user)
    if gap == 0.0:
        return network
    if engine == "auto":
        return None
    raise BundleError(
        f"{bundle.folder}: ONNX Runtime's scores differ by {gap:.3g} from the network's; "
        "use engine='torch'"
    )


def _gap(
    model: TabularModel,
    scores: npt.NDArray[np.float32],
    ids: npt.NDArray[np.int32],
    numeric: npt.NDArray[np.float32],
) -> float:
    expected = model.predict(torch.from_numpy(ids), torch.from_numpy(numeric)).numpy()
    if equal_to_rounding(scores, expected):
        return 0.0
    return float(np.max(np.abs(scores - expected)))


def _random_rows(
    bundle: Bundle, rows: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """Rows that a log could hold: ids of every feature's own block, its unknown id among them."""
    encoder, dice = bundle.encoder, np.random.default_rng(0)
    owners, firsts = encoder.unknown_rows()
    blocks = sorted(
        [*{v.first for v in encoder.vocabularies.values()}, encoder.encoding.table_rows]
    )
    lasts = np.array([next(b for b in blocks if b > first) for first in firsts], np.int64)
    ids = dice.integers(firsts, lasts, (rows, len(owners))).astype(np.int32)
    ids[dice.random(ids.shape) < 0.2] = 0
    singles = len(encoder.encoding.single)
    ids[:, :singles] = np.where(ids[:, :singles] == 0, firsts[:singles], ids[:, :singles])
    numeric = dice.normal(0.0, 2.0, (rows, encoder.encoding.numeric_columns)).astype(np.float32)
    numeric[dice.random(numeric.shape) < 0.2] = np.nan
    return ids, numeric

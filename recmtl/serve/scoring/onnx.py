"""The network as ONNX: encoded rows in, scored columns out, without torch.

    ids      int32   [rows, I]   as `Encoder.encode` gives them; unknown ids have rows of their own
    numeric  float32 [rows, N]   NaN where missing
    scores   float32 [rows, C]   the network's scored columns, before calibration

A network for requests (see `recmtl.serve.ranking.request_network`) takes the user's one row first:
`user_ids`, `user_numeric`, then `ids` and `numeric` of the candidates without the user's columns.

ONNX Runtime answers small requests several times sooner than torch. It sums in another order, so
scores differ in the last bits: they are equal to float32 rounding, never bit for bit. Both packages
are optional: `pip install 'recmtl[onnx]'`.
"""

import importlib.util
import json
import logging
import tempfile
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from recmtl.data.encoding import Encoding
from recmtl.errors import BundleError, ConfigError
from recmtl.model import Model
from recmtl.serve.arguments import names, path_like, told
from recmtl.serve.bundle.bundle import Bundle, load_bundle, user_features
from recmtl.serve.ranking.request_network import RequestNetwork

__all__ = [
    "Engine",
    "OnnxNetwork",
    "equal_to_rounding",
    "export",
    "request_network",
    "small_batch_network",
    "write_network",
]

Engine = Literal["torch", "onnx", "auto"]
FILE = Path("model") / "network.onnx"
REQUEST_FILE = Path("model") / "request.onnx"
USER, ROWS, OUTPUT = ("user_ids", "user_numeric"), ("ids", "numeric"), "scores"
LARGEST_IN_ONE_FILE = 1 << 30
ROUNDING = 1e-5
PROOF_ROWS = 256
PROOF_USERS = 4
NOISY = ("torch.onnx", "onnxscript", "onnx_ir")


class OnnxNetwork:
    """A network in ONNX Runtime; safe to call from several threads, one core a call.

    Args:
        path: what `export` wrote.
        columns: names of the scored columns, in order.

    Raises:
        ConfigError: ONNX Runtime is not installed.
        BundleError: the file cannot be read, or was exported from a network with other columns.
    """

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        runtime = _package("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = runtime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
            self._inputs = [given.name for given in self._session.get_inputs()]
            found = self._session.get_modelmeta().custom_metadata_map.get("recmtl.columns", "[]")
        except Exception as error:  # the runtime's own classes share no other name
            reason = str(error).splitlines()[0][:200]
            raise BundleError(f"{path}: no ONNX network ({reason}); export it again") from None
        if json.loads(found) != list(columns):
            raise BundleError(f"{path}: scores other columns than the bundle; export it again")
        self.columns = tuple(columns)

    def scores(self, *columns: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Map ids `[R, I]` and numeric `[R, N]` to scores `[R, C]`; R is at least 1.

        A network for requests takes those of the user `[1, ..]` before those of the candidates.
        """
        given = dict(zip(self._inputs, columns, strict=True))
        scores: npt.NDArray[np.float32] = self._session.run([OUTPUT], given)[0]
        return scores

    def gap(self, bundle: Bundle, user: Collection[str] = ()) -> float:
        """How far it is from the bundle's network: 0 where all scores are equal to rounding.

        Compared on the golden rows and on random ones with unknown ids and missing numbers. With
        the features `user` of a network for requests, some of these rows take turns as the user.
        """
        encoded = bundle.encoder.encode(bundle.golden)
        ids, numeric = _random_rows(bundle, PROOF_ROWS)
        ids = np.concatenate([encoded.ids, ids])
        numeric = np.concatenate([encoded.numeric, numeric])
        if not user:
            return _gap(bundle.model, self.scores(ids, numeric), ids, numeric)
        whole = bundle.model.encoder.encoding
        mine = whole.columns_of(whole.part(user))
        theirs = whole.columns_of(whole.part(set(whole.fields) - set(user)))
        gaps = []
        for row in range(0, len(ids), len(ids) // PROOF_USERS):
            ids[:, mine[0]], numeric[:, mine[1]] = ids[row, mine[0]], numeric[row, mine[1]]
            parts = (
                ids[:1, mine[0]],
                numeric[:1, mine[1]],
                ids[:, theirs[0]],
                numeric[:, theirs[1]],
            )
            gaps.append(_gap(bundle.model, self.scores(*parts), ids, numeric))
        return max(gaps)


def _gap(
    model: Model,
    found: npt.NDArray[np.float32],
    ids: npt.NDArray[np.int32],
    numeric: npt.NDArray[np.float32],
) -> float:
    expected = model.predict(torch.from_numpy(ids), torch.from_numpy(numeric)).numpy()
    if equal_to_rounding(found, expected):
        return 0.0
    return float(np.max(np.abs(found - expected)))


def equal_to_rounding(found: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]) -> bool:
    """Whether scores `[R, C]` differ by float32 rounding only.

    By 1e-5 of the score, and 1e-6 of the largest of its column, from which a small one may be left
    over.
    """
    finite = np.where(np.isfinite(expected), np.abs(expected), 0.0)
    allowed = ROUNDING * (finite + 0.1 * np.max(finite, axis=0, initial=0.1))
    with np.errstate(invalid="ignore"):  # infinite less infinite
        near = np.abs(found - expected) <= allowed
    return bool(np.all(near | (found == expected) | (np.isnan(found) & np.isnan(expected))))


def export(bundle: Bundle | str | Path, path: str | Path, *, user: Collection[str] = ()) -> Path:
    """Write the network of a bundle as an ONNX file for any number of rows; takes some seconds.

    With the input columns that a user brings, it is a network for requests. A network of more than
    1 GB has its weights in a second file, `<path>.data`.

    Raises:
        ConfigError: onnx or onnxscript is not installed.
        BundleError: the bundle is refused, or the network cannot be exported.
    """
    bundle = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
    path, user = path_like("path", path), user_features(bundle.encoder, names("user", user))
    facts = {"recmtl.bundle": bundle.fingerprint}
    return write_network(bundle.model, Path(path), facts, user=user)


def write_network(
    model: Model, path: Path, facts: dict[str, str], *, user: Collection[str] = ()
) -> Path:
    """Write a model as an ONNX file with `facts` among its properties; see `export`.

    With the names of the features that a user brings, it is a network for requests.
    """
    for name in ("onnx", "onnxscript"):
        _package(name)
    facts = facts | {"recmtl.columns": json.dumps(list(model.columns))}
    size = sum(4 * parameter.numel() for parameter in model.parameters())
    try:
        # Gates by example compute all rows only where a gradient might be asked for.
        with _quiet(), torch.enable_grad():
            program: Any = torch.onnx.export(
                _traced(model, user),
                dynamo=True,
                input_names=[*USER, *ROWS] if user else ROWS,
                output_names=[OUTPUT],
                verbose=False,
            )
            program.model.metadata_props.update(facts)
            program.save(str(path), external_data=size > LARGEST_IN_ONE_FILE)
    except OSError:
        raise
    except Exception as error:  # the exporter's errors share no class
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise BundleError(f"{path}: the network cannot be exported ({reason})") from error
    return path


def small_batch_network(bundle: Bundle, engine: str) -> OnnxNetwork | None:
    """What scores small batches in place of torch, or None where torch does.

    Args:
        bundle: a loaded bundle.
        engine: `torch`; `onnx`, exported now if the bundle was saved without it; or `auto`, ONNX
            where it is installed, in the bundle, and equal to float32 rounding.

    Raises:
        ConfigError: another engine, or `onnx` where it is not installed.
        BundleError: `onnx` where its scores differ from the network's.
    """
    return _network(bundle, engine, FILE, ())


def request_network(bundle: Bundle, engine: str, user: Collection[str]) -> OnnxNetwork | None:
    """What scores the candidates of a request, or None where that is `small_batch_network`.

    Args:
        bundle: a loaded bundle.
        engine: as in `small_batch_network`.
        user: names of the features that the user brings, some but not all.
    """
    return _network(bundle, engine, REQUEST_FILE, user)


def _network(bundle: Bundle, engine: str, file: Path, user: Collection[str]) -> OnnxNetwork | None:
    if not isinstance(engine, str) or engine not in ("torch", "onnx", "auto"):
        raise ConfigError(f"engine {told(engine)} is not one of torch, onnx, auto")
    is_there = (bundle.folder / file).is_file() and set(user) in (set(), set(bundle.user))
    if engine == "auto" and not (is_there and importlib.util.find_spec("onnxruntime")):
        return None
    if engine == "torch":
        return None
    _package("onnxruntime")
    with tempfile.TemporaryDirectory(prefix="recmtl-") as folder:
        path = bundle.folder / file
        if not is_there:
            columns = [bundle.encoder.schema.feature(name).column for name in user]
            path = export(bundle, Path(folder) / FILE.name, user=columns)
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


class _Scores(nn.Module):
    """A model's forward pass and its heads' scores in one."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, numeric: Tensor) -> Tensor:
        return self.model.heads.scores(self.model(ids, numeric))


def _traced(model: Model, user: Collection[str]) -> torch.export.ExportedProgram:
    whole = model.encoder.encoding
    rows = torch.export.Dim("rows", min=1)
    shapes: tuple[dict[int, Any], ...] = ({0: rows},) * 2
    example: tuple[Tensor, ...] = _example(whole.part(set(whole.fields) - set(user)), 3)
    network: nn.Module = _Scores(model)
    if user:
        network = RequestNetwork(model, user)
        example, shapes = (*_example(whole.part(user), 1), *example), ({}, {}, *shapes)
    program = torch.export.export(network.eval(), example, dynamic_shapes=shapes, strict=True)
    table = torch.export.default_decompositions()
    bags = [node.target for node in program.graph.nodes if "embedding_bag" in str(node.target)]
    for bag in bags:
        # ONNX has no such operator, and the exporter's own loop over rows does not load.
        table[bag] = _pooled
    pooled: torch.export.ExportedProgram = program.run_decompositions(table)
    return pooled


def _example(encoding: Encoding, rows: int) -> tuple[Tensor, Tensor]:
    ids = torch.zeros((rows, encoding.id_columns), dtype=torch.int32)
    return ids, torch.zeros((rows, len(encoding.numeric)))


def _pooled(
    weight: Tensor,
    indices: Tensor,
    offsets: Tensor,
    scale_grad_by_freq: bool = False,
    mode: int = 0,
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int = -1,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`embedding_bag` in sum mode over bags of equal length, as the encoder calls it.

    Padding reads row 0 of the table, which is never trained and stays zero.
    """
    vectors = nn.functional.embedding(indices.view(offsets.shape[0], -1), weight)
    nothing = weight.new_zeros(0)
    return vectors.sum(1), nothing, nothing, nothing


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
    numeric = dice.normal(0.0, 2.0, (rows, len(encoder.encoding.numeric))).astype(np.float32)
    numeric[dice.random(numeric.shape) < 0.2] = np.nan
    return ids, numeric


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ConfigError(f"{name} is not installed: pip install 'recmtl[onnx]'") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of torchvision, and of what it does not fold."""
    loggers = [logging.getLogger(name) for name in NOISY]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

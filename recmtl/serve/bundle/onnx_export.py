"""Writes a network as ONNX: encoded rows in, scored columns out, without torch.

    ids      int32   [rows, I]   as `RowEncoder.encode` gives them; unknown ids have their own rows
    numeric  float32 [rows, N]   NaN where missing; where the network hears trees, their numbers
                                 come last, as `Bundle.network_input` adds them
    scores   float32 [rows, C]   the network's scored columns, before calibration

A network for requests (see `recmtl.serve.bundle.request_network`) takes the user's one row first:
`user_ids`, `user_numeric`, then `ids` and `numeric` of the candidates without the user's columns.
`recmtl.serve.scoring.onnx` runs what is written here.
"""

import importlib
import importlib.util
import json
import logging
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recmtl.data.encoding import Encoding
from recmtl.errors import BundleError, ConfigError, first_line
from recmtl.model import BlendedModel, TabularModel
from recmtl.serve.arguments import as_column_list, as_path
from recmtl.serve.bundle.bundle import Bundle, load_bundle, user_features
from recmtl.serve.bundle.request_network import RequestNetwork
from recmtl.serve.faults import write_faults

__all__ = [
    "COLUMNS_KEY",
    "NETWORK_FILE",
    "OUTPUT",
    "REQUEST_NETWORK_FILE",
    "export",
    "missing_package",
    "optional_package",
    "write_network",
]

NETWORK_FILE = Path("model") / "network.onnx"
REQUEST_NETWORK_FILE = Path("model") / "request.onnx"
USER_INPUTS, ROW_INPUTS, OUTPUT = ("user_ids", "user_numeric"), ("ids", "numeric"), "scores"
COLUMNS_KEY = "recmtl.columns"
"""The property of a file that holds the names of its scored columns, as JSON."""
PACKAGES = ("onnx", "onnxscript")
LARGEST_IN_ONE_FILE = 1 << 30
NOISY_LOGGERS = ("torch.onnx", "onnxscript", "onnx_ir")


def export(bundle: Bundle | str | Path, path: str | Path, *, user: Collection[str] = ()) -> Path:
    """Write the network of a bundle as an ONNX file for any number of rows; takes some seconds.

    A network of more than 1 GB has its weights in a second file, `<path>.data`.

    Args:
        bundle: a loaded bundle, or where it is.
        path: the file to write.
        user: input columns that a request gives once; with them it is a network for requests.

    Raises:
        ConfigError: onnx or onnxscript is not installed, or a blend is to be split by `user`.
        BundleError: the bundle is refused, or the network cannot be exported.
    """
    bundle = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
    path = Path(as_path("path", path))
    features = user_features(bundle.encoder, as_column_list("user", user))
    return write_network(bundle.model, path, {"recmtl.bundle": bundle.fingerprint}, user=features)


def write_network(
    model: TabularModel, path: Path, facts: dict[str, str], *, user: Collection[str] = ()
) -> Path:
    """Write a model as an ONNX file with `facts` among its properties; see `export`.

    Args:
        model: in evaluation mode.
        path: the file to write.
        facts: further properties of the file.
        user: names of the features that a user brings; with them it is a network for requests.
    """
    if user and isinstance(model, BlendedModel):
        raise ConfigError("a blend has no network for requests; export it without `user`")
    for name in PACKAGES:
        optional_package(name)
    if path.is_dir() or not path.parent.is_dir():
        raise BundleError(f"{path}: is no place for a file; give a new file in a folder")
    facts = facts | {COLUMNS_KEY: json.dumps(list(model.columns))}
    with write_faults(path, kind=BundleError):
        _write_program(path, model, user, facts=facts)
    return path


def _write_program(
    path: Path, model: TabularModel, user: Collection[str], *, facts: dict[str, str]
) -> None:
    size = sum(4 * parameter.numel() for parameter in model.parameters())
    try:
        # Instance gates compute all rows only where a gradient might be asked for.
        with _quiet(), torch.enable_grad():
            program: Any = torch.onnx.export(
                _exported_program(model, user),
                dynamo=True,
                input_names=[*USER_INPUTS, *ROW_INPUTS] if user else ROW_INPUTS,
                output_names=[OUTPUT],
                verbose=False,
            )
            program.model.metadata_props.update(facts)
            program.save(str(path), external_data=size > LARGEST_IN_ONE_FILE)
    except OSError:
        raise
    except Exception as error:  # the exporter's errors have no common class
        reason = first_line(error)[:200]
        raise BundleError(f"{path}: the network cannot be exported ({reason})") from error


def missing_package() -> str | None:
    """The first package that an export needs and that is not installed."""
    return next((name for name in PACKAGES if importlib.util.find_spec(name) is None), None)


def optional_package(name: str) -> Any:
    """Import a package of the extra `onnx`, or raise a ConfigError that says how to install it.

    Imported by name and late: a process that scores with torch does without it.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ConfigError(f"{name} is not installed: pip install 'recmtl[onnx]'") from None


class _ScoringPass(nn.Module):
    """A model's forward pass and its heads' scores in one."""

    def __init__(self, model: TabularModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, numeric: Tensor) -> Tensor:
        return self.model.heads.scores(self.model(ids, numeric))


def _exported_program(model: TabularModel, user: Collection[str]) -> torch.export.ExportedProgram:
    encoding = model.encoder.encoding
    rows = torch.export.Dim("rows", min=1)
    shapes: tuple[dict[int, Any], ...] = ({0: rows},) * 2
    candidates = encoding.part(set(encoding.fields) - set(user))
    example: tuple[Tensor, ...] = _example_rows(candidates, 3)
    if not user:
        example = example[0], torch.zeros((3, model.numbers))
    network: nn.Module = _ScoringPass(model)
    if user:
        network = RequestNetwork(model, user)
        example = (*_example_rows(encoding.part(user), 1), *example)
        shapes = ({}, {}, *shapes)
    program = torch.export.export(network.eval(), example, dynamic_shapes=shapes, strict=True)
    table = torch.export.default_decompositions()
    bags = [node.target for node in program.graph.nodes if "embedding_bag" in str(node.target)]
    for bag in bags:
        # ONNX has no such operator, and the exporter's own loop over rows does not load.
        table[bag] = _sum_of_embeddings
    decomposed: torch.export.ExportedProgram = program.run_decompositions(table)
    return decomposed


def _example_rows(encoding: Encoding, rows: int) -> tuple[Tensor, Tensor]:
    ids = torch.zeros((rows, encoding.id_columns), dtype=torch.int32)
    return ids, torch.zeros((rows, encoding.numeric_columns))


def _sum_of_embeddings(
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


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter, which warns of a missing torchvision and of constants left unfolded."""
    loggers = [logging.getLogger(name) for name in NOISY_LOGGERS]
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

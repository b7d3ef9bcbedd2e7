"""Forward passes of one fixed shape, so that a row's scores depend on that row alone, bit for bit.

The order in which a matrix product sums depends on the shape of the whole product, vectorised
functions treat the last few elements apart, and both split work by the number of threads. So every
pass here has the same number of rows (the last one is padded) and runs on one thread. The cores are
used by scoring several chunks at the same time.

A network's pass may be traced first: Python takes as long from one operation to the next as a small
network's operations themselves, and threads that score at the same time wait for one another there.
"""

import gc
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from recmtl.grid import SharingGrid
from recmtl.model import TabularModel
from recmtl.serve.arguments import as_whole_number

__all__ = ["CHUNK_ROWS", "FixedShapeModel", "Predictor", "TracedNetwork", "trace_network"]

CHUNK_ROWS = 512
MOST_ROWS, MOST_THREADS = 1 << 20, 1024
MOST_TRACED_ROWS = 8192
"""In a longer pass Python's share of the time is too small to be worth a trace."""
ONE_AT_A_TIME = threading.Lock()
"""torch's tracer has one map of modules for all threads."""


NetworkInput: TypeAlias = Callable[
    [npt.NDArray[np.int32], npt.NDArray[np.float32]],
    tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]],
]
"""Encoded ids `[R, I]` and numbers `[R, N]` to those that a network reads, of the same rows."""


class Predictor(Protocol):
    """What scores encoded rows: a model, its trace, or ONNX Runtime."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the scored columns, in order."""

    def predict(self, ids: Tensor, numeric: Tensor) -> Tensor:
        """Map ids `[B, I]` and numeric columns `[B, N]` to scores `[B, C]`, float32."""


class FixedShapeModel:
    """Score rows in chunks of one shape on a pool of single-threaded workers; thread-safe.

    Args:
        model: what is scored.
        chunk_rows: rows of every forward pass. Small chunks answer small requests sooner, large
            ones spend less on calls; two models agree bit for bit only with the same number.
        threads: chunks scored at the same time; by default as many as torch has threads.
        record: whether a model's pass is traced first, see `trace_network`.
        network_input: what the model reads of a chunk's rows; by default the rows themselves. It
            is called by several threads at the same time.

    Raises:
        ConfigError: rows or threads are not at least 1, or absurdly many.
    """

    def __init__(
        self,
        model: Predictor,
        *,
        chunk_rows: int = CHUNK_ROWS,
        threads: int | None = None,
        record: bool = False,
        network_input: NetworkInput | None = None,
    ) -> None:
        threads = torch.get_num_threads() if threads is None else threads
        self.chunk_rows = as_whole_number("chunk_rows", chunk_rows, least=1, most=MOST_ROWS)
        self.threads = as_whole_number("threads", threads, least=1, most=MOST_THREADS)
        self.model = model
        if record and isinstance(model, TabularModel):
            self.model = trace_network(model, self.chunk_rows)
        self._network_input = network_input or _as_they_are
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._process = -1

    def scores(
        self, ids: npt.NDArray[np.int32], numeric: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """Map ids `[R, I]` and numeric `[R, N]` to scores `[R, C]`."""
        rows, (example_ids, example_numeric) = len(ids), self._network_input(ids[:0], numeric[:0])
        widths = example_ids.shape[1], example_numeric.shape[1]
        out = np.empty((rows, len(self.model.columns)), dtype=np.float32)
        firsts = range(0, rows, self.chunk_rows)
        chunks = iter(firsts)

        def score(_: int) -> None:
            chunk_ids = torch.empty((self.chunk_rows, widths[0]), dtype=torch.int32)
            chunk_numeric = torch.empty((self.chunk_rows, widths[1]))
            for first in chunks:
                last = min(first + self.chunk_rows, rows)
                of_chunk = self._network_input(ids[first:last], numeric[first:last])
                _fill(chunk_ids, of_chunk[0], 0)
                _fill(chunk_numeric, of_chunk[1], np.nan)
                scores = self.model.predict(chunk_ids, chunk_numeric).numpy()
                out[first:last] = scores[: last - first]

        # Each worker takes the next chunk itself: handing chunks out one by one costs more than a
        # small network's product.
        for _ in self._workers().map(score, range(min(self.threads, len(firsts)))):
            pass
        return out

    def _workers(self) -> ThreadPoolExecutor:
        # A forked process inherits the pool but not its threads, hence the process id.
        with self._lock:
            if self._pool is None or self._process != os.getpid():
                self._pool, self._process = _single_threaded_pool(self.threads), os.getpid()
            return self._pool


def _as_they_are(
    ids: npt.NDArray[np.int32], numeric: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    return ids, numeric


def _fill(tensor: Tensor, rows: npt.NDArray[Any], padding: float) -> None:
    """Copy rows into a tensor that torch has allocated, and pad the rest.

    The kernels' choice may depend on the memory's alignment, so every chunk uses the same tensor.
    NumPy copies: with each operation of torch a thread lets another one go first.
    """
    values = tensor.numpy()
    values[: len(rows)], values[len(rows) :] = rows, padding


def _single_threaded_pool(threads: int) -> ThreadPoolExecutor:
    """Start workers in which torch uses one thread each; the caller's number stays as it was."""
    before = torch.get_num_threads()
    ready = threading.Barrier(threads + 1)
    pool = ThreadPoolExecutor(threads, "recmtl-score", _use_one_thread)
    for _ in range(threads):
        pool.submit(ready.wait)
    ready.wait()
    torch.set_num_threads(before)
    return pool


def _use_one_thread() -> None:
    # torch gives a new thread the process's number when that thread first asks for it, which would
    # undo a number that was set before.
    torch.get_num_threads()
    torch.set_num_threads(1)


def trace_network(model: TabularModel, rows: int) -> "TabularModel | TracedNetwork":
    """What scores batches of exactly `rows` rows with the bits of the model, in less time.

    The model itself is returned where there is nothing to gain or nothing that can be traced: long
    passes, instance gates (the rows decide what is computed), and a torch without a tracer. torch
    calls `torch.jit.trace` deprecated but has no other tracer that needs no compiler. It keeps
    three megabytes of every trace until the process ends; the weights, which the trace shares, are
    freed with it.
    """
    grids = [module for module in model.modules() if isinstance(module, SharingGrid)]
    has_instance_gates = any(layer.rate < 1.0 for g in grids for layer in g.layout.layers)
    if rows > MOST_TRACED_ROWS or has_instance_gates or model.training:
        return model
    example = _random_rows(model, rows)
    try:
        with ONE_AT_A_TIME:
            network = TracedNetwork(model, example)
        same_bits = torch.equal(network.predict(*example), model.predict(*example))
    except (AttributeError, RuntimeError):
        return model
    return network if same_bits else model


class TracedNetwork:
    """A model's forward pass as one traced call; safe to call from several threads.

    Args:
        model: in evaluation mode; shares its weights.
        example: ids `[B, I]` and numbers `[B, N]` of any batch of the size that will be scored.
    """

    def __init__(self, model: TabularModel, example: tuple[Tensor, Tensor]) -> None:
        self.columns = model.columns
        with warnings.catch_warnings(), torch.inference_mode(), _no_garbage():
            # The tracer warns of Python values that it holds constant; they are, in every pass.
            warnings.simplefilter("ignore")
            call = torch.jit.trace(_Pass(model), example, check_trace=False)  # type: ignore[no-untyped-call]
        # The method alone keeps the weights alive, not the module around them.
        self._call: Callable[..., Tensor] = call.forward

    def predict(self, ids: Tensor, numeric: Tensor) -> Tensor:
        """As `TabularModel.predict`."""
        # torch's graph optimiser costs more, once, than it saves.
        with torch.inference_mode(), torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            return self._call(ids, numeric)


class _Pass(torch.nn.Module):
    def __init__(self, model: TabularModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, numeric: Tensor) -> Tensor:
        return self.model.predict(ids, numeric)


def _random_rows(model: TabularModel, rows: int) -> tuple[Tensor, Tensor]:
    dice = torch.Generator().manual_seed(0)
    ids = model.encoder.random_ids(rows, dice)
    numeric = torch.randn(rows, model.numbers, generator=dice)
    return ids, numeric.masked_fill(numeric > 1.0, torch.nan)


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Collect the reference cycles made in this block; the tracer's holds on to all modules."""
    enabled = gc.isenabled()
    gc.disable()  # so that the cycles stay in the youngest generation until the block ends
    try:
        yield
    finally:
        gc.collect(0)
        if enabled:
            gc.enable()

"""A network's forward pass as one recorded call: Python has no part in it while it runs.

Python takes as long from one operation to the next as a small network's operations themselves, and
threads that score at the same time wait for one another there.

Forward passes of one fixed shape, so that a row's score depends on that row alone, bit for bit.

Matrix products choose their kernels, and with them the order of their sums, by the shape of the
whole product; vectorised functions treat the last few elements apart; and both split work by the
number of threads. So every pass here has the same number of rows (the last one is padded) and
runs on one thread. The cores are used by scoring several chunks at the same time.
"""

import gc
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from recmtl.model import Model
from recmtl.serve.arguments import whole

__all__ = ["CHUNK_ROWS", "FixedShapeModel", "Predictor", "Recorded", "recorded"]

MOST_TRACED_ROWS = 8192
"""In a longer pass Python's share is too small to be worth recording."""
ONE_AT_A_TIME = threading.Lock()
"""torch's recorder has one map of modules for all threads."""


def recorded(model: Model, rows: int) -> "Model | Recorded":
    """What scores batches of exactly `rows` rows with the same bits as the model, in less time.

    The model itself where there is nothing to gain or nothing that can be recorded: long passes,
    instance gates, whose rows decide what is computed, and a torch that records no longer. It
    calls its recorder deprecated, and has no other that needs no compiler. Of every recording it
    keeps three megabytes until the process ends; the weights, which it shares, are freed.
    """
    chosen_by_row = any(layer.rate < 1.0 for layer in model.grid.layout.layers)
    if rows > MOST_TRACED_ROWS or chosen_by_row or model.training:
        return model
    given = _random_rows(model, rows)
    try:
        with ONE_AT_A_TIME:
            found = Recorded(model, given)
        same = torch.equal(found.predict(*given), model.predict(*given))
    except (AttributeError, RuntimeError):
        return model
    return found if same else model


class Recorded:
    """A model's recorded pass over batches as long as the given one; for several threads."""

    def __init__(self, model: Model, given: tuple[Tensor, Tensor]) -> None:
        self.columns = model.columns
        with warnings.catch_warnings(), torch.inference_mode(), _no_garbage():
            warnings.simplefilter("ignore")  # of what has the same value in all passes
            call = torch.jit.trace(_Pass(model), given, check_trace=False)  # type: ignore[no-untyped-call]
        self._call: Callable[..., Tensor] = call.forward  # which alone holds on to the weights

    def predict(self, ids: Tensor, numeric: Tensor) -> Tensor:
        """As `Model.predict`."""
        # What its optimiser takes, once, is more than it gains.
        with torch.inference_mode(), torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            return self._call(ids, numeric)


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Break the cycles that are made here: the recorder leaves one that holds on to all modules."""
    enabled = gc.isenabled()
    gc.disable()  # or they would grow old before they can be told from what lives
    try:
        yield
    finally:
        gc.collect(0)
        if enabled:
            gc.enable()


class _Pass(torch.nn.Module):
    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, numeric: Tensor) -> Tensor:
        return self.model.predict(ids, numeric)


def _random_rows(model: Model, rows: int) -> tuple[Tensor, Tensor]:
    encoding, dice = model.encoder.encoding, torch.Generator().manual_seed(0)
    shape = rows, encoding.id_columns
    ids = torch.randint(encoding.table_rows, shape, dtype=torch.int32, generator=dice)
    numeric = torch.randn(rows, len(encoding.numeric), generator=dice)
    return ids, numeric.masked_fill(numeric > 1.0, torch.nan)


CHUNK_ROWS = 512
MOST_ROWS, MOST_THREADS = 1 << 20, 1024


class Predictor(Protocol):
    """What is scored: encoded rows in, one column a score out."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the scored columns, in order."""

    def predict(self, ids: torch.Tensor, numeric: torch.Tensor) -> torch.Tensor:
        """Map ids `[B, I]` and numeric columns `[B, N]` to scores `[B, C]`, float32."""


class FixedShapeModel:
    """Score rows in chunks of one shape on a pool of single-threaded workers; thread-safe.

    Args:
        model: what is scored.
        chunk_rows: rows of every forward pass. Small chunks answer small requests sooner, large
            ones spend less on calls; two models agree bit for bit only with the same number.
        threads: chunks scored at the same time; torch's own number of threads by default.
        record: whether a network's pass is recorded, see `recmtl.serve.scoring.fixed_shape`.

    Raises:
        ConfigError: not at least one row and one thread, or absurdly many.
    """

    def __init__(
        self,
        model: Predictor,
        *,
        chunk_rows: int = CHUNK_ROWS,
        threads: int | None = None,
        record: bool = False,
    ) -> None:
        threads = torch.get_num_threads() if threads is None else threads
        self.chunk_rows = whole("chunk_rows", chunk_rows, least=1, most=MOST_ROWS)
        self.threads = whole("threads", threads, least=1, most=MOST_THREADS)
        self.model = model
        if record and isinstance(model, Model):
            self.model = recorded(model, self.chunk_rows)
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._process = -1

    def scores(
        self, ids: npt.NDArray[np.int32], numeric: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """Map ids `[R, I]` and numeric `[R, N]` to scores `[R, C]`."""
        rows = len(ids)
        out = np.empty((rows, len(self.model.columns)), dtype=np.float32)

        firsts = range(0, rows, self.chunk_rows)
        chunks = iter(firsts)

        def score(_: int) -> None:
            held = torch.empty((self.chunk_rows, ids.shape[1]), dtype=torch.int32)
            numbers = torch.empty((self.chunk_rows, numeric.shape[1]))
            for first in chunks:
                last = min(first + self.chunk_rows, rows)
                _fill(held, ids[first:last], 0)
                _fill(numbers, numeric[first:last], np.nan)
                out[first:last] = self.model.predict(held, numbers).numpy()[: last - first]

        # Each worker takes the next chunk itself: handing chunks out one by one costs more than a
        # small network's product.
        for _ in self._workers().map(score, range(min(self.threads, len(firsts)))):
            pass
        return out

    def _workers(self) -> ThreadPoolExecutor:
        # A forked process inherits the pool without its threads, hence the process id.
        with self._lock:
            if self._pool is None or self._process != os.getpid():
                self._pool, self._process = _single_threaded_pool(self.threads), os.getpid()
            return self._pool


def _fill(tensor: torch.Tensor, rows: npt.NDArray[Any], padding: float) -> None:
    """Copy rows to where torch put a tensor: the kernels' choice may depend on that, too.

    By NumPy, and to the same place for every chunk: with each operation of torch a thread lets
    another one go first.
    """
    held = tensor.numpy()
    held[: len(rows)], held[len(rows) :] = rows, padding


def _single_threaded_pool(threads: int) -> ThreadPoolExecutor:
    """Start `threads` workers in which torch uses one thread; the caller's number stays."""
    before = torch.get_num_threads()
    ready = threading.Barrier(threads + 1)
    pool = ThreadPoolExecutor(threads, "recmtl-score", lambda: torch.set_num_threads(1))
    for _ in range(threads):
        pool.submit(ready.wait)
    ready.wait()
    torch.set_num_threads(before)
    return pool

"""A network's forward pass as one recorded call: Python has no part in it while it runs.

Python takes as long from one operation to the next as a small network's operations themselves, and
threads that score at the same time wait for one another there.
"""

import gc
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from recmtl.model import Model

__all__ = ["Recorded", "recorded"]

MOST_ROWS = 8192
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
    if rows > MOST_ROWS or chosen_by_row or model.training:
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

"""A network's forward pass as one recorded call: Python has no part in it while it runs.

Python takes as long from one operation to the next as a small network's operations themselves, and
threads that score at the same time wait for one another there.
"""

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from recmtl.model import Model

__all__ = ["Recorded", "recorded"]

MOST_ROWS = 8192
"""In a longer pass Python's share is too small to be worth recording."""
PASSES = 3
"""A recorded call is optimised in its first two."""


def recorded(model: Model, rows: int) -> "Model | Recorded":
    """What scores batches of exactly `rows` rows with the same bits as the model, in less time.

    The model itself where there is nothing to gain or nothing that can be recorded: long passes,
    instance gates, whose rows decide what is computed, and a torch that records no longer. It
    calls its recorder deprecated, and has no other that needs no compiler. Of every recording it
    keeps three megabytes until the process ends, however large the weights, which it shares.
    """
    chosen_by_row = any(layer.rate < 1.0 for layer in model.grid.layout.layers)
    if rows > MOST_ROWS or chosen_by_row or model.training:
        return model
    given = _random_rows(model, rows)
    expected = model.predict(*given)
    try:
        found = Recorded(model, given)
        same = all(torch.equal(found.predict(*given), expected) for _ in range(PASSES))
    except (AttributeError, RuntimeError):
        return model
    return found if same else model


class Recorded:
    """A model's recorded pass over batches as long as the given one; for several threads."""

    def __init__(self, model: Model, given: tuple[Tensor, Tensor]) -> None:
        self.columns = model.columns
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")  # of what has the same value in all passes
            call = torch.jit.trace(_Pass(model), given, check_trace=False)  # type: ignore[no-untyped-call]
        self._call: Callable[..., Tensor] = call

    def predict(self, ids: Tensor, numeric: Tensor) -> Tensor:
        """As `Model.predict`."""
        with torch.inference_mode():
            return self._call(ids, numeric)


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

"""A moving average of a network's weights, at the cost of the rows that a step moves."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

__all__ = ["AveragedWeights"]


class AveragedWeights:
    """The exponential moving average of all weights over the steps, corrected for its start at 0.

    After n steps with the weights w_1 .. w_n it is `(1 - d) sum_i d^(n - i) w_i / (1 - d^n)`, as
    the moments of Adam (Kingma and Ba, ICLR 2015, section 3). A table row that k steps have left
    alone is brought up to date by the sum of k equal terms when it moves or is read: a step costs
    the rows of its batch, and the result is exactly the average over every step. Buffers, such as
    the statistics of batch normalisation, are not averaged.

    Args:
        dense: weights that every step may move.
        tables: weights `[rows, D]` with sparse gradients.
        decay: d; about the last 1 / (1 - d) steps are averaged over.
    """

    def __init__(self, dense: Sequence[Tensor], tables: Sequence[Tensor], *, decay: float) -> None:
        self.dense, self.tables, self.decay, self.steps = list(dense), list(tables), decay, 0
        self.sums = [torch.zeros_like(p.detach()) for p in (*self.dense, *self.tables)]
        self.moved = [torch.zeros(len(t), dtype=torch.int64, device=t.device) for t in self.tables]

    @torch.no_grad()
    def before_step(self) -> list[Tensor | None]:
        """Bring the table rows up to date that the present gradients will move; their numbers."""
        rows = [None if t.grad is None else t.grad._indices()[0] for t in self.tables]
        for number, moving in enumerate(rows):
            if moving is not None:
                self._catch_up(number, moving)
        return rows

    @torch.no_grad()
    def after_step(self, rows: Sequence[Tensor | None]) -> None:
        """Add the weights after a step; `rows` are those of `before_step`."""
        self.steps += 1
        torch._foreach_lerp_(self.sums[: len(self.dense)], self.dense, 1.0 - self.decay)
        for number, moving in enumerate(rows):
            if moving is not None:
                self._catch_up(number, moving)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The network has the averaged weights inside, and its own again afterwards."""
        if self.steps == 0:
            yield
            return
        parameters = (*self.dense, *self.tables)
        with torch.no_grad():
            before = [parameter.detach().clone() for parameter in parameters]
            for number, table in enumerate(self.tables):
                self._catch_up(number, torch.arange(len(table), device=table.device))
            share = 1.0 - self.decay**self.steps
            for parameter, total in zip(parameters, self.sums, strict=True):
                parameter.copy_(total / share)
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, weights in zip(parameters, before, strict=True):
                    parameter.copy_(weights)

    def _catch_up(self, number: int, rows: Tensor) -> None:
        """Add the present weights of a table's rows once for each step that they miss."""
        table, moved = self.tables[number], self.moved[number]
        sums = self.sums[len(self.dense) + number]
        kept = self.decay ** (self.steps - moved[rows]).to(table.dtype)
        now = torch.lerp(table.detach()[rows], sums[rows], kept.unsqueeze(1))
        # A row that stands several times gets equal values each time.
        sums.index_copy_(0, rows, now)
        moved.index_fill_(0, rows, self.steps)

    def state_dict(self) -> dict[str, Any]:
        """The sums, the step that each table row is up to date with, and the number of steps."""
        return {"sums": self.sums, "moved": self.moved, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from `state_dict` data."""
        self.sums, self.moved, self.steps = state["sums"], state["moved"], state["steps"]

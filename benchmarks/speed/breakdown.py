"""Where a step of recmtl's training goes, and a floor: the bare cost of its products and rows."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from benchmarks.processes import processor
from benchmarks.speed.ours import SETTINGS, network, split_of
from benchmarks.speed.shape import BATCH, FOLDER, multiply_adds
from benchmarks.speed.simulated_log import make
from recmtl.data.batches import TableBatch
from recmtl.memory import keep_freed_memory
from recmtl.model import TabularModel
from recmtl.train.optimizer import Optimizer, sum_by_row

WARM_UP, STEPS, QUICK_STEPS = 30, 100, 5
PEAK_SIZE = 1024


class Watch:
    """A stopwatch: milliseconds of each part, step by step."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Time the block."""
        began = time.perf_counter()
        yield
        self.times.setdefault(name, []).append((time.perf_counter() - began) * 1e3)

    def medians(self) -> dict[str, float]:
        """Medians over the steps after the warm-up."""
        return {name: statistics.median(times[WARM_UP:]) for name, times in self.times.items()}


def measure(*, quick: bool, name: str = "large") -> dict[str, Any]:
    """Medians of each part on one thread, and the floor in the same process."""
    torch.set_num_threads(1)
    keep_freed_memory()
    split = split_of(make(FOLDER, name))
    model = network(FOLDER / name, split.labels)
    optimizer = Optimizer(model, SETTINGS, total_steps=1)
    distinct: list[torch.Tensor] = []
    steps, stopwatch = WARM_UP + (QUICK_STEPS if quick else STEPS), Watch()
    feed = split.batches(batch_size=BATCH, seed=0, rows=np.arange(steps * BATCH))
    model.train()
    for _ in range(steps):
        with stopwatch.part("feed"):
            batch = next(feed)
        _step(model, optimizer, batch, stopwatch)
        distinct.append(sum_by_row(model.encoder.table.weight.grad)[0])
        # Rows of an earlier step, since those of this one are still in the caches.
        _bare_rows(optimizer, batch.ids, distinct[len(distinct) // 2], stopwatch)
    parts, peak = stopwatch.medians(), _peak()
    parts["feed"] = statistics.mean(stopwatch.times["feed"])
    floor = {"products": 3 * 2 * multiply_adds() * BATCH / peak * 1e3}
    floor |= {name: parts.pop(name) for name in ("gather", "update")}
    return {
        "processor": processor(),
        "peak_gflops": peak / 1e9,
        "distinct_rows": statistics.median(map(len, distinct)),
        "parts_ms": parts,
        "floor_ms": floor,
    }


def _step(model: TabularModel, optimizer: Optimizer, batch: TableBatch, stopwatch: Watch) -> None:
    """The parts of `take_step`, each timed."""
    assert optimizer.sparse is not None
    with stopwatch.part("lookup"):
        lanes = model.encoder(*batch.inputs)
    with stopwatch.part("experts and gates"):
        lanes = model.grid(lanes)
    with stopwatch.part("heads and losses"):
        losses = model.heads.losses(model.heads(lanes), batch.labels, batch.weight).sum()
    with stopwatch.part("backward"):
        optimizer.sparse.zero_grad(set_to_none=True)
        optimizer.dense.zero_grad(set_to_none=True)
        torch.autograd.backward(losses)
    with stopwatch.part("optimiser of the table"):
        optimizer.sparse.step()
    with stopwatch.part("optimiser of the rest"):
        optimizer.dense.step()


@torch.no_grad()
def _bare_rows(
    optimizer: Optimizer, ids: torch.Tensor, rows: torch.Tensor, stopwatch: Watch
) -> None:
    """The least work on rows: look all up; read and write the distinct ones of three arrays."""
    assert optimizer.sparse is not None
    ((table, state),) = optimizer.sparse.state.items()
    with stopwatch.part("gather"):
        table.index_select(0, ids.flatten())
    with stopwatch.part("update"):
        for array in (table, state["exp_avg"], state["exp_avg_sq"]):
            array.index_copy_(0, rows, array.index_select(0, rows))


def _peak() -> float:
    """Floating-point operations a second of a large product, the best of 30."""
    a, b = (torch.randn(PEAK_SIZE, PEAK_SIZE) for _ in range(2))
    return 2 * PEAK_SIZE**3 / _least(lambda: a @ b, 30)


def _least(call: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times)

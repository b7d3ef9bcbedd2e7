"""Several ranks for tests: processes that do a function together and keep what it returns."""

from collections.abc import Callable
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from recmtl.ranks import ALONE, Ranks, together

PATIENCE = timedelta(seconds=900)


def on_ranks(count: int, folder: Path, work: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `work(*arguments)` returns on each of `count` ranks.

    Args:
        count: of processes.
        folder: an empty folder in which they meet.
        work: a function of a module, as every process imports it.
        arguments: of the function.
    """
    context = get_context("spawn")
    processes = [
        context.Process(target=_serve, args=(number, count, folder, work, arguments))
        for number in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE.total_seconds())
    assert [process.exitcode for process in processes] == [0] * count
    return [torch.load(folder / f"{number}.pt", weights_only=False) for number in range(count)]


def of_first(count: int) -> Ranks:
    """The first `count` of the ranks of `on_ranks`; alone, if it is one."""
    if count == 1:
        return ALONE
    group = distributed.new_group(list(range(count)))
    return Ranks(group) if distributed.get_rank() < count else ALONE


def _serve(
    number: int, count: int, folder: Path, work: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder / 'meet'}",
        rank=number,
        world_size=count,
        timeout=PATIENCE,
    )
    with together(Ranks(distributed.group.WORLD)):
        result = work(*arguments)
        distributed.barrier()
    torch.save(result, folder / f"{number}.pt")
    distributed.destroy_process_group()

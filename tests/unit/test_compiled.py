"""Loops are compiled where they run, kept if they can be, and not loaded by who only scores."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recmtl import compiled as module
from recmtl.compiled import compiled

SCORES = """
import sys, recmtl, recmtl.train.tabular_problem, recmtl.train.optimizer
from recmtl.serve import Ranker, Scorer
print('numba' in sys.modules)
"""
TRAINS = """
import numpy, recmtl.train.row_kernels as of
single = numpy.float32
rows, many, numbers = numpy.zeros(1, int), numpy.zeros((1, 2), single), numpy.ones(5, single)
room = numpy.full(1, -1, numpy.int32)
of.move_rows(rows, many, rows.copy(), many.copy(), room, *(many.copy() for _ in '123'), numbers)
print(sum(of.move_rows.stats.cache_hits.values()))
"""


def added(numbers: np.ndarray) -> float:
    total = 0.0
    for number in numbers:
        total += number
    return total


def output(code: str, **environment: str) -> str:
    command = [sys.executable, "-c", code]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return run.stdout.strip()


def test_who_scores_does_not_load_the_compiler() -> None:
    assert output(SCORES) == "False"


def test_a_loop_is_kept_for_the_next_process(tmp_path: Path) -> None:
    told = [output(TRAINS, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2)]
    assert told == ["0", "1"]


def test_without_a_folder_every_process_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = module.njit, list[bool]()

    def nowhere(*, cache: bool, **how: object) -> object:
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return real(**how)

    monkeypatch.setattr(module, "njit", nowhere)
    assert compiled(added)(np.arange(4.0)) == 6.0
    assert asked == [True, False]

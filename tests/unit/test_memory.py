"""What tensors gave back is there for the next ones: no page of it is mapped anew."""

import platform
import subprocess
import sys

import pytest

STEPS = """
import resource, sys, torch
from recmtl.memory import keep_freed_memory

def step():
    blocks = [torch.empty(1 << 20).fill_(1.0) for _ in range(3)]
    return sum(block[0] for block in blocks)

torch.set_num_threads(1)
if sys.argv[1] == "kept":
    keep_freed_memory()
step(), step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 10)
"""
PAGES = 3 * 1024


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no mallopt")
def test_a_step_finds_the_memory_of_the_one_before() -> None:
    faults = {
        how: int(subprocess.check_output([sys.executable, "-c", STEPS, how], text=True))
        for how in ("kept", "returned")
    }
    if faults["returned"] < PAGES / 4:
        pytest.skip("the pages of this system are too large to count")
    # Not none: a system that is short of memory takes pages away from anybody.
    assert faults["kept"] < faults["returned"] / 2


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    from recmtl import memory

    monkeypatch.setattr(memory.sys, "platform", "darwin")
    asked: list[object] = []
    monkeypatch.setattr(memory.ctypes, "CDLL", asked.append)
    memory.keep_freed_memory()
    assert asked == []

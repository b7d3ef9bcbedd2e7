"""A process that is started does not run the script that has started it."""

import subprocess
import sys
from pathlib import Path

from recmtl.engines.child_process import without_main_module

SCRIPT = """
import os
from multiprocessing import get_context
from recmtl.engines.child_process import without_main_module

print("script", flush=True)
process = get_context("spawn").Process(target=os.write, args=(1, b"worker\\n"))
with without_main_module():
    process.start()
process.join()
print("ended", process.exitcode)
"""


def test_a_script_without_a_main_guard_is_run_once(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines() == ["script", "worker", "ended 0"], done.stderr


def test_the_main_module_is_put_back_whatever_happens() -> None:
    main = sys.modules["__main__"]
    try:
        with without_main_module():
            assert sys.modules["__main__"] is not main
            raise ValueError
    except ValueError:
        pass
    assert sys.modules["__main__"] is main

"""Ctrl-C and SIGTERM end a script within two seconds: one line, its status, and no process left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recmtl import interrupts
from recmtl.interrupts import is_interrupted, without_signals

START = """
import os, signal, sys, time, multiprocessing
from contextlib import suppress
from pathlib import Path
from recmtl.interrupts import advise, answer_signals, at_forced_end, leave, without_signals
answer_signals()
advise("go on with --out x")
trace = Path(sys.argv[1])
def ready():
    print("ready", flush=True)
"""
FINALLY = (
    START + 'try:\n    ready()\n    time.sleep(30)\nfinally:\n    trace.write_text("closed")\n'
)
SWALLOWED = """
with at_forced_end(lambda: trace.write_text("forced")):
    while True:
        with suppress(BaseException):
            ready()  # within, so that the signal cannot come before errors are swallowed
            time.sleep(30)
"""
IN_A_CALLBACK = """
class Slow:
    def __del__(self):
        ready()
        time.sleep(30)
with at_forced_end(lambda: trace.write_text("forced")):
    slow = Slow()
    del slow
    time.sleep(30)
"""
COMPILED = """
import hashlib, threading
with at_forced_end(lambda: trace.write_text("forced")):
    threading.Timer(0.2, ready).start()  # from within the call, which lets other threads run
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**8)
"""
OTHER_ERROR = """
ready()
try:
    time.sleep(30)
except KeyboardInterrupt:
    raise ImportError("numpy failed to import") from None
"""
CHILD = """
def work(path):
    Path(path).write_text(str(os.getpid()))
    time.sleep(30)
if __name__ == "__main__":
    process = multiprocessing.get_context("fork").Process(target=work, args=(trace,))
    with without_signals():
        process.start()
    while not (trace.exists() and trace.read_text()):
        time.sleep(0.01)
    ready()
    time.sleep(30)
"""


def start(script: str, trace: Path) -> subprocess.Popen[str]:
    """A script in a process group of its own that has said that it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(trace)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell may have started these tests with the signal ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def ended(process: subprocess.Popen[str], *signals: int) -> tuple[int, str, float]:
    """Status, last words, and seconds from the first signal to the end."""
    began = time.monotonic()
    for number in signals:
        os.killpg(process.pid, number)
        time.sleep(0.1)
    words = process.communicate(timeout=20)[1]
    return process.returncode, words, time.monotonic() - began


@pytest.mark.parametrize(
    ("number", "status", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_signal_closes_what_is_open_and_says_how_to_go_on(
    number: int, status: int, word: str, tmp_path: Path
) -> None:
    code, words, seconds = ended(start(FINALLY, tmp_path / "trace"), number)
    assert (code, words) == (status, f"{word}: go on with --out x\n") and seconds < 2
    assert (tmp_path / "trace").read_text() == "closed"


@pytest.mark.parametrize(
    "script",
    [SWALLOWED, IN_A_CALLBACK, COMPILED],
    ids=["swallowed", "in a callback", "compiled"],
)
@pytest.mark.parametrize("times", [1, 2])
def test_what_does_not_return_is_ended_by_force(script: str, times: int, tmp_path: Path) -> None:
    process = start(START + script, tmp_path / "trace")
    code, words, seconds = ended(process, *[signal.SIGINT] * times)
    assert (code, words) == (130, "interrupted: go on with --out x\n")
    # On an idle machine two seconds and one; the chaos of the whole job looks, too.
    assert interrupts.GRACE_SECONDS < 2
    assert seconds < (4 if times == 1 else 3), "the second signal does not wait"
    assert (tmp_path / "trace").read_text() == "forced"


def test_an_error_that_follows_from_a_signal_is_not_told(tmp_path: Path) -> None:
    code, words, _ = ended(start(START + OTHER_ERROR, tmp_path / "trace"), signal.SIGTERM)
    assert (code, words) == (143, "terminated: go on with --out x\n")


def test_worker_processes_end_with_the_first_one(tmp_path: Path) -> None:
    """The signal reaches all processes of the terminal; workers say nothing."""
    process = start(START + CHILD, tmp_path / "trace")
    child = int((tmp_path / "trace").read_text())
    code, words, seconds = ended(process, signal.SIGINT)
    assert (code, words) == (130, "interrupted: go on with --out x\n") and seconds < 2
    for _ in range(100):
        if not Path(f"/proc/{child}/stat").exists():
            break
        if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            break  # nobody has asked for its status yet
        time.sleep(0.02)
    else:
        pytest.fail("the worker process still runs")


def test_a_signal_after_the_work_cannot_spoil_its_status(tmp_path: Path) -> None:
    slow = "import atexit\natexit.register(time.sleep, 5)\natexit.register(ready)\n"
    code, words, seconds = ended(start(START + slow + "leave(3)", tmp_path), signal.SIGTERM)
    assert (code, words) == (3, "") and seconds < 3


def test_a_signal_that_is_ignored_from_the_start_stays_ignored(tmp_path: Path) -> None:
    script = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n" + START
    script += "ready()\ntime.sleep(0.5)\nleave(0)"
    assert ended(start(script, tmp_path), signal.SIGINT)[:2] == (0, "")


def test_errors_without_a_signal_keep_their_traceback(tmp_path: Path) -> None:
    process = start(START + "ready()\n1 / 0", tmp_path)
    code, words, _ = ended(process)
    assert code == 1 and "ZeroDivisionError" in words and not is_interrupted()


def test_signals_are_held_back_for_a_while_and_not_lost() -> None:
    with pytest.raises(KeyboardInterrupt):
        with without_signals():
            before = signal.signal(signal.SIGINT, signal.default_int_handler)
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
        time.sleep(0.05)
    signal.signal(signal.SIGINT, before)
    assert interrupts._script.cleanups == []

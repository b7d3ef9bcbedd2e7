"""Importing the package says how threads wait, unless that is said already, and loads nothing."""

import os
import subprocess
import sys

import pytest

CODE = "import os, sys, recmtl; print(*map(os.environ.get, recmtl.WAITING), 'torch' in sys.modules)"


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({}, "PASSIVE 30000 False"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE None False"),
        ({"GOMP_SPINCOUNT": "0"}, "None 0 False"),
    ],
)
def test_threads_wait_as_told_or_as_is_best(said: dict[str, str], found: str) -> None:
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    others = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, "-c", CODE]
    told = subprocess.run(command, env=others | said, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == found

"""Every entry point of MLproject is a script that takes the options with which it is called."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ENTRIES: dict[str, Any] = yaml.safe_load((ROOT / "MLproject").read_text())["entry_points"]


def test_the_entry_points_are_those_of_the_design() -> None:
    steps = ["main", "describe", "tune", "prepare", "search", "train", "evaluate", "log", "score"]
    assert list(ENTRIES) == [*steps, "update", "backtest", "benchmark", "vision"]


@pytest.mark.parametrize("name", ENTRIES)
def test_every_parameter_is_typed_and_used(name: str) -> None:
    entry = ENTRIES[name]
    assert all(set(options) <= {"type", "default"} for options in entry["parameters"].values())
    assert all("type" in options for options in entry["parameters"].values())
    assert re.findall(r"\{(\w+)\}", entry["command"]) == list(entry["parameters"])


@pytest.mark.parametrize("name", ENTRIES)
def test_the_script_takes_the_options(name: str) -> None:
    script = ROOT / "pipelines" / f"{name}.py"
    told = subprocess.run(
        [sys.executable, str(script), "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr
    command = ENTRIES[name]["command"]
    assert command.startswith(f"python pipelines/{name}.py ")
    missing = [option for option in re.findall(r"--\w+", command) if option not in told.stdout]
    assert missing == []

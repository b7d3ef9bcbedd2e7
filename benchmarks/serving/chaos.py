"""Run the suites of tests/chaos one after the other; count their tests and their seconds."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

from benchmarks.serving.shop import FOLDER, ROOT

SUITES = {
    "test_kills_random": (
        "200 kills of scoring jobs at random moments: each resume ends with the bytes of an "
        "undisturbed run"
    ),
    "test_kills_steps": (
        "a kill before and after every step on the disk, 15 races of three jobs: the same bytes"
    ),
    "test_bundles": (
        "1,000 altered bundles: refused in one line; 1,000 altered and sealed again: refused, or "
        "the golden rows keep their scores; nothing is executed, nothing outside is read"
    ),
    "test_bad_inputs": (
        "10,000 generated bad inputs to `rank`, `score`, the schema and the formula: one of "
        "recmtl's errors, or a right answer"
    ),
    "test_equal_scores": (
        "100,000 rows with unknown ids and missing values by `Scorer`, `Ranker`, pandas, dicts, "
        "MLflow pyfunc, REST and Spark: equal bit for bit; ONNX: to float32 rounding"
    ),
    "test_full_disk": "a disk that is really full: one line, nothing half-written, then resumed",
    "test_onnx_layouts": (
        "every layout of the catalog and every kind of feature as ONNX: to float32 rounding"
    ),
    "test_whole_job": (
        "200 kills of the main job at random moments, its first store included: each goes on to "
        "the same results, routes, bundle and scores"
    ),
    "test_killed_ranks": (
        "a rank of two is killed at random moments: all end with one line, and the job goes on"
    ),
    "test_killed_executor": (
        "an executor of Spark is killed while it prepares a log: the bytes of one machine"
    ),
}


def measure(folder: Path | None) -> dict[str, Any]:
    """Run the suites, or read the JUnit files that they left in a folder."""
    if folder is None:
        folder = FOLDER / "chaos"
        for suite in SUITES:
            _run(suite, folder)
    return {suite: _counts(sorted(folder.glob(f"{suite}*.xml"))) for suite in SUITES}


def _run(suite: str, folder: Path) -> None:
    file, _, part = suite.partition("kills_")
    chosen = {"": "", "random": "random_kills", "steps": "not random_kills"}[part]
    path = f"tests/chaos/{file}kills.py" if part else f"tests/chaos/{suite}.py"
    command = [sys.executable, "-m", "pytest", path, "--chaos", "--runslow", "-q", "-k", chosen]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command += ["--kills", "200"] if suite == "test_whole_job" else []
    command += ["-p", "no:cacheprovider", f"--junitxml={folder / suite}.xml"]
    subprocess.run(command, cwd=ROOT, env=environment, check=False)


def _counts(paths: list[Path]) -> dict[str, Any]:
    """Counts and seconds of a suite, which may have run in several pieces."""
    suites = [suite for path in paths for suite in ElementTree.parse(path).iter("testsuite")]
    names = ("tests", "failures", "errors", "skipped")
    counts = {name: sum(int(suite.get(name, 0)) for suite in suites) for name in names}
    cases = [case for suite in suites for case in suite.iter("testcase")]
    left_out = [case.get("name") for case in cases if case.find("skipped") is not None]
    seconds = sum(float(suite.get("time", 0.0)) for suite in suites)
    return {**counts, "seconds": seconds, "left_out": left_out}

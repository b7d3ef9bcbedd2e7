"""`python -m benchmarks.scale [--millions 1 10 50] [--keep] [--quick] [--page]`."""

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.processes import BUILD, ROOT, processor
from benchmarks.scale.page import page
from benchmarks.scale.simulated import write

OUT = ROOT / "docs" / "benchmarks" / "scale.json"
STEPS = ("prepare", "train", "score")


def measure(rows: int, *, keep: bool) -> dict[str, Any]:
    """Figures of each step on a log of so many rows; the log is removed afterwards unless kept."""
    folder = BUILD / "scale" / str(rows)
    for left in ("encoded", "bundle", "scores"):
        shutil.rmtree(folder / left, ignore_errors=True)
    write(folder / "log", rows)
    figures = {step: _step(step, folder) for step in STEPS}
    figures["disk_mb"] = {
        name: sum(p.stat().st_size for p in (folder / name).rglob("*") if p.is_file()) / 1e6
        for name in ("log", "encoded", "scores")
    }
    if not keep:
        shutil.rmtree(folder)
    return figures


def _step(step: str, folder: Path) -> Mapping[str, float]:
    settings = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.scale.step", step, str(folder)],
        env={**os.environ, **settings}, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    figures: Mapping[str, float] = json.loads(run.stdout.splitlines()[-1])
    return figures


def main() -> int:
    """Measure every size; sizes measured before stay on the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--millions", nargs="+", type=float, default=[1, 10, 50], help="of rows")
    parser.add_argument("--keep", action="store_true", help="leave logs and results in build/")
    parser.add_argument("--quick", action="store_true", help="a check that it runs, no figures")
    parser.add_argument("--out", type=Path, default=OUT, help="the JSON; the page lies beside it")
    parser.add_argument("--page", action="store_true", help="only write the page anew")
    options = parser.parse_args()
    figures = json.loads(options.out.read_text()) if options.out.is_file() else {"sizes": {}}
    if not options.page:
        for millions in [0.2] if options.quick else options.millions:
            rows = round(millions * 1e6)
            figures["sizes"][str(rows)] = measure(rows, keep=options.keep)
        figures["processor"] = processor()
    text = page(figures)
    sys.stdout.write(text)
    if not options.quick:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")
        options.out.with_suffix(".md").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m benchmarks.serving WHAT...`: measure, and write JSON and page; see the package."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.processes import ROOT
from benchmarks.serving import calibration, chaos, heard, latency, soak
from benchmarks.serving.page import page

OUT = ROOT / "docs" / "benchmarks" / "serving.json"


def measured(part: str, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one part."""
    if part == "latency":
        return latency.measure(quick=options.quick)
    if part == "heard":
        return heard.measure(quick=options.quick)
    if part == "soak":
        return soak.measure(seconds=10.0 if options.quick else options.seconds)
    if part == "calibration":
        return {name: calibration.measure(name) for name in options.data}
    return chaos.measure(options.junit)


def main() -> int:
    """Measure the named parts; parts measured before stay on the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parts = ["latency", "heard", "soak", "calibration", "chaos", "page"]
    parser.add_argument("what", nargs="+", choices=parts, help="page: only write the page anew")
    parser.add_argument("--quick", action="store_true", help="a check that it runs, no figures")
    parser.add_argument("--seconds", type=float, default=600.0, help="length of the soak")
    parser.add_argument(
        "--data",
        nargs="+",
        choices=[*calibration.LOGS],
        default=[*calibration.LOGS],
        help="logs of the calibration",
    )
    parser.add_argument(
        "--junit", type=Path, help="chaos: read the JUnit files there instead of running the suites"
    )
    parser.add_argument("--out", type=Path, default=OUT, help="the JSON; the page lies beside it")
    options = parser.parse_args()
    figures = json.loads(options.out.read_text()) if options.out.is_file() else {}
    for part in options.what:
        if part != "page":
            figures[part] = measured(part, options)
    text = page(figures)
    if options.quick:
        sys.stdout.write(text)
        return 0
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(figures, indent=1) + "\n")
    options.out.with_suffix(".md").write_text(text)
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

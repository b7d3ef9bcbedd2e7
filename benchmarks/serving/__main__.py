"""`python -m benchmarks.serving WHAT...`: measure, and write JSON and page; see the package."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.processes import ROOT
from benchmarks.serving import calibration, chaos, latency, soak
from benchmarks.serving.page import page

OUT = ROOT / "docs" / "benchmarks" / "serving.json"


def measured(what: str, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one part."""
    if what == "latency":
        return latency.measure(quick=options.quick)
    if what == "soak":
        return soak.measure(seconds=10.0 if options.quick else options.seconds)
    if what == "calibration":
        return {name: calibration.measure(name) for name in options.data}
    return chaos.measure(options.junit)


def main() -> int:
    """Measure what is asked for; what was measured before stays on the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parts = ["latency", "soak", "calibration", "chaos", "page"]
    parser.add_argument("what", nargs="+", choices=parts, help="page: only write it anew")
    parser.add_argument("--quick", action="store_true", help="a check that it runs, no figures")
    parser.add_argument("--seconds", type=float, default=600.0, help="of the soak")
    parser.add_argument(
        "--data",
        nargs="+",
        choices=[*calibration.LOGS],
        default=[*calibration.LOGS],
        help="of calibration",
    )
    parser.add_argument("--junit", type=Path, help="chaos: read what its suites left there")
    parser.add_argument("--out", type=Path, default=OUT, help="the JSON; the page lies beside it")
    options = parser.parse_args()
    known = json.loads(options.out.read_text()) if options.out.is_file() else {}
    for what in options.what:
        if what != "page":
            known[what] = measured(what, options)
    text = page(known)
    if options.quick:
        sys.stdout.write(text)
        return 0
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(known, indent=1) + "\n")
    options.out.with_suffix(".md").write_text(text)
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

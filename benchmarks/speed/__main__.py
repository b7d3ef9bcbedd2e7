"""`python -m benchmarks.speed [PART ...] [--quick]`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.processes import ROOT
from benchmarks.speed import breakdown, preparing, scoring, training
from benchmarks.speed.arms import BESIDE, TRAINED
from benchmarks.speed.page import page
from benchmarks.speed.shape import NETWORKS, VOCABULARIES

OUT = ROOT / "docs" / "benchmarks" / "speed.json"


def measured(part: str, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one part."""
    if part == "breakdown":
        return {name: breakdown.measure(quick=options.quick, name=name) for name in options.sizes}
    if part == "prepare":
        return preparing.measure(quick=options.quick, sizes=options.sizes)
    if part == "trees":
        return preparing.trees(sizes=options.sizes)
    pinned = options.threads == 1 and not options.free
    how = {"quick": options.quick, "threads": options.threads, "pinned": pinned}
    if part == "scoring":
        return scoring.measure(sizes=options.sizes, **how)
    if part == "beside":
        arms = [arm for arm in options.arms if arm in BESIDE]
        others = [name for name in NETWORKS if name != "mmoe"]
        return {
            name: training.measure(arms=arms, sizes=["small"], network=name, **how)
            for name in others
        }
    return training.measure(arms=options.arms, sizes=options.sizes, **how)


def main() -> int:
    """Measure the named parts; parts measured before stay on the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=__doc__)
    parts = ["prepare", "training", "trees", "beside", "scoring", "breakdown", "page"]
    help_text = "everything if nothing is named; page only writes the page anew"
    parser.add_argument("what", nargs="*", choices=[*parts, "all"], default="all", help=help_text)
    parser.add_argument("--quick", action="store_true", help="a check that it runs, no figures")
    parser.add_argument("--threads", type=int, default=1, help="threads of every arm")
    parser.add_argument("--free", action="store_true", help="do not pin the arms to the last core")
    parser.add_argument("--sizes", nargs="+", choices=[*VOCABULARIES], default=[*VOCABULARIES])
    parser.add_argument("--arms", nargs="+", choices=[*TRAINED], default=[*TRAINED])
    parser.add_argument("--out", type=Path, default=OUT, help="the JSON; the page lies beside it")
    options = parser.parse_args()
    figures = json.loads(options.out.read_text()) if options.out.is_file() else {}
    for part in parts[:-1] if "all" in options.what else options.what:
        if part != "page":
            on_any_threads = part in ("prepare", "trees", "breakdown")
            name = part if on_any_threads else f"{part}_{options.threads}"
            figures[name] = measured(part, options)
    text = page(figures)
    sys.stdout.write(text)
    if not options.quick:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(figures, indent=1) + "\n")
        options.out.with_suffix(".md").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())

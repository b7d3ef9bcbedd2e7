"""Do the searches find what was planted? `make recovery` runs this, about half an hour.

Trials run in processes of one thread each; figures and page are written after every trial.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.recovery.judge import Fit, Trial
from benchmarks.recovery.page import page
from benchmarks.recovery.trials import PLANTS, SEARCHES, run_trial


def results(names: list[str], seeds: range, workers: int) -> Iterator[tuple[str, int, Any]]:
    """Every trial as it ends."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(run_trial, name, seed) for name in names for seed in seeds]
        for done in as_completed(waiting):
            yield done.result()


def read(path: Path) -> dict[str, dict[int, Any]]:
    """What earlier runs left."""
    if not path.is_file():
        return {}
    stored = json.loads(path.read_text())
    return {
        name: {int(seed): _trial(value) for seed, value in seeds.items()}
        for name, seeds in stored.items()
    }


def _trial(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    fits = {name: Fit(**figures) for name, figures in value["fits"].items()}
    return Trial(**{**value, "fits": fits})


def write(path: Path, known: Mapping[str, Mapping[int, Any]]) -> None:
    """The figures as JSON, and the page beside them."""
    names = [name for name in (*PLANTS, *SEARCHES) if name in known]
    ordered = {name: dict(sorted(known[name].items())) for name in names}
    plain = {
        name: {seed: asdict(v) if isinstance(v, Trial) else v for seed, v in seeds.items()}
        for name, seeds in ordered.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(plain, indent=1) + "\n")
    trials = {name: seeds for name, seeds in ordered.items() if name in PLANTS}
    gaps = {n: list(seeds.values()) for n, seeds in ordered.items() if n in SEARCHES}
    path.with_suffix(".md").write_text(page(trials, gaps))


def main() -> int:
    """Run what the command line asks for; results of other plants in the file are kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    choices = [*PLANTS, "searches"]
    parser.add_argument(
        "plants", nargs="*", metavar="plant", help=f"of {choices}; all plants if none"
    )
    parser.add_argument("--first", type=int, default=20, help="the first seed")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/recovery.json"))
    told = parser.parse_args()
    names = list(told.plants or PLANTS)
    if "searches" in names:
        names.remove("searches")
        names += SEARCHES
    known = {n: seeds for n, seeds in read(told.out).items() if n not in names}
    seeds = range(told.first, told.first + told.seeds)
    for name, seed, value in results(names, seeds, told.workers):
        known.setdefault(name, {})[seed] = value
        write(told.out, known)
        shown = (value.found, value.what) if isinstance(value, Trial) else value
        sys.stdout.write(f"{name} {seed}: {shown}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())

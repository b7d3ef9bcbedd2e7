"""Do the searches find what was planted? `make recovery` runs this in about half an hour.

Trials run in processes of one thread each. Figures and page are written after every trial; `page`
in place of a plant only rewrites the page.
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
    """Every trial when it ends: name, seed, result."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(run_trial, name, seed) for name in names for seed in seeds]
        for done in as_completed(waiting):
            yield done.result()


def read(path: Path) -> dict[str, dict[int, Any]]:
    """The results of earlier runs: name -> seed -> result."""
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


def write(path: Path, results_by_name: Mapping[str, Mapping[int, Any]]) -> None:
    """Write the figures as JSON and the page beside them."""
    plain = {
        name: {seed: asdict(v) if isinstance(v, Trial) else v for seed, v in seeds.items()}
        for name, seeds in _ordered(results_by_name).items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(plain, indent=1) + "\n")
    path.with_suffix(".md").write_text(page_of(results_by_name))


def page_of(results_by_name: Mapping[str, Mapping[int, Any]]) -> str:
    """The page of these results: plants, and searches compared on the planted routes."""
    ordered = _ordered(results_by_name)
    trials = {name: seeds for name, seeds in ordered.items() if name in PLANTS}
    gaps = {n: list(seeds.values()) for n, seeds in ordered.items() if n in SEARCHES}
    return page(trials, gaps)


def _ordered(results_by_name: Mapping[str, Mapping[int, Any]]) -> dict[str, dict[int, Any]]:
    names = [name for name in (*PLANTS, *SEARCHES) if name in results_by_name]
    return {name: dict(sorted(results_by_name[name].items())) for name in names}


def main() -> int:
    """Run the plants of the command line; results of other plants in the file are kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    choices = [*PLANTS, "searches", "page"]
    parser.add_argument(
        "plants", nargs="*", metavar="plant", help=f"of {choices}; all plants if none"
    )
    parser.add_argument("--first", type=int, default=20, help="the first seed")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/recovery.json"))
    options = parser.parse_args()
    names = list(options.plants or PLANTS)
    if "searches" in names:
        names.remove("searches")
        names += SEARCHES
    if "page" in names:
        write(options.out, read(options.out))
        return 0
    results_by_name = {n: seeds for n, seeds in read(options.out).items() if n not in names}
    seeds = range(options.first, options.first + options.seeds)
    for name, seed, value in results(names, seeds, options.workers):
        results_by_name.setdefault(name, {})[seed] = value
        write(options.out, results_by_name)
        shown = (value.found, value.what) if isinstance(value, Trial) else value
        sys.stdout.write(f"{name} {seed}: {shown}\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())

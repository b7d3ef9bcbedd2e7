"""`python -m benchmarks.board LOG`: train a log's study and the peers; write its page and JSON.

`make board LOG=...` runs this. With `--run FOLDER` the arms of recmtl come from a finished run
folder and only the peers are trained; more folders add the searched network of another preset.
`page` in place of a log rewrites the pages from their JSON.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from benchmarks.board.arms import Arm, Run, arms_of, average, open_run, peer_arms
from benchmarks.board.judge import HeldOut, judged_arms
from benchmarks.board.logs import LOGS, BoardLog
from benchmarks.board.page import log_page, overview
from benchmarks.board.peers import PEERS, Peer, left_out, peer_arm
from benchmarks.processes import ROOT
from recmtl.data.encoded_log import EncodedLog
from recmtl.errors import ConfigError, RecmtlError
from recmtl.evaluate.label_space import defined_rows, task_position
from recmtl.evaluate.task_metrics import PRIMARY
from recmtl.grid.catalog import CATALOG
from recmtl.job import steps
from recmtl.job.open_job import open_job, tracked_run
from recmtl.job.outcome import metric_groups
from recmtl.tracking import TrackedRun
from recmtl.train.config import Config

PAGES = ROOT / "docs" / "benchmarks"
RUNS = ROOT / "runs" / "board"
CONTROLS = (*(name for name in CATALOG if name != "recmtl_grid"), "full_grid", "random_route")
RESAMPLES = 200
BUDGET = 0.5
"""Multiply-adds of every network as a share of the full grid's; see `Evidence`."""


def train(name: str, log: BoardLog, *, preset: str, out: Path, seeds: int) -> None:
    """The study of a log with a preset: of `best` every arm, of another the searched network."""
    console = Console(stderr=True)
    config = Config.load(ROOT / log.config, preset=preset)
    evidence = replace(config.evidence, seeds=seeds, control_seeds=seeds, ablation_seeds=0)
    # At matched cost, also where the log's configuration leaves every network at its own size.
    evidence = replace(evidence, budget=evidence.budget or BUDGET)
    if preset == "best":
        evidence = replace(evidence, controls=CONTROLS)
    else:
        evidence = replace(evidence, controls=(), baselines=())
    config = replace(config, evidence=evidence)
    data = log.files(out.parent / f"{name}-data")
    schema = ROOT / log.schema if log.data else ""
    with (
        open_job(data=data, schema=schema, config=config, out=out, console=console) as job,
        tracked_run(job, f"board {name}") as run,
    ):
        _evaluate(job, run)


def _evaluate(job: steps.JobContext, run: TrackedRun) -> None:
    prepared = steps.prepare(job, run)
    steps.evaluate(job, steps.train_all(job, prepared, run), run)


def board_of(
    name: str, runs: list[Run], *, peers: Mapping[str, Peer], folder: Path, holds_for: str
) -> dict[str, Any]:
    """The content of a log's page.

    Args:
        name: of the log.
        runs: finished runs; all arms of the first, the searched network of the others.
        peers: that are trained.
        folder: where their scores are kept.
        holds_for: on which rows the claims hold.

    Raises:
        ConfigError: the runs are not of the same rows.
    """
    first = runs[0]
    log, arms = first.log, arms_of(first)
    for run in runs[1:]:
        _check_same_rows(first, run)
        arms += arms_of(run, only_searched=True)
    seeds, missing = len(first.models["searched"]), dict(first.missing)
    by_name = {arm.name: arm for arm in arms}
    if "lightgbm" in by_name:
        arms.append(average(by_name["lightgbm"], by_name["searched"], log))
    trained = {}
    for peer_name, peer in peers.items():
        why = left_out(peer, log.schema.tasks)
        if why:
            missing[peer_name] = why
        else:
            trained[peer_name] = peer_arm(peer_name, peer, log, folder=folder, seeds=seeds)
    arms += peer_arms(trained)
    missing |= {peer: "not trained here" for peer in PEERS if peer not in peers}
    return {
        "log": name,
        "fingerprint": log.fingerprint,
        "recmtl": version("recmtl"),
        "holds_for": holds_for,
        "rows": log.manifest["rows"],
        "tasks": _tasks(log),
        "arms": judged_arms(arms, held_out(log), resamples=RESAMPLES),
        "sharing": _sharing(first),
        "cpu_s_to_verdict": _to_verdict(first, arms),
        "left_out": missing,
    }


def held_out(log: EncodedLog) -> HeldOut:
    """The test rows of a log, as `results.json` judges them."""
    rows = log.split("test")
    labels = np.asarray(rows.labels)
    return HeldOut(labels, log.schema.tasks, metric_groups(rows.group), np.asarray(rows.weight))


def _tasks(log: EncodedLog) -> dict[str, Any]:
    """Of each task its metric, and of a binary one the positives among the test rows."""
    labels, tasks = np.asarray(log.split("test").labels), log.schema.tasks
    facts = {}
    for task in tasks:
        label = labels[defined_rows(labels, tasks, task), task_position(tasks, task.name)]
        positives = int(label.sum()) if task.kind == "binary" else None
        facts[task.name] = {"metric": PRIMARY[task.kind].name, "positives": positives}
    return facts


def _check_same_rows(first: Run, other: Run) -> None:
    rows, theirs = first.log.split("test"), other.log.split("test")
    if not np.array_equal(rows.row, theirs.row):
        raise ConfigError(f"{other.folder}: its test rows are not those of {first.folder}")


def _sharing(run: Run) -> dict[str, Any]:
    sharing = run.results["sharing"]
    names = ("agreement", "agreement_of_random_routes", "race")
    return {name: sharing[name] for name in names if name in sharing}


def _to_verdict(run: Run, arms: list[Arm]) -> dict[str, float]:
    """Processor seconds of what a verdict takes; the choice of sources is part of the search."""
    by_name = {arm.name: arm.cpu_s for arm in arms}
    cost = run.results["cost"]
    of_sources = sum(
        float(json.loads(path.read_text())["cost"].get("cpu_s") or 0.0)
        for path in (run.folder / "models").glob("*/*/trained.json")
        if path.parts[-3] not in cost
    )
    of_models = sum(by_name.get(name, 0.0) for name in run.models if name != "blend")
    return {
        "searched": by_name["searched"] + of_sources,
        "lightgbm": by_name.get("lightgbm", 0.0),
        "study": of_models + of_sources,
        "peers": sum(arm.cpu_s for arm in arms if arm.kind == "peer"),
    }


def write(board: Mapping[str, Any], folder: Path) -> None:
    """Write a log's JSON, its page, and the overview."""
    (folder / "board").mkdir(parents=True, exist_ok=True)
    path = folder / "board" / f"{board['log']}.json"
    path.write_text(json.dumps(board, indent=1) + "\n", encoding="utf-8")
    write_pages(folder)


def write_pages(folder: Path) -> None:
    """Write every page from its JSON."""
    for path, text in pages(folder).items():
        path.write_text(text, encoding="utf-8")


def pages(folder: Path) -> dict[Path, str]:
    """Every page of the board by its path."""
    files = {path.stem: path for path in sorted((folder / "board").glob("*.json"))}
    names = [*(name for name in LOGS if name in files), *(n for n in files if n not in LOGS)]
    boards = {name: json.loads(files[name].read_text(encoding="utf-8")) for name in names}
    texts = {files[name].with_suffix(".md"): log_page(board) for name, board in boards.items()}
    return {**texts, folder / "board.md": overview(boards)}


def main() -> int:
    """Put a log on the board."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", choices=[*LOGS, "page"], help="the log, or `page`")
    parser.add_argument("--run", type=Path, action="append", help="a finished run folder")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--peers", nargs="*", choices=[*PEERS], default=[*PEERS])
    parser.add_argument("--runs", type=Path, default=RUNS, help="where runs and scores are kept")
    parser.add_argument("--out", type=Path, default=PAGES, help="the folder of the pages")
    options = parser.parse_args()
    if options.log == "page":
        write_pages(options.out)
        return 0
    log, folders = LOGS[options.log], options.run or []
    runs = [open_run(folder) for folder in folders]
    if not folders:
        folders = [options.runs / f"{options.log}-{preset}" for preset in ("best", "fast")]
        for preset, folder in zip(("best", "fast"), folders, strict=True):
            train(options.log, log, preset=preset, out=folder, seeds=options.seeds)
        runs = [
            replace(open_run(folder), preset=preset)
            for preset, folder in zip(("best", "fast"), folders, strict=True)
        ]
    board = board_of(
        options.log,
        runs,
        peers={name: PEERS[name] for name in options.peers},
        folder=options.runs / "peers",
        holds_for=log.rows,
    )
    write(board, options.out)
    sys.stdout.write(f"{options.out / 'board' / options.log}.md\n")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except RecmtlError as error:
        sys.exit(f"error: {error}")

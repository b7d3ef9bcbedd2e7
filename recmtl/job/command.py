"""The command line that every step of the job shares."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from recmtl.atomic import write_json
from recmtl.errors import ConfigError, RecmtlError
from recmtl.job.console import progress_display
from recmtl.job.pipeline import Pipeline
from recmtl.schema.strict_yaml import load
from recmtl.simulate import simulate
from recmtl.tracking import Run, Tracker
from recmtl.train.config import Config
from recmtl.vision.config import VisionConfig
from recmtl.vision.job import VisionJob
from recmtl.vision.report import vision_table

__all__ = ["load_config", "read_config", "run_step", "run_vision"]

C = TypeVar("C", bound=Config)

ROOT = Path(__file__).parents[2]
SIMULATED = ROOT / "datasets" / "simulated" / "schema.yaml"
SIMULATED_CONFIG = ROOT / "pipelines" / "configs" / "simulated" / "recmtl.yaml"
SIMULATED_ROWS = 200_000
GIVEN = "job.json"


def run_step(
    name: str,
    step: Callable[[Pipeline, Run], None],
    arguments: Sequence[str] | None = None,
    *,
    blind: Callable[[Pipeline, Run], None] | None = None,
) -> int:
    """Run one step with the common options; returns 0, or 2 after a one-line error.

    Without `--data` a step goes on with what the output folder was begun with; in a new folder
    it runs on a simulated log, written there. With `blind`, the option `--validation-only` runs
    that function in place of the step.
    """
    options = _parse(name, arguments, hides_test=blind is not None)
    chosen = blind if blind is not None and options.validation_only else step
    console = Console(stderr=True)
    try:
        with _open(options, console) as job, job.tracker.run(name) as run:
            run.log_params({"data": job.data, "schema": str(job.schema), "out": str(job.out)})
            run.log_params({"config": asdict(job.config)})
            run.log_environment()
            chosen(job, run)
    except RecmtlError as error:
        console.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return 2
    return 0


def load_config(path: Path | None) -> Config:
    """Read a configuration, or take the defaults; unknown keys are errors, all at once."""
    return Config() if path is None else read_config(Config, path)


def read_config(kind: type[C], path: Path) -> C:
    """Read a configuration of a kind: of tables, or of images."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; give a YAML file") from None
    return load(kind, text, source=path.name, error=ConfigError)


def run_vision(arguments: Sequence[str] | None = None) -> int:
    """Run a study on images; returns 0, or 2 after a one-line error."""
    parser = argparse.ArgumentParser(description="recmtl: a study on images")
    parser.add_argument("--config", required=True, help="YAML of data, network, search, training")
    parser.add_argument("--data", default="", help="folder of the images, if not as configured")
    parser.add_argument("--out", default="", help="output folder; runs/<utc time> if empty")
    parser.add_argument("--seeds", type=float, default=0, help="seeds of every model, if not 0")
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    try:
        config = _vision_config(options)
        with progress_display(console) as on_progress:
            job = VisionJob(config, _out(options.out), Tracker(), on_progress, console)
            with job.tracker.run("vision") as run:
                run.log_params({"out": str(job.out), "config": asdict(config)})
                run.log_environment()
                results = job.run(run)
    except RecmtlError as error:
        console.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return 2
    sys.stdout.write(f"{vision_table(results)}\nreport    {job.out / 'report.html'}\n")
    return 0


def _vision_config(options: argparse.Namespace) -> VisionConfig:
    config = read_config(VisionConfig, Path(options.config))
    if options.data:
        config = replace(config, data=replace(config.data, folder=options.data))
    if options.seeds:
        config = replace(config, evidence=replace(config.evidence, seeds=int(options.seeds)))
    return config


def _out(given: str) -> Path:
    return Path(given or f"runs/{datetime.now(UTC):%Y%m%dT%H%M%SZ}")


def _parse(name: str, arguments: Sequence[str] | None, *, hides_test: bool) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=f"recmtl: {name}")
    parser.add_argument("--data", default="", help="Parquet, folder or glob; simulated if empty")
    parser.add_argument("--schema", default="", help="schema YAML of the data")
    parser.add_argument("--config", default="", help="YAML of sizes, search, training, evidence")
    parser.add_argument("--out", default="", help="output folder; runs/<utc time> if empty")
    parser.add_argument("--seeds", type=float, default=0, help="seeds of every model, if not 0")
    if name == "prepare":
        told = "earlier encoded log of the same schema, whose vocabularies are kept: added days"
        parser.add_argument("--like", default="", help=told)
    if hides_test:
        told = "tell of validation rows only, so that settings are chosen without test figures"
        parser.add_argument("--validation-only", action="store_true", help=told)
    return parser.parse_args(arguments)


@contextmanager
def _open(options: argparse.Namespace, console: Console) -> Iterator[Pipeline]:
    if bool(options.data) != bool(options.schema):
        raise ConfigError("give --data and --schema together, or neither for the simulated log")
    out = _out(options.out)
    given = _given(options, out)
    config = load_config(Path(given["config"]) if given["config"] else None)
    if options.seeds:
        seeds = int(options.seeds)
        evidence = replace(config.evidence, seeds=seeds, control_seeds=seeds)
        config = replace(config, evidence=evidence)
    if not given["data"]:
        log = out / "simulated.parquet"
        if not log.exists():
            out.mkdir(parents=True, exist_ok=True)
            simulate(log, SIMULATED_ROWS, seed=config.seed)
        given |= {"data": str(log), "schema": str(SIMULATED)}
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / GIVEN, given)
    with progress_display(console) as on_progress:
        data, schema = given["data"], Path(given["schema"])
        like = Path(given["like"]) if given.get("like") else None
        yield Pipeline(data, schema, out, config, Tracker(), on_progress, console, like)


def _given(options: argparse.Namespace, out: Path) -> dict[str, str]:
    """What the job was given: now, or when an earlier step opened the same output folder."""
    before = json.loads((out / GIVEN).read_text()) if (out / GIVEN).is_file() else {}
    if options.data or not before:
        config = options.config or ("" if options.data else str(SIMULATED_CONFIG))
        like = getattr(options, "like", "")
        return {"data": options.data, "schema": options.schema, "config": config, "like": like}
    return {**before, "config": options.config or before["config"]}

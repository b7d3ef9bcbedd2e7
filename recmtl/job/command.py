"""The command line that every step of the main job shares."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from recmtl.atomic import read_json, reading, write_json
from recmtl.errors import ConfigError
from recmtl.folder_lock import hold_folder
from recmtl.interrupts import advise
from recmtl.job.champion import judge_champion
from recmtl.job.console import progress_display
from recmtl.job.handed_on import JobContext
from recmtl.job.problem_kind import TABULAR_PROBLEMS
from recmtl.masking import is_masked, masked
from recmtl.schema.strict_yaml import load
from recmtl.schema.yaml_text import read_text
from recmtl.script import ErrorLine, add_debug_option
from recmtl.simulate import simulate
from recmtl.tracking import Run, Tracker
from recmtl.train.config import Config, Evidence
from recmtl.train.presets import PRESETS

__all__ = [
    "advise_to_go_on",
    "load_config",
    "output_folder",
    "read_config",
    "run_step",
]

C = TypeVar("C", bound=Config)

ROOT = Path(__file__).parents[2]
SIMULATED = ROOT / "datasets" / "simulated" / "schema.yaml"
SIMULATED_CONFIG = ROOT / "pipelines" / "configs" / "simulated" / "recmtl.yaml"
SIMULATED_ROWS = 200_000
ABLATES = ("main", "evaluate", "benchmark")
"""The steps that train what shows what moved the metric."""


def run_step(
    name: str,
    step: Callable[[JobContext, Run], None],
    arguments: Sequence[str] | None = None,
    *,
    blind: Callable[[JobContext, Run], None] | None = None,
) -> int:
    """Run one step with the common options; returns 0, or 2 after a one-line error.

    Without `--data` a step goes on with the input that the output folder was begun with; a new
    folder gets a simulated log, written there. With `blind`, the option `--validation-only` runs
    that function in place of the step.
    """
    options = _parse(name, arguments, hides_test=blind is not None)
    chosen = blind if blind is not None and options.validation_only else step
    console = Console(stderr=True)
    with (
        ErrorLine(console, debug=options.debug) as error,
        _open(options, console) as job,
        job.tracker.run(name) as run,
    ):
        run.log_params({"data": job.data, "schema": str(job.schema), "out": str(job.out)})
        run.log_params({"config": asdict(job.config)})
        run.log_environment()
        job.tracker.feed()  # a tracker that is down is known for it before the work begins
        chosen(job, run)
    return error.status


def load_config(path: Path | None, preset: str = "") -> Config:
    """Read a configuration for tables, or take that of the preset if there is no file."""
    kind = TABULAR_PROBLEMS.config_class
    if path is None:
        return load(kind, "{}", source=preset, error=ConfigError, defaults=PRESETS.get(preset))
    return read_config(kind, path, preset)


def read_config(kind: type[C], path: Path, preset: str = "") -> C:
    """Read a configuration of this class from a YAML file, whose settings go before the preset's.

    Raises:
        ConfigError: the file cannot be read, or it holds unknown keys or wrong values; the message
            names all of them.
    """
    text, defaults = read_text(path, ConfigError, what="configuration"), PRESETS.get(preset)
    return load(kind, text, source=str(path), error=ConfigError, defaults=defaults)


def output_folder(option: str) -> Path:
    """The folder that `--out` names, or a new one named by the time in UTC."""
    return Path(option or f"runs/{datetime.now(UTC):%Y%m%dT%H%M%SZ}")


def advise_to_go_on(option: str, out: Path) -> None:
    """Let the line of an interruption name the output folder, in which the job goes on."""
    how = "again" if option else f"with --out {out}"
    advise(f"run the same command {how} to go on; what is finished is kept in {out}")


def _parse(name: str, arguments: Sequence[str] | None, *, hides_test: bool) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=f"recmtl: {name}")
    parser.add_argument("--data", default="", help="Parquet, folder or glob; simulated if empty")
    parser.add_argument("--schema", default="", help="schema YAML of the data")
    parser.add_argument("--config", default="", help="YAML of sizes, search, training, evidence")
    preset = "settings that the configuration does not give, from quick to thorough"
    parser.add_argument("--preset", choices=["", *PRESETS], default="", help=preset)
    parser.add_argument("--out", default="", help="output folder; runs/<utc time> if empty")
    parser.add_argument("--seeds", type=float, default=0, help="seeds of every model, if not 0")
    add_debug_option(parser)
    if name == "prepare":
        like = "earlier encoded log of the same schema, whose vocabularies are kept: added days"
        parser.add_argument("--like", default="", help=like)
    if name in ABLATES:
        leave_out = "do not train the networks that show what moved the metric"
        parser.add_argument("--no-ablation", action="store_true", help=leave_out)
    if name == "main":
        promote = "make the new model champion or not, whatever the comparison with it says"
        parser.add_argument("--promote", choices=["", "always", "never"], default="", help=promote)
    if hides_test:
        blind = "make figures on validation rows only, so that settings are chosen without test"
        parser.add_argument("--validation-only", action="store_true", help=blind)
    return parser.parse_args(arguments)


@dataclass(frozen=True)
class _JobInput:
    """What an output folder was begun with, kept there as `job.json`; empty text is none."""

    data: str = ""
    schema: str = ""
    config: str = ""
    like: str = ""
    preset: str = ""

    @classmethod
    def chosen(cls, options: argparse.Namespace, out: Path) -> "_JobInput":
        """The input of the command line, or the one of an earlier step with this folder."""
        file, before = out / "job.json", None
        if file.is_file() and not options.data:
            remedy = "give --data and --schema again"
            with reading(file, remedy=remedy):
                before = cls(**read_json(file, remedy=remedy))
            if is_masked(f"{before.data} {before.schema} {before.like}"):
                raise ConfigError(f"{file}: holds no passwords and tokens of URLs; {remedy}")
        if before is None:
            config = options.config or ("" if options.data else str(SIMULATED_CONFIG))
            like = getattr(options, "like", "")
            return cls(options.data, options.schema, config, like, options.preset)
        config, preset = options.config or before.config, options.preset or before.preset
        return replace(before, config=config, preset=preset)

    def save(self, out: Path) -> None:
        """Keep the input for later steps, without what is secret in it."""
        write_json(out / "job.json", masked(asdict(self)), durable=True)


def _evidence(options: argparse.Namespace, evidence: Evidence) -> Evidence:
    """The evidence that a configuration asks for, as the command line changes it."""
    if options.seeds:
        seeds = int(options.seeds)
        ablation = seeds if evidence.ablation_seeds else 0
        evidence = replace(evidence, seeds=seeds, control_seeds=seeds, ablation_seeds=ablation)
    if getattr(options, "no_ablation", False):
        evidence = replace(evidence, ablation_seeds=0)
    return evidence


@contextmanager
def _open(options: argparse.Namespace, console: Console) -> Iterator[JobContext]:
    if bool(options.data) != bool(options.schema):
        raise ConfigError("give --data and --schema together, or neither for the simulated log")
    out = output_folder(options.out)
    source = _JobInput.chosen(options, out)
    config = load_config(Path(source.config) if source.config else None, source.preset)
    config = replace(config, evidence=_evidence(options, config.evidence))
    advise_to_go_on(options.out, out)
    with hold_folder(out), progress_display(console) as on_progress:
        if not source.data:
            log = out / "simulated.parquet"
            if not log.exists():
                simulate(log, SIMULATED_ROWS, seed=config.seed)
            source = replace(source, data=str(log), schema=str(SIMULATED))
        yield JobContext(
            source.data,
            Path(source.schema),
            out,
            config,
            Tracker(
                out,
                judge=partial(judge_champion, out=out, data=source.data),
                warn=partial(_warn, console),
            ),
            on_progress,
            console,
            like=Path(source.like) if source.like else None,
            promote=getattr(options, "promote", ""),
            on_admitted=partial(source.save, out),
        )


def _warn(console: Console, line: str) -> None:
    console.print(f"warning: {line}", style="yellow", markup=False, highlight=False, soft_wrap=True)

"""Open a job: from what it is given to the context in which its steps run.

    with open_job(data="log.csv", schema="schema.yaml", console=console) as job:
        with tracked_run(job, "main") as run:
            whole = run_whole_job(job, run)

Nothing here knows a command line: the command and the functions of the package both build on it.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

import yaml
from rich.console import Console

from recmtl.atomic import read_json, reading, write_json, write_text
from recmtl.data.draft.schema_draft import SchemaDraft
from recmtl.errors import ConfigError
from recmtl.folder_lock import hold_folder
from recmtl.job.champion import judge_champion
from recmtl.job.console import progress_display
from recmtl.job.handed_on import JobContext
from recmtl.job.work.agenda import unseen
from recmtl.job.work.team_work import team_of
from recmtl.masking import is_masked, masked
from recmtl.schema import Schema
from recmtl.simulate import simulate
from recmtl.tracking import TrackedRun, Tracker
from recmtl.train.config import Config
from recmtl.train.loop import OnProgress
from recmtl.train.presets import PRESETS

__all__ = [
    "SIMULATED_CONFIG",
    "SIMULATED_SCHEMA",
    "open_job",
    "output_folder",
    "tracked_run",
]

C = TypeVar("C", bound=Config)

SIMULATED_SCHEMA = Path(__file__).parents[1] / "simulate" / "schema.yaml"
SIMULATED_CONFIG = SIMULATED_SCHEMA.with_name("config.yaml")
SIMULATED_LOG, SIMULATED_ROWS = "simulated.parquet", 200_000


@contextmanager
def open_job(
    *,
    data: str | Path = "",
    schema: str | Path | Schema | SchemaDraft = "",
    config: str | Path | Config = "",
    preset: str = "",
    out: str | Path = "",
    time_limit: float | None = None,
    seeds: int = 0,
    ablation: bool = True,
    promote: str = "",
    like: str | Path = "",
    processes: int = 1,
    console: Console,
    on_progress: OnProgress | None = None,
) -> Iterator[JobContext]:
    """The context of a job, whose output folder no other job may use while it is open.

    Without `data` a job goes on with the input that the output folder was begun with; a new folder
    gets a simulated log, written there.

    Args:
        data: the log.
        schema: what its columns mean: a YAML file, or a schema or the draft of one, which is
            written into the output folder as `schema.yaml`.
        config: how to search, train and compare: a YAML file, or a configuration, which is written
            into the output folder as `config.yaml`; empty for the preset's.
        preset: the settings that a configuration file leaves open; see `recmtl.train.presets`.
        out: the output folder; empty for a new one in `runs/`, named by the time in UTC.
        time_limit: the seconds that the job may take; None for no limit.
        seeds: of every model, in place of the configuration's; 0 for the configuration's.
        ablation: false leaves out the networks that show what moved the metric.
        promote: `always` or `never`; see `JobContext`.
        like: an earlier encoded log, whose vocabularies the input is encoded with.
        processes: that train each network together, each a part of every batch; more than one do
            the work of a study one network after another.
        console: for warnings and progress.
        on_progress: called with the progress of every step in place of a display on the console.

    Raises:
        ConfigError: `data` without `schema` or the other way round; a preset or a configuration
            that is wrong; or the folder is in use.
    """
    began = time.monotonic()
    if bool(data) != bool(schema):
        raise ConfigError("give data and schema together, or neither for the simulated log")
    folder = output_folder(out)
    source, texts = _chosen_input(folder, data, schema, config, preset, like)
    if "config" not in texts:  # a mistake in it is told before anything is written
        Config.load(source.config or None, preset=source.preset)
    with ExitStack() as stack, team_of(processes):
        stack.enter_context(hold_folder(folder))
        files = stack.enter_context(_files(folder, texts))
        source = replace(source, **files.paths)
        settings = _settings(source, seeds=seeds, ablation=ablation)
        display = on_progress or stack.enter_context(progress_display(console))
        source = replace(source, data=source.data or _simulated_log(folder, settings.seed))

        def admitted() -> None:
            files.are_kept = True
            source.save(folder)

        yield JobContext(
            source.data,
            Path(source.schema),
            folder,
            settings,
            _tracker(folder, source.data, console),
            display,
            console,
            like=Path(source.like) if source.like else None,
            on_admitted=admitted,
            promote=promote,
            time_limit=time_limit,
            began=began,
            on_outlook=getattr(display, "outlook", unseen),
        )


@contextmanager
def tracked_run(job: JobContext, name: str) -> Iterator[TrackedRun]:
    """A run of the job's tracker, which notes what the job was given and where it runs."""
    with job.tracker.run(name) as run:
        run.log_params({"data": job.data, "schema": str(job.schema), "out": str(job.out)})
        run.log_params({"config": asdict(job.config)})
        run.log_environment()
        job.tracker.feed()  # a tracker that is down is known for it before the work begins
        yield run


def output_folder(out: str | Path = "") -> Path:
    """The folder of this name, or a new one named by the time in UTC."""
    return Path(out or f"runs/{datetime.now(UTC):%Y%m%dT%H%M%SZ}")


@dataclass(frozen=True)
class _JobInput:
    """What an output folder was begun with, kept there as `job.json`; empty text is none."""

    data: str = ""
    schema: str = ""
    config: str = ""
    like: str = ""
    preset: str = ""

    @classmethod
    def begun(cls, folder: Path) -> "_JobInput":
        """The input of the earlier job in a folder; nothing if there was none.

        Raises:
            ConfigError: the input held a password, which is not kept.
            DataError: `job.json` is damaged.
        """
        file, remedy = folder / "job.json", "give data and schema again"
        if not file.is_file():
            return cls()
        with reading(file, remedy=remedy):
            before = cls(**read_json(file, remedy=remedy))
        if is_masked(f"{before.data} {before.schema} {before.like}"):
            raise ConfigError(f"{file}: holds no passwords and tokens of URLs; {remedy}")
        return before

    def save(self, folder: Path) -> None:
        """Keep the input for later steps, without what is secret in it."""
        write_json(folder / "job.json", masked(asdict(self)), durable=True)


def _chosen_input(
    folder: Path,
    data: str | Path,
    schema: str | Path | Schema | SchemaDraft,
    config: str | Path | Config,
    preset: str,
    like: str | Path,
) -> tuple[_JobInput, dict[str, str]]:
    """The input of a job, and the text of those of its parts that have no file of their own."""
    texts = dict[str, str]()
    source = _JobInput(data=str(data), like=str(like)) if data else _JobInput.begun(folder)
    is_simulated = not source.data or Path(source.data) == folder / SIMULATED_LOG
    if isinstance(schema, Schema | SchemaDraft):
        texts["schema"] = schema.dump() if isinstance(schema, Schema) else schema.text
    elif schema:
        source = replace(source, schema=str(schema))
    elif not source.data:
        texts["schema"] = SIMULATED_SCHEMA.read_text(encoding="utf-8")
    if isinstance(config, Config):
        if preset:
            remedy = "a configuration object states every setting; give one of them"
            raise ConfigError(f"preset {preset!r}: {remedy}")
        texts["config"] = config.dump()
        source = replace(source, preset="")
    elif config:
        source = replace(source, config=str(config))
    elif is_simulated and (preset or not source.data):
        texts["config"] = _simulated_config(preset)
    return replace(source, preset=preset or source.preset), texts


def _simulated_config(preset: str) -> str:
    """The configuration that ships with the simulated log, but for what a preset says."""
    Config.load(preset=preset)  # an unknown one is refused
    shipped = yaml.safe_load(SIMULATED_CONFIG.read_text(encoding="utf-8"))
    for section, settings in PRESETS.get(preset, {}).items():
        shipped[section] = {**shipped.get(section, {}), **settings}
    return yaml.safe_dump(shipped, sort_keys=False, default_flow_style=None)


@dataclass
class _Files:
    """The YAML files that a job writes for what was given to it as objects.

    Attributes:
        paths: name of the part -> its file.
        are_kept: whether the output folder holds what was made with them.
    """

    paths: dict[str, str]
    are_kept: bool = False


@contextmanager
def _files(folder: Path, texts: Mapping[str, str]) -> Iterator[_Files]:
    """Write each text; if the job is refused, what an earlier job had written is put back."""
    paths = {name: folder / f"{name}.yaml" for name in texts}
    before = {p: p.read_text(encoding="utf-8") for p in paths.values() if p.is_file()}
    for name, text in texts.items():
        write_text(paths[name], text)
    files = _Files({name: str(path) for name, path in paths.items()})
    try:
        yield files
    finally:
        for path, text in before.items() if not files.are_kept else ():
            write_text(path, text)


def _simulated_log(folder: Path, seed: int) -> str:
    log = folder / SIMULATED_LOG
    if not log.exists():
        simulate(log, SIMULATED_ROWS, seed=seed)
    return str(log)


def _settings(source: _JobInput, *, seeds: int, ablation: bool) -> Config:
    """The configuration: of seeds as many as asked for, and perhaps without an ablation."""
    config = Config.load(source.config or None, preset=source.preset)
    evidence = config.evidence
    if seeds:
        of_ablation = seeds if evidence.ablation_seeds else 0
        evidence = replace(evidence, seeds=seeds, control_seeds=seeds, ablation_seeds=of_ablation)
    if not ablation:
        evidence = replace(evidence, ablation_seeds=0)
    return replace(config, evidence=evidence)


def _tracker(folder: Path, data: str, console: Console) -> Tracker:
    def warn(line: str) -> None:
        text = f"warning: {line}"
        console.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)

    return Tracker(folder, judge=partial(judge_champion, out=folder, data=data), warn=warn)

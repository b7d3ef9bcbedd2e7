"""What the steps' command lines read, remember and say when something is wrong."""

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from recmtl.command.main import main
from recmtl.errors import ConfigError, RecmtlError
from recmtl.job.handed_on import JobContext
from recmtl.job.open_job import output_folder
from recmtl.script import ErrorLine
from recmtl.tracking import TrackedRun
from recmtl.train.config import Config
from recmtl.train.presets import PRESETS
from recmtl.vision.config import VisionConfig


class NoRun:
    """A tracker that opens runs which keep nothing."""

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __enter__(self) -> "NoRun":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, name: str) -> "NoRun":
        return self

    def log_params(self, config: object) -> None:
        pass

    log_environment = feed = lambda self: None


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[JobContext]:
    """The jobs that commands have opened, each of which ends where it would prepare its log."""
    jobs = list[JobContext]()

    def prepare(job: JobContext, run: TrackedRun) -> None:
        jobs.append(job)
        job.on_admitted()
        raise RecmtlError("out of rows")

    monkeypatch.setattr("recmtl.job.open_job.Tracker", NoRun)
    monkeypatch.setattr("recmtl.job.open_job.SIMULATED_ROWS", 50)
    monkeypatch.setattr("recmtl.job.steps.prepare", prepare)
    return jobs


def start(seen: list[JobContext], *arguments: str, name: str = "train") -> JobContext:
    before = len(seen)
    assert main([name, *arguments]) == 2
    assert len(seen) == before + 1
    return seen[-1]


def test_a_mistake_of_the_user_is_one_line_and_status_two() -> None:
    written = io.StringIO()
    with ErrorLine(Console(file=written, width=20)) as error:
        raise ConfigError("config.yaml: no key [bold]epoch[/bold]; did you mean 'epochs'?")
    assert error.status == 2
    line = "error: config.yaml: no key [bold]epoch[/bold]; did you mean 'epochs'?\n"
    assert written.getvalue() == line, "neither wrapped nor taken for markup"


def test_a_mistake_of_ours_keeps_its_traceback() -> None:
    written = io.StringIO()
    with pytest.raises(ZeroDivisionError), ErrorLine(Console(file=written)):
        1 / 0  # noqa: B018
    assert written.getvalue() == ""
    with ErrorLine(Console(file=written)) as error:
        pass
    assert error.status == 0


def test_an_error_of_a_step_is_its_exit_status(
    seen: list[JobContext], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.endswith("error: out of rows\n")


def test_a_step_goes_on_with_the_input_that_its_folder_was_begun_with(
    seen: list[JobContext], tmp_path: Path
) -> None:
    (tmp_path / "a.yaml").write_text("seed: 3\n")
    (tmp_path / "b.yaml").write_text("seed: 4\n")
    out = ["--out", str(tmp_path / "out")]
    first = start(
        seen, "--data", "log", "--schema", "s.yaml", "--config", str(tmp_path / "a.yaml"), *out
    )
    assert (first.data, first.schema, first.config.seed) == ("log", Path("s.yaml"), 3)
    later = start(seen, *out)
    assert (later.data, later.schema, later.config) == (first.data, first.schema, first.config)
    changed = start(seen, "--config", str(tmp_path / "b.yaml"), *out)
    assert (changed.data, changed.config.seed) == ("log", 4)
    assert start(seen, *out).config.seed == 4, "the newest configuration is kept"
    moved = start(seen, "--data", "other", "--schema", "s.yaml", *out)
    assert (moved.data, moved.config) == ("other", Config()), "what is named is taken"
    assert start(seen, *out).data == "other"


def test_only_preparing_takes_an_earlier_log_and_later_steps_keep_it(
    seen: list[JobContext], tmp_path: Path
) -> None:
    given = ["--data", "log", "--schema", "s.yaml", "--out", str(tmp_path)]
    assert start(seen, *given, "--like", "earlier/log", name="prepare").like == Path("earlier/log")
    assert start(seen, "--out", str(tmp_path)).like == Path("earlier/log")
    assert start(seen, *given, name="prepare").like is None
    assert main(["train", *given, "--like", "earlier/log"]) == 2 and len(seen) == 3


def test_a_folder_begun_before_earlier_logs_were_remembered_goes_on(
    seen: list[JobContext], tmp_path: Path
) -> None:
    former = {"data": "log", "schema": "s.yaml", "config": ""}
    (tmp_path / "job.json").write_text(json.dumps(former))
    job = start(seen, "--out", str(tmp_path))
    assert (job.data, job.schema, job.like) == ("log", Path("s.yaml"), None)


def test_a_new_folder_without_data_gets_a_simulated_log_once(
    seen: list[JobContext], tmp_path: Path
) -> None:
    first = start(seen, "--out", str(tmp_path / "out"))
    assert Path(first.data) == tmp_path / "out" / "simulated.parquet"
    written = Path(first.data).stat().st_mtime_ns
    assert first.config.rank_by == "p_click_and_purchase", "of the configuration that ships with it"
    assert start(seen, "--out", str(tmp_path / "out")).data == first.data
    (tmp_path / "out" / "job.json").unlink()
    assert start(seen, "--out", str(tmp_path / "out")).data == first.data
    assert Path(first.data).stat().st_mtime_ns == written


def test_seeds_of_the_command_line_replace_those_of_judged_models_and_controls(
    seen: list[JobContext], tmp_path: Path
) -> None:
    evidence = start(seen, "--out", str(tmp_path), "--seeds", "2").config.evidence
    assert (evidence.seeds, evidence.control_seeds, evidence.ablation_seeds) == (2, 2, 2)


def test_what_moved_the_metric_is_left_out_by_an_option_of_the_steps_that_show_it(
    seen: list[JobContext], tmp_path: Path
) -> None:
    options = ("--out", str(tmp_path), "--seeds", "2")
    for name in ("run", "evaluate", "benchmark"):
        evidence = start(seen, *options, "--no-ablation", name=name).config.evidence
        assert (evidence.seeds, evidence.ablation_seeds) == (2, 0)
        assert start(seen, *options, name=name).config.evidence.ablation_seeds == 2
    assert main(["search", *options, "--no-ablation"]) == 2 and len(seen) == 6


def test_a_preset_gives_what_the_configuration_leaves_open_and_is_kept(
    seen: list[JobContext], tmp_path: Path
) -> None:
    file, folder = tmp_path / "c.yaml", ("--out", str(tmp_path / "run"))
    file.write_text("evidence: {seeds: 7}\nsearch: {epochs: 4}\n")
    config = start(seen, *folder, "--preset", "best", "--config", str(file)).config
    assert (config.evidence.seeds, config.search.epochs) == (7, 4)  # of the file
    assert config.trees.enabled and config.evidence.ablation_seeds == 3  # of the preset
    assert start(seen, *folder).config == config
    assert main(["run", *folder, "--preset", "bset"]) == 2 and len(seen) == 2


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_alone_is_a_configuration(preset: str) -> None:
    config = Config.load(preset=preset)
    assert (config == Config()) == (preset == "default")


def test_a_folder_without_a_name_is_named_by_the_time_in_utc() -> None:
    assert output_folder("runs/mine") == Path("runs/mine")
    assert re.fullmatch(r"runs/\d{8}T\d{6}Z", str(output_folder("")))


def test_a_configuration_is_read_as_its_kind(tmp_path: Path) -> None:
    assert Config.load() == Config()
    path = tmp_path / "config.yaml"
    path.write_text("compare: [single_task]\n")
    assert VisionConfig.load(path).compare == ("single_task",)
    with pytest.raises(ConfigError, match="compare"):
        Config.load(path)
    with pytest.raises(ConfigError, match=r"none\.yaml: no such configuration"):
        Config.load(tmp_path / "none.yaml")

"""The command as people type it: help, slips of the pen, statuses, JSON, completion, lightness."""

import json
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from recmtl.command.base import Output
from recmtl.command.main import main, recmtl
from recmtl.command.options import OneOf, time_limit, whole_number
from recmtl.train.config import Config

ROOT = Path(__file__).parents[3]
COMMANDS = sorted(recmtl.commands)
HEAVY = {"torch", "pandas", "numpy", "pyarrow", "mlflow", "lightgbm", "sklearn", "yaml"}


def run_python(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=ROOT)


def test_the_group_has_the_commands_of_the_design() -> None:
    steps = {"run", "describe", "prepare", "search", "train", "evaluate", "report", "benchmark"}
    assert set(COMMANDS) == steps | {
        *(
            "score",
            "rank",
            "explain",
            "monitor",
            "challenge",
            "update",
            "tune",
            "backtest",
            "log",
            "config",
            "vision",
            "completion",
        )
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_explained(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    command = recmtl.commands[name]
    context = click.Context(command)
    options = [p for p in command.get_params(context) if isinstance(p, click.Option)]
    assert {"--quiet", "--json", "--debug", "--help"} <= {n for o in options for n in o.opts}
    assert [o.name for o in options if not o.help or o.opts[0] not in shown] == []
    assert not command.get_short_help_str(62).endswith("..."), "it fits a line of the list"


def test_help_of_every_command_loads_nothing_heavy() -> None:
    script = (
        "import sys; from recmtl.command.main import main\n"
        f"statuses = [main([name, '--help']) for name in {COMMANDS}]\n"
        f"print('loaded', set(sys.modules) & {HEAVY}, set(statuses))"
    )
    assert run_python("-c", script).stdout.endswith("loaded set() {0}\n")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["rnu"], "Did you mean 'run'?"),
        (["score", "--bundel", "b"], "Did you mean '--bundle'?"),
        (["run", "--preset", "fsat"], "'fsat' is not one of 'fast', 'default', 'best'"),
        (["run", "--seeds", "2.5"], "'2.5' is no number of things"),
        (["run", "--time-limit", "soon"], "'soon' is no length of time"),
        (["score"], "Missing option '--bundle'"),
    ],
)
def test_a_slip_of_the_pen_is_explained_with_status_two(
    words: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    written = capsys.readouterr()
    assert hint in written.err and written.out == ""


def test_empty_values_are_those_of_options_left_out() -> None:
    assert (whole_number(""), whole_number("5.0"), time_limit("")) == (0, 5, None)
    assert time_limit("1h30m") == 5400.0
    assert OneOf(["fast"]).convert("", None, None) == ""


def test_python_m_and_the_installed_script_are_the_command() -> None:
    done = run_python("-m", "recmtl", "--version")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (done.returncode, done.stdout) == (0, f"recmtl {project['version']}\n")
    assert project["scripts"] == {"recmtl": "recmtl.command.main:start"}
    assert run_python("-m", "recmtl", "rnu").returncode == 2


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_completion(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "_RECMTL_COMPLETE" in capsys.readouterr().out


def test_completion_proposes_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {
        "_RECMTL_COMPLETE": "bash_complete",
        "COMP_WORDS": "recmtl sc",
        "COMP_CWORD": "1",
    }.items():
        monkeypatch.setenv(name, value)
    assert main([]) == 0
    assert capsys.readouterr().out == "plain,score\n"


def test_a_configuration_is_checked_and_shown_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["config", "--preset", "fast"]) == 0
    whole = capsys.readouterr().out
    (tmp_path / "whole.yaml").write_text(whole)
    assert main(["config", str(tmp_path / "whole.yaml"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["evidence"]["seeds"] == 2 and set(shown) == set(vars(Config()))
    (tmp_path / "wrong.yaml").write_text("serach: {}\n")
    assert main(["config", str(tmp_path / "wrong.yaml")]) == 2
    assert "did you mean 'search'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("say", "text", "as_json"),
    [(Output.result, "line\n", '{\n  "rows": 3\n}\n'), (Output.summary, "", '{\n  "rows": 3\n}\n')],
)
def test_a_result_is_text_or_one_json_object(
    say: Callable[..., None], text: str, as_json: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    console = Console(stderr=True)
    say(Output(console), "line", {"rows": 3})
    assert capsys.readouterr().out == text
    say(Output(console, as_json=True), "line", {"rows": 3})
    assert capsys.readouterr().out == as_json

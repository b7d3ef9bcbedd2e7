"""The example of a Spark cluster: its commands are ones that there are, and say one thing."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from recmtl.command import main as command

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "spark"


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    text = (FOLDER / "docker-compose.yaml").read_text(encoding="utf-8")
    services: dict[str, Any] = yaml.safe_load(text)["services"]
    return services


def line_of(service: dict[str, Any]) -> str:
    shell, flag, line = service["command"]
    assert (shell, flag) == ("sh", "-c")
    return str(line).replace("$$", "$")


def test_all_services_share_one_image_and_one_disk(services: dict[str, Any]) -> None:
    assert set(services) == {"master", "worker", "job"}
    assert len({service["image"] for service in services.values()}) == 1
    assert {tuple(service["volumes"]) for service in services.values()} == {("./shared:/shared",)}
    context = (FOLDER / services["job"]["build"]["context"]).resolve()
    assert (context / services["job"]["build"]["dockerfile"]).is_file()


def test_there_are_two_workers_of_the_master_that_the_job_names(services: dict[str, Any]) -> None:
    assert services["worker"]["deploy"]["replicas"] == 2
    master = re.search(r"spark://\S+", line_of(services["worker"]))
    assert master is not None
    assert master[0] == "spark://master:7077"
    assert f"--master {master[0]}" in line_of(services["job"])
    assert "--host master --port 7077" in line_of(services["master"])


def test_the_job_calls_commands_with_options_that_there_are(services: dict[str, Any]) -> None:
    lines = line_of(services["job"]).split("&&")
    folders = set()
    for line in lines:
        program, name, *options = shlex.split(line)
        assert program == "recmtl"
        found_command = command.recmtl.get_command(click.Context(command.recmtl), name)
        assert found_command is not None
        context = found_command.make_context(name, options)
        folders.add(context.params["out"])
    assert folders == {"/shared/runs/mine"}


def test_the_script_runs_the_classes_of_the_services(services: dict[str, Any]) -> None:
    script = (FOLDER / "standalone.sh").read_text(encoding="utf-8")
    subprocess.run(["sh", "-n", str(FOLDER / "standalone.sh")], check=True)
    for service in (services["master"], services["worker"]):
        wanted = re.search(r"org\.apache\.spark\.\S+", line_of(service))
        assert wanted is not None
        assert f"begin {wanted[0]}" in script

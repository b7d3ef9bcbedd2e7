"""What is released: the wheel alone goes from a CSV file to verdict, report, scores and ranking.

The wheel is built from what the repository holds, installed into a folder of its own, and used in
an empty one, where nothing but the package's dependencies can be imported.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from recmtl.simulate import simulate

ROOT = Path(__file__).resolve().parents[2]
BUILD = "import sys; from setuptools import build_meta as b; print(getattr(b, sys.argv[1])('dist'))"
COLUMNS = ["request_id", "time_ms", "user_id", "item_id", "device", "price", "click", "purchase"]
TINY = """
sizes: {embedding: 2, tower: [4]}
grid: {cells: 2, depth: 1, widths: [4], max_edges: 1}
training: {batch_size: 512, epochs: 1, checks: 1}
search: {epochs: 1, candidates: 1}
evidence: {seeds: 1, controls: [shared_bottom], baselines: [logistic], bootstrap: 20}
workers: 1
"""
TEN_LINES = """
import pandas, recmtl
run = recmtl.fit("log.csv", tasks=["click", "purchase"], group="request_id", time="time_ms",
                 out="runs/python", preset="fast", config="tiny.yaml")
print(run.verdict())
print(run.report.path, run.scored)
print(run.ranking())
frame = pandas.read_csv("log.csv")
run.scorer().score(frame).to_csv("scores.csv", index=False)
run.ranker().rank(frame, by="p_click", group="request_id", k=3).to_csv("top.csv", index=False)
"""
COMMANDS = """
recmtl describe --data log.csv --task click --task purchase --group request_id --out s.yaml
recmtl run --data log.csv --schema s.yaml --preset fast --config tiny.yaml --out runs/command
recmtl score --bundle runs/command/bundle --input log.csv --output scored --keep request_id
recmtl rank --bundle runs/command/bundle --input log.csv --output ranking.parquet --k 3
"""


@dataclass(frozen=True)
class Released:
    """The wheel and the source archive, and the folder into which the wheel is installed."""

    wheel: Path
    source: Path
    site: Path

    def run(self, words: Sequence[str], folder: Path) -> str:
        """What a command prints that sees the wheel, its dependencies, and a working folder."""
        path = os.pathsep.join([str(self.site / "bin"), os.environ["PATH"]])
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "RECMTL_"))}
        kept |= {"PYTHONPATH": str(self.site), "PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"}
        done = subprocess.run(words, cwd=folder, env=kept, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout


def files_of_the_repository() -> list[str]:
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("the files of the repository are those that git lists")
    return [name for name in listing.stdout.splitlines() if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Released:
    clone = tmp_path_factory.mktemp("clone")
    for name in files_of_the_repository():
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, clone / name)
    for kind in ("build_sdist", "build_wheel"):
        words = [sys.executable, "-c", BUILD, kind]
        built = subprocess.run(words, cwd=clone, capture_output=True, text=True)
        assert built.returncode == 0, built.stderr
    wheel, source = next(clone.glob("dist/*.whl")), next(clone.glob("dist/*.tar.gz"))
    site = tmp_path_factory.mktemp("site")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, "--target", str(site), str(wheel)], check=True)
    return Released(wheel, source, site)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds a CSV file and a small configuration, and nothing else."""
    made, folder = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("empty")
    simulate(made / "log.parquet", 1500, users=60, items=40)
    pd.read_parquet(made / "log.parquet")[COLUMNS].to_csv(folder / "log.csv", index=False)
    (folder / "tiny.yaml").write_text(TINY)
    return folder


def test_the_wheel_holds_every_file_of_the_package(released: Released) -> None:
    package = {name for name in files_of_the_repository() if name.startswith("recmtl/")}
    names = set(zipfile.ZipFile(released.wheel).namelist())
    assert {name for name in names if name.startswith("recmtl/")} == package
    assert {"recmtl/py.typed", "recmtl/simulate/schema.yaml"} < package


def test_the_source_archive_holds_every_file_of_the_repository(released: Released) -> None:
    with tarfile.open(released.source) as archive:
        names = {member.name.partition("/")[2] for member in archive}
    hidden = {name for name in files_of_the_repository() if name.startswith(".")}
    assert set(files_of_the_repository()) - hidden - names == set()


def test_extras_are_those_that_users_are_told_of_and_all_is_all_of_them() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = extras["optional-dependencies"]
    for_users = sorted(set(extras) - {"all", "dev", "docs"})
    assert extras["all"] == [f"recmtl[{','.join(for_users)}]"]


def test_an_editable_install_is_found_from_the_folder_above_a_clone(
    released: Released, tmp_path: Path
) -> None:
    clone = released.wheel.parents[1]
    words = [sys.executable, "-c", BUILD, "build_editable"]
    subprocess.run(words, cwd=clone, capture_output=True, check=True)
    archive = zipfile.ZipFile(next(clone.glob("dist/*editable*.whl")))
    (entry,) = (name for name in archive.namelist() if name.endswith(".pth"))
    assert archive.read(entry).decode().split() == [str(clone)]


def test_ten_lines_of_python_go_from_a_csv_to_verdict_report_scores_and_ranking(
    released: Released, shop: Path
) -> None:
    assert len(TEN_LINES.strip().splitlines()) <= 10
    (shop / "ten.py").write_text(TEN_LINES)
    printed = released.run([sys.executable, "ten.py"], shop)
    assert any(word in printed for word in ("helped", "hurt", "not proven"))
    out = shop / "runs" / "python"
    assert (out / "report.html").stat().st_size > 10_000
    assert len(pd.read_parquet(out / "scored")) == len(pd.read_csv(shop / "scores.csv")) == 1500
    assert pd.read_csv(shop / "top.csv")["rank"].max() == 3
    where = "import recmtl; print(recmtl.__file__)"
    package = released.run([sys.executable, "-c", where], shop).strip()
    assert Path(package).is_relative_to(released.site)


def test_the_same_by_command(released: Released, shop: Path) -> None:
    lines = COMMANDS.strip().splitlines()
    printed = [released.run(line.split(), shop) for line in lines]
    assert any(word in printed[1] for word in ("helped", "hurt", "not proven"))
    out = shop / "runs" / "command"
    assert (out / "report.html").stat().st_size > 10_000
    assert len(pd.read_parquet(shop / "scored")) == 1500
    assert pd.read_parquet(shop / "ranking.parquet")["rank"].max() == 3

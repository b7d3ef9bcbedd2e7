"""The whole study on images by its command, and every configuration that comes with it."""

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import pytest

from recmtl.command.main import main
from recmtl.vision.config import VisionConfig
from recmtl.vision.data.registry import READERS, check_options

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(
    path
    for path in (ROOT / "pipelines" / "configs").glob("*/*.yaml")
    if "reader:" in path.read_text()
)
STUDY = """
data: {reader: multi_mnist, threads: 2, train_images: 40}
network:
  stem: {width: 4}
  trunk: {depths: [1, 1], widths: [6, 8], strides: [2, 2], dilations: [1, 1], norm: group}
  device: cpu
compare: [single_task, shared_bottom, adashare, branched]
training: {batch_size: 16, epochs: 1, checks: 1, health_rows: 8}
search: {epochs: 1, candidates: 2}
evidence: {seeds: 1}
workers: 2
"""


def write_digits(folder: Path, *, count: int = 80) -> None:
    """MNIST's own files, with bright squares for digits."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for name, size in (("train", count), ("t10k", 30)):
        labels = random.integers(0, 10, size).astype(np.uint8)
        images = random.integers(0, 40, (size, 28, 28)).astype(np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[label : label + 9, 5:20] = 250
        header = struct.pack(">IIII", 2051, size, 28, 28)
        (folder / f"{name}-images-idx3-ubyte.gz").write_bytes(
            gzip.compress(header + images.tobytes())
        )
        header = struct.pack(">II", 2049, size)
        (folder / f"{name}-labels-idx1-ubyte.gz").write_bytes(
            gzip.compress(header + labels.tobytes())
        )


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'runs.db'}")
    write_digits(tmp_path / "data" / "mnist")
    (tmp_path / "study.yaml").write_text(STUDY)
    paths = {"config": "study.yaml", "data": "data", "out": "out"}
    return [part for key, path in paths.items() for part in (f"--{key}", str(tmp_path / path))]


def test_a_study_is_run_told_and_gone_on_with(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["vision", *command]) == 0
    assert "AdaShare" in capsys.readouterr().out
    out = tmp_path / "out"
    results = json.loads((out / "results.json").read_text())
    assert set(results["tasks"]) == {"top_left", "bottom_right"}
    for task in results["tasks"].values():
        assert set(task) == {"single_task", "shared_bottom", "adashare", "branched"}
        assert 0.0 <= task["adashare"]["accuracy"]["mean"] <= 1.0
    assert results["share"]["of"] == "single_task"
    assert results["share"]["multiply_adds"]["single_task"] == 1.0
    assert results["gains"]["single_task"]["flat"]["mean"] == pytest.approx(0.0)
    page = (out / "report.html").read_text()
    assert page.count("data:image/svg+xml") == 2
    assert {path.name for path in (out / "routes").iterdir()} == {
        f"{name}-0.{kind}" for name in ("adashare", "branched") for kind in ("svg", "txt", "json")
    }
    assert json.loads((out / "results.json").read_text()) == results
    before = (out / "models" / "adashare" / "0" / "weights.safetensors").stat().st_mtime_ns
    assert main(["vision", *command]) == 0
    after = (out / "models" / "adashare" / "0" / "weights.safetensors").stat().st_mtime_ns
    assert before == after
    config = tmp_path / "study.yaml"
    study = config.read_text()
    config.write_text(study.replace("epochs: 1, checks", "epochs: 2, checks"))
    assert main(["vision", *command]) == 2
    assert "training.epochs was 1 and is 2" in capsys.readouterr().err
    config.write_text(study.replace("evidence: {", "evidence: {budget: 0.7, "))
    assert main(["vision", *command]) == 2
    assert "budget was 0.0 and is 0.7" in capsys.readouterr().err


def test_a_mistake_is_one_line(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    folder = command.index("--data") + 1
    command[folder] += "/nowhere"
    assert main(["vision", *command]) == 2
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_configurations_are_valid(path: Path) -> None:
    config = VisionConfig.load(path)
    command = f"# recmtl vision --config {path.relative_to(ROOT)} --data FOLDER\n"
    assert path.read_text().startswith(command)
    assert config.data.reader in READERS
    check_options(config.data.reader, config.data.options)
    network = config.network
    trunk = network.trunk.build(network.stem.width, cells=2)
    assert len(trunk.dynashare_rates()) == len(trunk.blocks)

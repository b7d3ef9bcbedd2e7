"""An update from Python and by the command: whose settings hold, and what is registered."""

import json
from pathlib import Path
from shutil import copytree

import pytest
from mlflow.tracking import MlflowClient

import recmtl
from recmtl.command.main import main
from recmtl.daily.parent import open_parent, require_calibration, settings_of
from recmtl.errors import ConfigError
from recmtl.serve.bundle import load_bundle
from tests.unit.daily.conftest import CONFIG, RELEASED


@pytest.fixture
def run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run whose bundle is of release 0.1."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    folder, config = tmp_path / "run", tmp_path / "config.yaml"
    config.write_text(CONFIG)
    copytree(RELEASED / "grid", folder / "bundle")
    begun = {"data": "log", "schema": "schema.yaml", "config": str(config)}
    (folder / "job.json").write_text(json.dumps(begun))
    return folder


@pytest.mark.slow
def test_a_run_is_updated_from_python_and_registered(
    run_folder: Path, tmp_path: Path, days: Path
) -> None:
    updated = recmtl.open(run_folder).update(
        days, out=tmp_path / "updated", search="never", promote="always", quiet=True
    )
    assert {"prepared", "trained", "judged", "bundled", "reported"} <= set(updated.done)
    assert "over its parent" in repr(updated)
    assert set(updated.leaderboard().index) == {"searched", "parent", "constant"}
    parent = load_bundle(run_folder / "bundle").fingerprint
    version = MlflowClient().get_model_version_by_alias("shop", "champion")
    assert version.tags["update.parent"] == parent and version.tags["update.number"] == "1"
    assert version.tags["bundle"] == load_bundle(updated.bundle).fingerprint
    begun = json.loads((updated.folder / "job.json").read_text())
    assert begun["config"] == str(tmp_path / "config.yaml")  # that of the run


def test_settings_are_those_of_the_run_unless_others_are_given(
    run_folder: Path, tmp_path: Path
) -> None:
    parent = open_parent(run_folder)
    assert settings_of(parent)["config"] == str(tmp_path / "config.yaml")
    assert settings_of(parent, preset="fast") == {
        "schema": parent.bundle.encoder.schema,
        "config": "",
        "preset": "fast",
    }
    of_bundle = open_parent(run_folder / "bundle")
    assert settings_of(of_bundle)["config"] == ""
    require_calibration(of_bundle, "none")  # it has no calibration that could be lost


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--require", "scratch:3"], "is none of the strategies"),
        (["--strategies", "wram"], "did you mean 'warm'"),
        (["--strategies", "warm:x"], "write a number of days"),
    ],
)
def test_a_backtest_names_what_is_wrong_before_it_begins(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", "log.parquet", "--schema", "schema.yaml", "--out", str(tmp_path / "out")]
    assert main(["backtest", *data, *options]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


def test_an_update_of_nothing_is_one_line(
    tmp_path: Path, days: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "out")]
    assert main(["update", "--run", str(tmp_path / "none"), "--data", str(days), *out]) == 2
    assert "no such folder" in " ".join(capsys.readouterr().err.split())


def test_a_calibrated_bundle_does_not_lose_its_calibration(run_folder: Path) -> None:
    class Calibrated:
        folder = run_folder

        class calibrators:
            columns = ("p_click",)

    class Parent:
        bundle = Calibrated

    with pytest.raises(ConfigError, match="give --config with the method"):
        require_calibration(Parent, "none")  # type: ignore[arg-type]
    require_calibration(Parent, "platt")  # type: ignore[arg-type]

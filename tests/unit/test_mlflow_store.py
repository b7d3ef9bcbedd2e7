"""Where the tracking store lies, and how what an MLflow URI names becomes a folder."""

import logging
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import mlflow
import pytest

from recmtl import mlflow_store
from recmtl.errors import BundleError
from recmtl.mlflow_store import (
    download_artifacts,
    quiet_mlflow,
    store_location,
    without_warnings,
)
from recmtl.serve.bundle.manifest import local_folder

ROOT = Path(__file__).resolve().parents[2]
URI = "MLFLOW_TRACKING_URI"


@pytest.fixture
def no_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Neither the environment nor MLflow names a store; nor does MLflow afterwards.

    To set what `get_tracking_uri` answered would name the default store, for all tests that follow.
    """
    monkeypatch.delenv(URI, raising=False)
    monkeypatch.setattr(mlflow_store, "_embedded_stores", set())
    mlflow.set_tracking_uri(None)
    yield
    mlflow.set_tracking_uri(None)


def test_the_embedded_store_lies_in_the_root(no_store: None, tmp_path: Path) -> None:
    root = tmp_path / "new" / "store"
    uri, artifacts = store_location(root)
    assert uri == f"sqlite:///{root}/mlflow.db"
    assert artifacts == (root / "mlartifacts").as_uri()
    assert not root.exists(), "to say where it is makes nothing"


def test_artifacts_of_any_sqlite_store_lie_beside_it(
    no_store: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URI, f"sqlite:///{tmp_path}/mine.db?timeout=9")
    assert store_location(tmp_path)[1] == (tmp_path / "mlartifacts").as_uri()
    monkeypatch.setenv(URI, "postgresql://host/name")
    assert store_location(tmp_path)[1] is None


def test_a_store_of_the_environment_wins_and_chooses_where_artifacts_go(
    no_store: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URI, "http://tracker:5000")
    assert store_location(tmp_path / "unused") == ("http://tracker:5000", None)
    assert not (tmp_path / "unused").exists()


def test_a_store_that_this_process_has_named_gives_way_to_another_root(
    no_store: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = store_location(tmp_path / "first")
    monkeypatch.setenv(URI, first)
    second, artifacts = store_location(tmp_path / "second")
    assert second == f"sqlite:///{tmp_path}/second/mlflow.db" and artifacts is not None


def test_what_a_file_uri_names_is_a_local_folder(no_store: None, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "manifest.json").write_text("{}")
    assert download_artifacts((tmp_path / "bundle").as_uri()) == tmp_path / "bundle"
    for uri in (tmp_path.as_uri(), (tmp_path / "bundle").as_uri()):
        assert local_folder(uri) == tmp_path / "bundle"


def test_a_folder_without_a_bundle_is_said_to_have_none(no_store: None, tmp_path: Path) -> None:
    (tmp_path / "model.txt").write_text("no bundle")
    with pytest.raises(BundleError, match=r"holds no bundle; name a model or folder that recmtl"):
        local_folder(tmp_path.as_uri())


def test_a_path_needs_no_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(uri: str) -> Path:
        raise AssertionError(f"{uri} was looked up")

    monkeypatch.setattr("recmtl.serve.bundle.manifest.download_artifacts", refuse)
    for path in ("runs/mine/bundle", "C:\\bundles", str(tmp_path)):
        assert local_folder(path) == Path(path)
    assert local_folder(Path("models:/shop/1")) == Path("models:/shop/1"), "a Path is a path"


@pytest.mark.parametrize("named", [True, False], ids=["a store of its own", "no store"])
def test_a_lookup_leaves_the_process_with_the_stores_that_it_had(
    no_store: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    if named:
        mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mine.db")
        os.environ.pop(URI, None)
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    searched = before[0] if named else f"sqlite:///{tmp_path}/mlflow.db"
    with pytest.raises(BundleError, match=rf"nowhere: not found in the store {searched} "):
        download_artifacts(f"file://{tmp_path}/nowhere")
    assert (mlflow.get_tracking_uri(), mlflow.get_registry_uri()) == before
    assert URI not in os.environ


def test_warnings_are_ignored_inside_and_raised_again_outside() -> None:
    with without_warnings():
        warnings.warn("of MLflow", UserWarning, stacklevel=1)
    with pytest.raises(UserWarning, match="ours"):
        warnings.warn("ours", UserWarning, stacklevel=1)


def test_mlflow_and_its_migrations_log_warnings_only() -> None:
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.DEBUG)
    quiet_mlflow()
    levels = [logging.getLogger(name).level for name in ("mlflow", "alembic")]
    assert levels == [logging.WARNING, logging.WARNING]


@pytest.mark.parametrize("module", ["recmtl.mlflow_store", "recmtl.serve"])
def test_serving_starts_without_mlflow_and_with_its_telemetry_off(module: str) -> None:
    code = f"import os, sys, {module}; print('mlflow' in sys.modules)"
    code += "; print(os.environ['MLFLOW_DISABLE_TELEMETRY'])"
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["False", "true"]

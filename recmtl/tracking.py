"""Tracking: the settings, the course and the results of a job, kept in MLflow.

A job joins the run that `mlflow run` has opened (MLFLOW_RUN_ID), and its steps nest in it. Models
are logged as code and a bundle; nothing is pickled. `recmtl.mlflow_store` says where the store is.
"""

import importlib.metadata
import json
import os
import platform
import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recmtl.mlflow_store import DEFAULT_ROOT, quiet_mlflow, store_location, without_warnings

# isort: split
# After the store's module: it switches telemetry off, which MLflow reads while it is imported.
import mlflow
from mlflow.entities import Metric, Param, RunTag
from mlflow.tracking import MlflowClient

from recmtl.errors import ConfigError
from recmtl.serve.bundle import load_bundle
from recmtl.serve.mlflow_signature import input_example, input_types, signature

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["LoggedModel", "Run", "Tracker"]

CHAMPION = "champion"
VERDICTS = ("helped", "hurt", "not proven")
REQUIREMENTS = ("torch", "numpy", "pandas", "pyarrow", "safetensors", "pyyaml", "rich", "mlflow")

MAX_KEY = 250
MAX_PARAM = 500
PARAMS_PER_CALL = 100
METRICS_PER_CALL = 1000
FLUSH_SECONDS = 5.0


@dataclass(frozen=True)
class LoggedModel:
    """A registered model version.

    Attributes:
        name: of the registered model.
        version: its number.
        model_uri: loads the model without the registry.
    """

    name: str
    version: str
    model_uri: str

    @property
    def uri(self) -> str:
        """What loads it from the registry.

        >>> LoggedModel("shop", "3", "").uri
        'models:/shop/3'
        """
        return f"models:/{self.name}/{self.version}"


class Tracker:
    """Opens runs in one experiment of one store.

    Args:
        root: folder of the embedded store, which is `mlflow.db` and `mlartifacts/`; ignored if
            MLFLOW_TRACKING_URI names a store.
        experiment: name of the experiment, unless `mlflow run` has chosen one.
    """

    def __init__(self, root: str | Path = DEFAULT_ROOT, *, experiment: str = "recmtl") -> None:
        quiet_mlflow()
        self.uri, artifacts = store_location(Path(root))
        mlflow.set_tracking_uri(self.uri)
        # For subprocesses; MLflow sets it only if the store differs from the one it had.
        os.environ["MLFLOW_TRACKING_URI"] = self.uri
        with without_warnings():
            self._client = MlflowClient(self.uri)
        choices = ("MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID", "MLFLOW_EXPERIMENT_NAME")
        self._experiment: str | None = None
        if not any(os.environ.get(name) for name in choices):
            self._experiment = self._find_experiment(experiment, artifacts)

    @contextmanager
    def run(self, name: str, *, tags: Mapping[str, object] | None = None) -> Iterator["Run"]:
        """Open a run, nested in the one that is open; an exception marks it as failed.

        The first run of a process that `mlflow run` started joins the run that it has opened.
        """
        nested = mlflow.active_run() is not None
        started = mlflow.start_run(
            run_name=name, nested=nested, experiment_id=None if nested else self._experiment
        )
        with started:
            run = Run(self._client, started.info.run_id)
            try:
                run.set_tags(tags or {})
                yield run
            finally:
                run.flush()

    def promote(self, model: LoggedModel, verdicts: Mapping[str, str]) -> bool:
        """Move the alias `champion` to a model version if no task was hurt.

        Args:
            model: what `Run.log_model` returned.
            verdicts: task -> helped, hurt or not proven.

        Returns:
            Whether the alias moved; the version's tag `champion` says why.

        Raises:
            ConfigError: there is no verdict, or one of another name.
        """
        unknown = sorted(set(verdicts.values()) - set(VERDICTS))
        if unknown or not verdicts:
            what = f"verdict {unknown[0]!r}" if unknown else "no verdicts"
            raise ConfigError(f"cannot promote {model.uri} on {what}; give {', '.join(VERDICTS)}")
        hurt = [task for task, verdict in verdicts.items() if verdict == "hurt"]
        reason = f"refused: hurts {', '.join(hurt)}" if hurt else "promoted: no task was hurt"
        if not hurt:
            self._client.set_registered_model_alias(model.name, CHAMPION, model.version)
        self._client.set_model_version_tag(model.name, model.version, CHAMPION, reason)
        return not hurt

    def _find_experiment(self, name: str, artifacts: str | None) -> str:
        experiment = self._client.get_experiment_by_name(name)
        if experiment is not None:
            return str(experiment.experiment_id)
        return str(self._client.create_experiment(name, artifact_location=artifacts))


class Run:
    """An open run. Metrics are collected and sent in batches, at the latest when it ends."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        self.run_id = run_id
        self._client = client
        self._metrics: list[Metric] = []
        self._sent = time.monotonic()

    def log_params(self, config: Mapping[str, Any]) -> None:
        """Log a nested configuration as `outer.inner` parameters, long values cut short.

        MLflow does not change a parameter. If the run already has one with another value, for
        instance from `mlflow run -P`, the value given here is logged as `config.<name>`.
        """
        flat = {_key(name): value for name, value in _flat(config)}
        present = self._client.get_run(self.run_id).data.params
        params = []
        for name, value in flat.items():
            if name not in present:
                params.append(Param(name, value))
            elif present[name] != value and f"config.{name}" not in present:
                params.append(Param(_key(f"config.{name}"), value))
        for first in range(0, len(params), PARAMS_PER_CALL):
            self._client.log_batch(self.run_id, params=params[first : first + PARAMS_PER_CALL])

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Collect the metrics of one step; the same name at several steps makes a curve."""
        now = int(time.time() * 1000)
        self._metrics += [Metric(_key(name), float(v), now, step) for name, v in metrics.items()]
        if len(self._metrics) >= METRICS_PER_CALL or time.monotonic() - self._sent > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send the metrics collected so far."""
        while self._metrics:
            batch = self._metrics[:METRICS_PER_CALL]
            self._client.log_batch(self.run_id, metrics=batch)
            del self._metrics[:METRICS_PER_CALL]
        self._sent = time.monotonic()

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Set all tags in one call."""
        if tags:
            pairs = [RunTag(_key(name), str(value)) for name, value in tags.items()]
            self._client.log_batch(self.run_id, tags=pairs)

    def log_text(self, text: str, path: str) -> None:
        """Store text as the artifact `path`."""
        self._client.log_text(self.run_id, text, path)

    def log_json(self, content: Any, path: str) -> None:
        """Store JSON-ready content as the artifact `path`."""
        self.log_text(json.dumps(content, indent=2) + "\n", path)

    def log_figure(self, figure: "Figure", path: str) -> None:
        """Store a matplotlib figure as the artifact `path` (its suffix says the format)."""
        self._client.log_figure(self.run_id, figure, path)

    def log_file(self, file: str | Path, folder: str | None = None) -> None:
        """Store a file, or all files of a folder, in the artifact folder `folder`."""
        log = self._client.log_artifacts if Path(file).is_dir() else self._client.log_artifact
        log(self.run_id, str(file), folder)

    def log_data(self, *, fingerprint: str, schema: str | Path) -> None:
        """Tag the run with the fingerprint of its data and store the schema file."""
        self.set_tags({"data.fingerprint": fingerprint})
        self.log_file(schema, "data")

    def log_environment(self) -> None:
        """Store all package versions as `environment.txt`; tag Python, torch and git commit."""
        versions = _installed()
        lines = [f"{name}=={version}" for name, version in sorted(versions.items())]
        self.log_text("\n".join(lines) + "\n", "environment.txt")
        tags = {"python": platform.python_version(), "platform": platform.platform()}
        tags |= {name: versions[name] for name in ("recmtl", "torch") if name in versions}
        commit = _git("rev-parse", "HEAD")
        if commit:
            dirty = "-dirty" if _git("status", "--porcelain") else ""
            tags["git.commit"] = commit + dirty
        self.set_tags(tags)

    def log_model(self, bundle: str | Path, *, name: str = "recmtl") -> LoggedModel:
        """Log a bundle folder as an MLflow model and register it as a new version of `name`.

        Signature and input example are those of `recmtl.serve.mlflow_signature`.
        """
        loaded = load_bundle(bundle)
        with without_warnings():
            info = mlflow.pyfunc.log_model(
                name="model",
                python_model=str(Path(__file__).parent / "serve" / "mlflow_model.py"),
                artifacts={"bundle": str(loaded.folder)},
                signature=signature(loaded),
                input_example=input_example(loaded),
                metadata={"recmtl.input_types": input_types(loaded)},
                pip_requirements=_requirements(),
                registered_model_name=name,
            )
        return LoggedModel(name, str(info.registered_model_version), str(info.model_uri))


def _requirements() -> list[str]:
    versions = _installed()
    return [f"{name}=={versions[name]}" for name in REQUIREMENTS if name in versions]


def _installed() -> dict[str, str]:
    packages = importlib.metadata.distributions()
    return {package.name.lower(): package.version for package in packages if package.name}


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as (dotted name, text); text beyond MLflow's limit is cut short."""
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, default=str)
            yield f"{prefix}{name}", text if len(text) <= MAX_PARAM else f"{text[: MAX_PARAM - 1]}…"


def _key(name: str) -> str:
    """A name of the characters and the length that MLflow accepts."""
    return re.sub(r"[^\w\-. /]", "_", name, flags=re.ASCII)[:MAX_KEY]


def _git(*arguments: str) -> str:
    """Output of a git command in the working folder, empty where there is no git or repository."""
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()

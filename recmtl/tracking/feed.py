"""The feed: events of the journal, on their way into MLflow.

What has arrived is known by the tracker, not by the output folder: a run carries the key that it
has in the journal as its tag `recmtl.run`, and as `recmtl.logged` the number of its events that it
holds. A feed that was cut off, or is begun once more, therefore goes on where the tracker stands,
and another tracker gets everything.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from recmtl.mlflow_store import make_store, quiet_mlflow, valid_key

# isort: split
# After the store's module: it switches telemetry off, which MLflow reads while it is imported.
import mlflow
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from recmtl.errors import RecmtlError
from recmtl.tracking.champion import Judge, RegisteredModel
from recmtl.tracking.journal import Event, Journal
from recmtl.tracking.model import register
from recmtl.tracking.run import content_digest

__all__ = ["Feed"]

RUN, LOGGED = "recmtl.run", "recmtl.logged"
REFUSED = ("INVALID_PARAMETER_VALUE", "RESOURCE_ALREADY_EXISTS")
"""Codes with which a tracker says that it will never take something; others may pass."""

METRICS_PER_CALL, OTHERS_PER_CALL = 800, 90
"""MLflow takes 1,000 entries a call, at most 100 of them parameters and 100 of them tags."""

MODEL_S = 600.0
"""Seconds more that the upload of a model may take."""

# A tracker that is down should be known for it within seconds; MLflow tries for four minutes.
BOUNDS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
}


@dataclass
class _TrackedRun:
    """A run of the journal within the tracker: its id there, and how many events it holds."""

    run_id: str
    experiment_id: str
    logged: int
    position: int = 0


@dataclass
class _Batch:
    """Parameters, metrics and tags of one run that travel together.

    Attributes:
        run: that they belong to.
        position: of the last event that is in the batch.
    """

    run: _TrackedRun
    position: int = 0
    params: dict[str, str] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)


class Feed:
    """Feeds one journal to one tracker.

    Args:
        journal: of an output folder.
        uri: of the tracker.
        artifacts: where artifacts of a new experiment go; None if the tracker decides.
        judge: compares a bundle with the present champion; without it no champion is made.
        alive: called whenever something has arrived, with the seconds that the next may take.

    Attributes:
        events: how many have arrived, those included that were refused.
        notes: what the tracker refused, or what was no longer there to be logged.
        models: that were registered.
    """

    def __init__(
        self,
        journal: Journal,
        uri: str,
        *,
        artifacts: str | None,
        judge: Judge | None,
        alive: Callable[[float], None],
    ) -> None:
        for name, value in BOUNDS.items():
            os.environ.setdefault(name, value)
        quiet_mlflow()
        alive(0.0)  # what was slow until here is MLflow's import
        make_store(uri)
        alive(0.0)
        mlflow.set_tracking_uri(uri)
        self._client = MlflowClient(uri)
        self._journal, self._artifacts = journal, artifacts
        self._judge, self._alive = judge, alive
        self._offset = 0
        self._runs: dict[str, _TrackedRun] = {}
        self._batch: _Batch | None = None
        self.events = 0
        self.notes: list[str] = []
        self.models: list[RegisteredModel] = []

    @property
    def runs(self) -> int:
        """Number of runs that the journal has named so far."""
        return len(self._runs)

    def send(self) -> None:
        """Send every event that has been written since the last call.

        Raises:
            Exception: whatever MLflow or the file system raises; what has arrived is known.
        """
        events, offset = self._journal.read(self._offset)
        for event in events:
            run = self._runs.get(event["run"])
            if event["event"] == "start" and run is None:
                run = self._runs[event["run"]] = self._open(event)
            if run is None:
                continue  # its start was lost with the tail of a killed process
            run.position += 1
            if run.position > run.logged:
                self._take(run, event)
                self.events += 1
                self._alive(0.0)
        self._flush()
        self._offset = offset

    def _take(self, run: _TrackedRun, event: Event) -> None:
        if event["event"] in ("params", "metrics", "tags"):
            self._collect(run, event)
            return
        self._flush()
        handler = getattr(self, f"_log_{event['event']}", None)
        if handler is not None:
            self._unless_refused(partial(handler, run, event), f"{event['event']} {_name(event)}")
        self._mark(run, run.position)

    def _open(self, event: Event) -> _TrackedRun:
        """Find the run in the tracker, join the one that it was told to join, or make it."""
        parent = self._runs.get(event["parent"] or "")
        experiment = parent.experiment_id if parent else self._experiment(event)
        key = event["run"]
        earlier = self._client.search_runs([experiment], f"tags.`{RUN}` = '{key}'", max_results=1)
        if earlier:
            return _TrackedRun(earlier[0].info.run_id, experiment, _count(earlier[0].data.tags))
        tags = {RUN: key, LOGGED: "1", **event["tags"]}
        if parent:
            tags["mlflow.parentRunId"] = parent.run_id
        joined = self._joined(event, key)
        if joined is not None:
            for name in (LOGGED, RUN):
                self._client.set_tag(joined.info.run_id, name, tags[name])
            return _TrackedRun(joined.info.run_id, joined.info.experiment_id, 1)
        made = self._client.create_run(
            experiment, start_time=event["time"], tags=tags, run_name=event["name"]
        )
        return _TrackedRun(made.info.run_id, experiment, 1)

    def _joined(self, event: Event, key: str) -> Any:
        """The run that `mlflow run` had opened for the job, if this tracker has it."""
        if not event["joins"]:
            return None
        try:
            run = self._client.get_run(event["joins"])
        except MlflowException as fault:
            if fault.error_code in ("RESOURCE_DOES_NOT_EXIST", *REFUSED):
                return None
            raise
        return run if run.data.tags.get(RUN, key) == key else None

    def _experiment(self, event: Event) -> str:
        """Id of the experiment that the job had chosen, by number or by name."""
        number, name = event["experiment_id"], event["experiment"]
        if number:
            try:
                return str(self._client.get_experiment(number).experiment_id)
            except MlflowException as fault:
                if fault.error_code not in ("RESOURCE_DOES_NOT_EXIST", *REFUSED):
                    raise
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            try:
                return str(self._client.create_experiment(name, artifact_location=self._artifacts))
            except MlflowException:
                # Another job may have made it in the meantime.
                experiment = self._client.get_experiment_by_name(name)
                if experiment is None:
                    raise
        return str(experiment.experiment_id)

    def _collect(self, run: _TrackedRun, event: Event) -> None:
        """Add to the batch; what follows in the journal for the same run travels in one call."""
        full = self._batch is not None and len(self._batch.metrics) >= METRICS_PER_CALL
        if self._batch is None or self._batch.run is not run or full:
            self._flush()
            self._batch = _Batch(run)
        batch = self._batch
        batch.position = run.position
        for name, text in event.get("params", {}).items():
            changed = batch.params.get(valid_key(name), text) != text
            batch.params[valid_key(f"config.{name}" if changed else name)] = text
        batch.tags |= {valid_key(name): text for name, text in event.get("tags", {}).items()}
        batch.metrics += [
            Metric(valid_key(name), float(value), event["time"], event["step"])
            for name, value in event.get("metrics", {}).items()
        ]

    def _flush(self) -> None:
        batch, self._batch = self._batch, None
        if batch is None:
            return
        params = self._new_params(batch) if batch.params else []
        tags = [RunTag(name, text) for name, text in batch.tags.items()]
        metrics = batch.metrics
        while params or metrics or tags:
            self._log_batch(
                batch.run,
                metrics[:METRICS_PER_CALL],
                params[:OTHERS_PER_CALL],
                tags[:OTHERS_PER_CALL],
            )
            metrics = metrics[METRICS_PER_CALL:]
            params, tags = params[OTHERS_PER_CALL:], tags[OTHERS_PER_CALL:]
        self._mark(batch.run, batch.position)

    def _log_batch(
        self, run: _TrackedRun, metrics: list[Metric], params: list[Param], tags: list[RunTag]
    ) -> None:
        try:
            self._client.log_batch(run.run_id, metrics, params, tags)
        except MlflowException as fault:
            if fault.error_code not in REFUSED:
                raise
            # One by one, so that only what is refused is left out.
            single: list[tuple[str, Mapping[str, Any]]] = []
            single += [(f"metric {metric.key}", {"metrics": [metric]}) for metric in metrics]
            single += [(f"parameter {param.key}", {"params": [param]}) for param in params]
            single += [(f"tag {tag.key}", {"tags": [tag]}) for tag in tags]
            for what, entry in single:
                self._unless_refused(partial(self._client.log_batch, run.run_id, **entry), what)

    def _new_params(self, batch: _Batch) -> list[Param]:
        """Parameters that the run lacks; those it has with another value as `config.<name>`."""
        present = self._client.get_run(batch.run.run_id).data.params
        params = []
        for name, text in batch.params.items():
            if name not in present:
                params.append(Param(name, text))
            elif present[name] != text and f"config.{name}" not in present:
                params.append(Param(valid_key(f"config.{name}"), text))
        return params

    def _log_text(self, run: _TrackedRun, event: Event) -> None:
        self._client.log_text(run.run_id, event["text"], event["path"])

    def _log_file(self, run: _TrackedRun, event: Event) -> None:
        path = self._journal.file(event["file"])
        if content_digest(path) != event["digest"]:
            self.notes.append(f"{path}: left out, since it is not the file that this run wrote")
            return
        self._client.log_artifact(run.run_id, str(path))

    def _log_model(self, run: _TrackedRun, event: Event) -> None:
        self._alive(MODEL_S)
        folder = self._journal.file(event["folder"])
        if content_digest(folder / "manifest.json") != event["digest"]:
            self.notes.append(f"{folder}: left out, since it is not the bundle that this run wrote")
            return
        model, note = register(
            self._client, run.run_id, folder, event=event, judge=self._judge, alive=self._alive
        )
        self.models.append(model)
        self.notes += [note] if note else []

    def _log_end(self, run: _TrackedRun, event: Event) -> None:
        self._client.set_terminated(run.run_id, event["status"], event["time"])

    def _unless_refused(self, log: Callable[[], object], what: str) -> None:
        """Log something; what the tracker will never take becomes a note and is passed over."""
        try:
            log()
        except RecmtlError as fault:
            self.notes.append(f"{what}: {fault}")
        except MlflowException as fault:
            if fault.error_code not in REFUSED:
                raise
            self.notes.append(f"{what}: refused by the tracker ({str(fault).splitlines()[0]})")

    def _mark(self, run: _TrackedRun, position: int) -> None:
        """Let the run know how many of its events it holds."""
        self._client.set_tag(run.run_id, LOGGED, str(position))
        run.logged = position


def _count(tags: Mapping[str, str]) -> int:
    text = tags.get(LOGGED, "1")
    return int(text) if text.isdigit() else 1


def _name(event: Event) -> str:
    return str(event.get("path") or event.get("file") or event.get("name") or "")

"""A bundle as a registered model: logged as code and a bundle, so that nothing is pickled."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from recmtl.errors import first_line
from recmtl.serve.bundle import Bundle, load_bundle
from recmtl.serve.mlflow_signature import input_example, input_types, signature
from recmtl.tracking.champion import Judge, RegisteredModel, crown
from recmtl.tracking.journal import Event
from recmtl.tracking.run import installed_versions

__all__ = ["register"]

MODEL_CODE = Path(__file__).parents[1] / "serve" / "mlflow_model.py"
REQUIREMENTS = ("torch", "numpy", "pandas", "pyarrow", "safetensors", "pyyaml", "rich", "mlflow")


def register(
    client: MlflowClient,
    run_id: str,
    folder: Path,
    *,
    event: Event,
    judge: Judge | None,
    alive: Callable[[float], None],
) -> tuple[RegisteredModel, str]:
    """Register a bundle as a version of a model, unless this run has done so, and judge it.

    Signature and input example are those of `recmtl.serve.mlflow_signature`.

    Args:
        client: of the tracker.
        run_id: of the run that logs it.
        folder: of the bundle.
        event: of the journal: name, tags and description of the version, and whether to promote.
        judge: compares the bundle with the present champion.
        alive: called while that takes long.

    Returns:
        The version, and what had to be left out of it; usually an empty text.
    """
    # MLflow takes neither of them in the name of a model.
    name = event["name"].replace("/", "_").replace(":", "_")
    bundle, note = load_bundle(folder), ""
    earlier = client.search_model_versions(f"run_id='{run_id}'")
    version = next((v for v in earlier if v.name == name), None)
    if version is None:
        note = _log(bundle, name, run_id)
        version = next(
            v for v in client.search_model_versions(f"run_id='{run_id}'") if v.name == name
        )
    model = RegisteredModel(name, str(version.version), str(version.source))
    tags = {**event["tags"], "bundle": bundle.fingerprint, "run_id": run_id}
    for key, text in tags.items():
        client.set_model_version_tag(name, model.version, key, str(text))
    if event["description"]:
        client.update_model_version(name, model.version, event["description"])
        client.update_registered_model(name, event["description"])
    if judge is None:
        return model, note
    decision = crown(client, model, event["promote"], judge=judge, alive=alive)
    return replace(model, decision=decision), note


def _log(bundle: Bundle, name: str, run_id: str) -> str:
    """Log the model within a run and register it; returns what had to be left out."""
    note, example = "", input_example(bundle)
    mlflow.start_run(run_id=run_id, nested=True)
    try:
        try:
            _log_pyfunc(bundle, name, example)
        except (TypeError, ValueError, MlflowException) as fault:
            note = f"model {name}: logged without an input example ({first_line(fault)[:200]})"
            _log_pyfunc(bundle, name, None)
    finally:
        mlflow.end_run("RUNNING")  # the journal says how it ends
    return note


def _log_pyfunc(bundle: Bundle, name: str, example: Any) -> None:
    mlflow.pyfunc.log_model(
        name="model",
        python_model=str(MODEL_CODE),
        artifacts={"bundle": str(bundle.folder)},
        signature=signature(bundle),
        input_example=example,
        metadata={"recmtl.input_types": input_types(bundle)},
        pip_requirements=_requirements(),
        registered_model_name=name,
    )


def _requirements() -> list[str]:
    versions = installed_versions()
    return [f"{name}=={versions[name]}" for name in REQUIREMENTS if name in versions]

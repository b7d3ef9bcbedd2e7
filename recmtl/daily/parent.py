"""The bundle that an update starts from, and the settings with which it was trained."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recmtl.atomic import read_json
from recmtl.errors import BundleError, ConfigError, DataError
from recmtl.job.problem_kind import LOG
from recmtl.model import BlendedModel, TabularModel
from recmtl.serve.bundle import Bundle, load_bundle
from recmtl.train.config import Config

__all__ = ["Parent", "open_parent", "require_calibration", "settings_of"]

JOB, BUNDLE, MANIFEST = "job.json", "bundle", "manifest.json"


@dataclass(frozen=True)
class Parent:
    """A verified bundle, and what its run was begun with.

    Attributes:
        bundle: the bundle.
        config: the configuration file of its run; empty where there is none.
        preset: of its run.
    """

    bundle: Bundle
    config: str = ""
    preset: str = ""

    @property
    def networks(self) -> tuple[TabularModel, ...]:
        """The networks that the bundle serves: one, or the members of a blend."""
        model = self.bundle.model
        return model.networks if isinstance(model, BlendedModel) else (model,)


def open_parent(run: str | Path) -> Parent:
    """Open what is to be updated: the output folder of a run, a bundle, or the MLflow URI of one.

    A run's configuration is kept; that of a bundle alone is not known.

    Raises:
        BundleError: the bundle is refused, or it is of a kind that cannot be updated.
        DataError: the run has no bundle yet.
    """
    folder = Path(run)
    if not (folder / JOB).is_file():
        return Parent(_updatable(load_bundle(run)))
    if not (folder / BUNDLE / MANIFEST).is_file():
        has_log = (folder / LOG).is_dir()
        how = "finish it with recmtl run --out" if has_log else "run it with recmtl run --out"
        raise DataError(f"{folder}: has no bundle yet; {how} {folder}")
    begun = read_json(folder / JOB, remedy="give the bundle itself, with --config")
    bundle = _updatable(load_bundle(folder / BUNDLE))
    return Parent(bundle, str(begun.get("config", "")), str(begun.get("preset", "")))


def _updatable(bundle: Bundle) -> Bundle:
    """Refuse what has parts that were made of the rows of one log, and cannot go on with others."""
    without_time = [entry.name for entry in bundle.encoder.schema.statistics]
    if without_time and bundle.encoder.schema.roles.time is None:
        raise BundleError(
            f"{bundle.folder}: cannot be updated: its statistics {without_time[0]!r} have no "
            "periods that days could follow; state roles.time in the schema and train anew"
        )
    return bundle


def require_calibration(parent: Parent, method: str) -> None:
    """Refuse settings that would drop the calibration which the parent has.

    Raises:
        ConfigError: the parent is calibrated, and `method` is `none`.
    """
    calibrators = parent.bundle.calibrators
    if calibrators is not None and calibrators.columns and method == "none":
        raise ConfigError(
            f"{parent.bundle.folder}: is calibrated, and the configuration says calibration.method "
            "none; give --config with the method"
        )


def settings_of(
    parent: Parent, *, config: str | Path | Config = "", preset: str = ""
) -> dict[str, Any]:
    """The schema and the configuration of an update, as `open_job` takes them.

    The schema is that of the bundle's encoder. Without a configuration that of the parent's run is
    kept.
    """
    if not config and not preset:
        config, preset = parent.config, parent.preset
    return {"schema": parent.bundle.encoder.schema, "config": config, "preset": preset}

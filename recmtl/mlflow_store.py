"""Where MLflow keeps runs and models, and how a URI becomes a local folder.

The store is a SQLite file with an artifact folder beside it, unless MLFLOW_TRACKING_URI names
another. MLflow takes seconds to import, so that the functions that need it import it themselves.
`recmtl.serve` loads bundles from here, and `recmtl.tracking`, above both, writes runs and models.
"""

import fcntl
import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recmtl.atomic import new_file
from recmtl.errors import BundleError, first_line

__all__ = [
    "DEFAULT_ROOT",
    "download_artifacts",
    "make_store",
    "quiet_mlflow",
    "store_location",
    "valid_key",
    "without_warnings",
]

# MLflow reads both while it is imported. Without the first, every process would send a request to
# MLflow's makers.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

# Where MLflow itself keeps its store, so that `mlflow run`, scripts and services meet in one.
DEFAULT_ROOT = Path()

MAX_KEY = 250

_embedded_stores: set[str] = set()


def store_location(root: Path) -> tuple[str, str | None]:
    """The tracking URI, and where artifacts go if the store is a SQLite file: beside it.

    A MLFLOW_TRACKING_URI that a user has set wins; one that this process has set does not.
    """
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri or uri in _embedded_stores:
        uri = f"sqlite:///{root.resolve() / 'mlflow.db'}"
        _embedded_stores.add(uri)
    file = _sqlite_file(uri)
    return uri, None if file is None else (file.parent / "mlartifacts").as_uri()


def make_store(uri: str) -> None:
    """Make the SQLite file of a store unless it is there: one process at a time, whole or not.

    MLflow makes it in many steps, which a second process would disturb and a killed one would leave
    half done.
    """
    file = _sqlite_file(uri)
    if file is None or _holds_something(file):
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f".{file.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # freed by the system when the process ends
        if _holds_something(file):
            return
        # Here, since it takes seconds and most processes find a store.
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        with new_file(file) as partial, without_warnings():
            artifacts = (file.parent / "mlartifacts").as_uri()
            store = SqlAlchemyStore(f"sqlite:///{partial}", artifacts)  # type: ignore[no-untyped-call]
            store.engine.dispose()


def download_artifacts(uri: str) -> Path:
    """Bring what an MLflow URI names (`models:/name@alias`, `runs:/id/path`) to a local folder.

    The store is the one that the process or MLFLOW_TRACKING_URI has set, or the embedded one of
    the working folder.

    Raises:
        BundleError: the store holds nothing of that name.
    """
    import mlflow  # here, since it takes seconds and a bundle in a folder does not need it

    quiet_mlflow()
    store = os.environ.get("MLFLOW_TRACKING_URI") or store_location(DEFAULT_ROOT)[0]
    if mlflow.is_tracking_uri_set():  # type: ignore[no-untyped-call]  # MLflow leaves it untyped
        store = mlflow.get_tracking_uri()
    make_store(store)
    try:
        with without_warnings(), _searched_by_mlflow(store):
            return Path(mlflow.artifacts.download_artifacts(uri))
    except ImportError as error:
        # Before OSError and all others: the store of a URI's scheme needs a package of its own.
        package = (error.name or str(error)).partition(".")[0]
        remedy = f"install the package that holds {package!r}, or copy the bundle here"
        raise BundleError(f"{uri}: has no driver here ({error}); {remedy}") from None
    except Exception as error:  # MLflow's, the system's, or those of a remote driver
        reason = first_line(error)
        remedy = "check the name, and that the store can be reached"
        raise BundleError(f"{uri}: not found in the store {store} ({reason}); {remedy}") from None


def quiet_mlflow() -> None:
    """Keep MLflow and its migrations from logging what went well."""
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _sqlite_file(uri: str) -> Path | None:
    """The file of a SQLite store; None for any other store."""
    scheme, _, place = uri.partition(":///")
    name = place.partition("?")[0]
    return Path(name).resolve() if scheme.partition("+")[0] == "sqlite" and name else None


def _holds_something(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0


def valid_key(name: str) -> str:
    """A name for a parameter, metric or tag, of the letters and the length that MLflow accepts.

    >>> valid_key("gain.a|b")
    'gain.a_b'
    """
    return re.sub(r"[^\w\-. /]", "_", name, flags=re.ASCII)[:MAX_KEY]


@contextmanager
def without_warnings() -> Iterator[None]:
    """Ignore the warnings of MLflow's parts, of their own type hints, as they are first loaded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _searched_by_mlflow(store: str) -> Iterator[None]:
    """Make a store the process's own for a while: MLflow looks up aliases in no other."""
    import mlflow  # here, since it takes seconds

    # What was not set is unset again, in the environment too, where MLflow keeps both.
    names = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")
    absent = [name for name in names if name not in os.environ]
    is_set = mlflow.is_tracking_uri_set()  # type: ignore[no-untyped-call]
    tracking, registry = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    mlflow.set_tracking_uri(store)
    mlflow.set_registry_uri(store)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(tracking if is_set else None)  # type: ignore[arg-type]
        mlflow.set_registry_uri(registry if registry != tracking else None)  # type: ignore[arg-type]
        for name in absent:
            os.environ.pop(name, None)

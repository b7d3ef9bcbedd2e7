"""A run as the job sees it: what is logged becomes events of the journal."""

import importlib.metadata
import json
import math
import platform
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from recmtl.masking import mask
from recmtl.tracking.journal import Journal, now_ms

__all__ = ["TrackedRun", "content_digest", "installed_versions"]

MAX_PARAM = 500


@dataclass(frozen=True)
class TrackedRun:
    """An open run. Everything that is logged is in the journal when a method returns.

    Attributes:
        key: of the run in the journal, and its tag `recmtl.run` in the tracker.
        journal: of the output folder.
    """

    key: str
    journal: Journal = field(repr=False)

    def log_params(self, config: Mapping[str, Any]) -> None:
        """Log a nested configuration as `outer.inner` parameters, long values cut short.

        A tracker does not change a parameter. If the run already has one with another value, for
        instance from `mlflow run -P`, the new value is logged as `config.<name>`.
        """
        self._event("params", params=dict(_flat(config)))

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Log the metrics of one step; the same name at several steps makes a curve."""
        values = {name: _plain(float(value)) for name, value in metrics.items()}
        self._event("metrics", metrics=values, step=step, time=now_ms())

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Set tags; a later value replaces an earlier one."""
        if tags:
            self._event("tags", tags={name: str(value) for name, value in tags.items()})

    def log_text(self, text: str, path: str) -> None:
        """Store text as the artifact `path`."""
        self._event("text", path=path, text=text)

    def log_json(self, content: Any, path: str) -> None:
        """Store JSON-ready content as the artifact `path`."""
        self.log_text(json.dumps(content, indent=2) + "\n", path)

    def log_file(self, file: str | Path) -> None:
        """Store a file of the output folder as an artifact of its name.

        Raises:
            ConfigError: the file lies elsewhere.
        """
        path = Path(file)
        name = self.journal.name_of(path)
        self._event("file", file=name, digest=content_digest(path))

    def log_data(self, *, fingerprint: str, schema: str | Path) -> None:
        """Tag the run with the fingerprint of its data and store the schema file."""
        self.set_tags({"data.fingerprint": fingerprint})
        self.log_text(Path(schema).read_text(encoding="utf-8"), f"data/{Path(schema).name}")

    def log_environment(self) -> None:
        """Store all package versions as `environment.txt`; tag Python, torch and git commit."""
        versions = installed_versions()
        lines = [f"{name}=={version}" for name, version in sorted(versions.items())]
        self.log_text("\n".join(lines) + "\n", "environment.txt")
        tags = {"python": platform.python_version(), "platform": platform.platform()}
        tags |= {name: versions[name] for name in ("recmtl", "torch") if name in versions}
        commit = git_commit()
        if commit:
            tags["git.commit"] = commit
        self.set_tags(tags)

    def log_model(
        self,
        bundle: str | Path,
        *,
        name: str = "recmtl",
        tags: Mapping[str, str] | None = None,
        description: str = "",
        promote: str = "",
    ) -> None:
        """Register a bundle of the output folder as a new version of the model `name`.

        Args:
            bundle: the bundle's folder.
            name: of the registered model.
            tags: of the version, such as the fingerprint of its data.
            description: of the version, in Markdown.
            promote: `always` or `never` to move the alias `champion` or not, whatever the
                comparison with the present champion says; empty to move it if it says so.

        Raises:
            ConfigError: the bundle lies elsewhere.
        """
        folder = Path(bundle)
        self._event(
            "model",
            folder=self.journal.name_of(folder),
            digest=content_digest(folder / "manifest.json"),
            name=name,
            tags=dict(tags or {}),
            description=description,
            promote=promote,
        )

    def _event(self, event: str, **content: Any) -> None:
        self.journal.append(self.key, event, **content)


def content_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal; empty if it cannot be read."""
    try:
        return sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def installed_versions() -> dict[str, str]:
    """Versions of the installed packages, by name in lower case."""
    packages = importlib.metadata.distributions()
    return {package.name.lower(): package.version for package in packages if package.name}


def _plain(value: float) -> float | str:
    """A number of JSON, or the text of one that JSON lacks: NaN and infinity."""
    return value if math.isfinite(value) else str(value)


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as (dotted name, text); text beyond MLflow's limit is cut short."""
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            # Masked before it is cut: half a URL is not known for one.
            text = mask(value if isinstance(value, str) else json.dumps(value, default=str))
            yield f"{prefix}{name}", text if len(text) <= MAX_PARAM else f"{text[: MAX_PARAM - 1]}…"


def git_commit() -> str:
    """The commit of the working folder, `-dirty` if it was changed; empty outside a repository."""
    commit = _git("rev-parse", "HEAD")
    return f"{commit}-dirty" if commit and _git("status", "--porcelain") else commit


def _git(*arguments: str) -> str:
    """Output of a git command in the working folder, empty where there is no git or repository."""
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()

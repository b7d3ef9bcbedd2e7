"""The output folder of a job: files that are whole or absent, and never of two studies."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recmtl.errors import ConfigError

__all__ = ["refuse_another_study", "write_text"]


def write_text(path: Path, text: str) -> None:
    """Write a file of which there is never a half."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def refuse_another_study(out: Path, facts: Mapping[str, Any]) -> None:
    """Models of other data or settings must not be taken for those of this job.

    Raises:
        ConfigError: the folder was begun with other facts.
    """
    asked = json.loads(json.dumps(facts))
    path = out / "study.json"
    if not path.is_file():
        write_text(path, json.dumps(asked, indent=1))
    before = json.loads(path.read_text())
    changed = [name for name in asked if before.get(name) != asked[name]]
    if changed:
        raise ConfigError(
            f"{out}: holds models of another {', '.join(changed)}; "
            "give another --out, or delete its models/, search/ and study.json"
        )

"""What an output folder was begun with: another job does not go on in it."""

import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from recmtl.atomic import read_json, write_json
from recmtl.errors import ConfigError, differences
from recmtl.masking import masked
from recmtl.train.config import Config

__all__ = ["refuse_another_study"]

_DATA_PARTS = ("inputs", "schema", "like")


def refuse_another_study(out: Path, facts: Mapping[str, Any], *, note: bool = True) -> None:
    """Refuse a folder that was begun with other facts; note those that it does not know yet.

    The facts are kept in `study.json`, with the version of recmtl. A fact is what the folder's
    results depend on: the content of the data, and settings of the search and the training.

    Args:
        out: the output folder.
        facts: JSON by name; `data` is the fingerprint that `inputs`, `schema` and `like` make up,
            which are compared only to say why it differs.
        note: false while nothing in the folder depends on the facts.

    Raises:
        ConfigError: a fact differs; the message says from what to what.
        DataError: `study.json` is damaged.
    """
    path = out / "study.json"
    now = masked(json.loads(json.dumps({"recmtl": importlib.metadata.version("recmtl"), **facts})))
    remedy = f"delete it with models/ and search/ in {out}, or give another --out"
    before = read_json(path, remedy=remedy) if path.is_file() else {}
    defaults = asdict(Config())
    before = {n: _completed(fact, now.get(n), defaults.get(n)) for n, fact in before.items()}
    same_data = "data" in before and before["data"] == now.get("data")
    compared = [name for name in now if name in before and not (same_data and name in _DATA_PARTS)]
    parts_differ = any(before[name] != now[name] for name in compared if name in _DATA_PARTS)
    if parts_differ:  # they say more than the fingerprint
        compared.remove("data")
    changes = differences({n: before[n] for n in compared}, {n: now[n] for n in compared})
    if changes:
        raise ConfigError(
            f"{out}: was begun with another job: {changes}; "
            "put back what it was begun with, or give another --out"
        )
    if note and {**before, **now} != before:
        write_json(path, {**before, **now}, durable=True)


def _completed(before: Any, now: Any, defaults: Any) -> Any:
    """A fact of a folder, with the defaults of settings that are younger than the folder."""
    if not all(isinstance(part, Mapping) for part in (before, now, defaults)):
        return before
    younger = {name: defaults[name] for name in now if name not in before and name in defaults}
    completed = {n: _completed(fact, now.get(n), defaults.get(n)) for n, fact in before.items()}
    return {**completed, **json.loads(json.dumps(younger))}

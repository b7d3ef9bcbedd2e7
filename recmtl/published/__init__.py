"""JSON Schemas of the YAML files, for editors and other tools, and the pages that list every key.

`python -m recmtl.published` in a checkout writes both from the classes of settings. An editor with
a YAML language server completes and checks a file that begins with the line of `modeline`.
"""

import json
from pathlib import Path
from typing import Any

__all__ = ["FILES", "json_schema", "modeline"]

FOLDER = Path(__file__).parent
FILES = {"schema": "schema.json", "config": "config.json", "vision": "vision.json"}


def json_schema(kind: str) -> dict[str, Any]:
    """The JSON Schema of a `schema`, of a `config` for tables, or of a `vision` configuration.

    >>> json_schema("schema")["properties"]["roles"]["description"]
    'columns with a purpose of their own.'
    """
    text = (FOLDER / FILES[kind]).read_text(encoding="utf-8")
    return dict(json.loads(text))


def modeline(kind: str) -> str:
    """The first line of a YAML file by which an editor finds its JSON Schema.

    >>> modeline("config").startswith("# yaml-language-server: $schema=file:")
    True
    """
    return f"# yaml-language-server: $schema={(FOLDER / FILES[kind]).as_uri()}"

"""JSON Schemas and reference pages say what the classes of settings say, and are current."""

from pathlib import Path
from typing import Any

import pytest

from recmtl.published import FILES, json_schema, modeline
from recmtl.published.__main__ import texts
from recmtl.published.models import attributes
from recmtl.schema.reading import without_lines
from recmtl.schema.yaml_text import Problems, parse
from recmtl.train.config import Training

jsonschema = pytest.importorskip("jsonschema")

ROOT = Path(__file__).parents[3]
SCHEMAS = sorted(ROOT.glob("datasets/*/schema*.yaml"))
CONFIGS = sorted(ROOT.glob("pipelines/configs/*/*.yaml"))
GOOD: dict[str, Any] = {
    "version": 1,
    "name": "shop",
    "features": {"price": "numeric", "user": {"kind": "categorical", "min_count": 2}},
    "tasks": {"click": {"kind": "binary", "label": {"column": "y", "not": [0, "no"]}}},
    "split": "random",
    "formulas": {"ratio": "a / b"},
}


def refused(kind: str, document: Any) -> list[str]:
    """Where a document breaks a JSON Schema."""
    validator = jsonschema.Draft202012Validator(json_schema(kind))
    return [error.json_path for error in validator.iter_errors(document)]


def test_files_are_what_the_classes_give_now() -> None:
    written = texts(ROOT / "docs")
    assert len(written) == 6
    old = [path.name for path, text in written.items() if path.read_text("utf-8") != text]
    assert not old, f"{old}: run python -m recmtl.published"


@pytest.mark.parametrize("kind", FILES)
def test_each_is_a_json_schema_that_describes_every_key(kind: str) -> None:
    document = json_schema(kind)
    jsonschema.Draft202012Validator.check_schema(document)
    for part in (document, *document["$defs"].values()):
        assert part["description"] and part["additionalProperties"] is False
        plain = [k for k, entry in part["properties"].items() if "description" not in entry]
        assert set(plain) <= {"version", "kind"}, part["description"]
    assert modeline(kind).endswith(f"/{FILES[kind]}")


def test_every_file_that_ships_is_accepted() -> None:
    assert len(SCHEMAS) >= 5 and len(CONFIGS) >= 10
    for path in (*SCHEMAS, *CONFIGS):
        root = parse(path.read_text("utf-8"), Problems(path.name))
        assert root is not None
        document = without_lines(root)
        is_vision = "network" in document or "data" in document
        kind = "schema" if path in SCHEMAS else "vision" if is_vision else "config"
        assert not refused(kind, document), path


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({}, None),
        ({"features": {"price": "numerc"}}, "$.features.price"),
        ({"features": {"price": {"kind": "numeric", "bin": 3}}}, "$.features.price"),
        ({"split": {"by": "random", "test": 1.5}}, "$.split"),
        ({"version": 2}, "$.version"),
        ({"feature": {}}, "$"),
        ({"tasks": {"click": {"kind": "binary"}}}, "$.tasks.click"),
    ],
)
def test_an_editor_sees_a_mistake_where_it_stands(
    change: dict[str, Any], place: str | None
) -> None:
    assert refused("schema", GOOD | change) == ([] if place is None else [place])


def test_a_docstring_says_what_each_key_means() -> None:
    meanings = attributes(Training)
    assert set(meanings) == set(Training.__annotations__)
    assert meanings["batch_size"] == "rows of a batch."
    assert meanings["step_every"].endswith("0 never does.")

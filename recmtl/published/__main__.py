"""Write the JSON Schemas and the reference pages of a checkout: `python -m recmtl.published`."""

import json
import sys
from pathlib import Path

from recmtl.published import FILES, FOLDER
from recmtl.published.models import of_class, of_schema
from recmtl.published.pages import page
from recmtl.train.config import Config
from recmtl.vision.config import VisionConfig

__all__ = ["texts"]

EDITORS = (
    "The tables are made from the classes that read the files (`python -m recmtl.published`). An "
    "editor with a YAML\nlanguage server completes and checks a file that begins with the line "
    'which `recmtl.published.modeline("{kind}")` gives.'
)
PAGES = {
    "schema": ("Every key of a schema", "[The schema](schema.md) explains them."),
    "config": (
        "The configuration",
        "All are optional; [presets](../guides/presets.md) set some.",
    ),
    "vision": ("The configuration for images", "[Images](../guides/vision.md) explains them."),
}
NAMES = {"schema": "schema_keys", "config": "configuration", "vision": "vision_configuration"}


def texts(docs: Path) -> dict[Path, str]:
    """What belongs into each file: JSON Schemas in the package, pages in `docs/reference`."""
    documents = {
        "schema": of_schema(),
        "config": of_class(Config),
        "vision": of_class(VisionConfig),
    }
    written: dict[Path, str] = {}
    for kind, document in documents.items():
        title, intro = PAGES[kind]
        intro = f"{intro}\n{EDITORS.format(kind=kind)}"
        written[FOLDER / FILES[kind]] = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        written[docs / "reference" / f"{NAMES[kind]}.md"] = page(title, intro, document)
    return written


if __name__ == "__main__":
    docs = FOLDER.parents[1] / "docs"
    if not docs.is_dir():
        sys.exit(f"{docs}: is not there; run this in a checkout")
    for path, text in texts(docs).items():
        path.write_text(text, encoding="utf-8")
